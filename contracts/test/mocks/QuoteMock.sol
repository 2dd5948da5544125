// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, Verdict} from "../../src/Types.sol";
import {IQuoteRouter} from "../../src/interfaces/IQuoteRouter.sol";
import {IQuoteVerifier} from "../../src/interfaces/IQuoteVerifier.sol";

/// A verifier that believes what the quote says of itself: version, then the verdict.
contract QuoteMock is IQuoteVerifier, IQuoteRouter {
    Realm public immutable override(IQuoteRouter, IQuoteVerifier) realm;
    uint256 private _verified;

    constructor(Realm realm_) {
        realm = realm_;
    }

    function verify(bytes calldata quote, bytes calldata) external returns (Verdict memory verdict) {
        _verified = 1;
        verdict = abi.decode(quote[2:], (Verdict));
    }

    function verifyKept(bytes calldata quote, bytes calldata, bytes calldata, bytes32)
        external
        pure
        returns (Verdict memory)
    {
        return abi.decode(quote[2:], (Verdict));
    }

    function revoked(Platform, bytes calldata pck) external pure returns (bytes32, bool) {
        return abi.decode(pck, (bytes32, bool));
    }

    function verifier(uint16 version) external view returns (IQuoteVerifier) {
        require(version == 3 || version == 4, "no such version");
        return this;
    }
}

    /// A router with the one storage read that a real one has.
    contract RouterMock is IQuoteRouter {
        Realm public immutable realm;
        mapping(uint16 version => IQuoteVerifier) public verifier;

        constructor(IQuoteVerifier verifier_) {
            realm = verifier_.realm();
            verifier[3] = verifier_;
            verifier[4] = verifier_;
        }
    }
