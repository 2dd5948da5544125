// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Realm, Standing, TcbStatus, Tee} from "../Types.sol";

/// Intel-signed material, on chain. Anybody may submit; only what Intel signed is taken.
interface IIntelCollateral {
    /// The deployment's root: Intel's, or a simulated one.
    function realm() external view returns (Realm);

    /// What the stored material says of a chip now. Reverts, with the reason, if the CA is unknown, the serial
    /// or the CA is revoked, material is missing or out of date, or no level matches.
    function standing(Tee tee, PckFacts calldata pck, ModuleFacts calldata module)
        external
        view
        returns (Standing memory);

    /// What the stored identity says of a quoting enclave. `report` is its 384-byte SGX report body.
    function quotingEnclave(Tee tee, bytes calldata report)
        external
        view
        returns (TcbStatus status, uint40 validUntil);

    /// Whether a PCK certificate of this CA is on a revocation list that was ever accepted.
    function isRevoked(bytes32 issuer, bytes20 issuerKeyId, uint160 serial) external view returns (bool);

    /// Public key of a PCK CA that was accepted; reverts if there is none.
    function authority(bytes32 issuer, bytes20 issuerKeyId) external view returns (uint256 x, uint256 y);
}
