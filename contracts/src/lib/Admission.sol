// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm, TcbStatus} from "../Types.sol";
import {IMeasurementPolicy} from "../interfaces/IMeasurementPolicy.sol";
import {IQuoteRouter} from "../interfaces/IQuoteRouter.sol";
import {IQuoteVerifier} from "../interfaces/IQuoteVerifier.sol";
import {Governed} from "./Governed.sol";

/// Which verifier and which code the registry goes by, and the switches that stop them.
///
/// Asking router and policy costs 11,000 gas a registration; their answers are kept here for a day instead. Terms of
/// a production policy that are announced after an answer was kept come into force when that answer is forgotten, so that a
/// kept answer is never out of date; a verifier that the router has replaced may serve for up to a day, unless
/// somebody says `adoptVerifier`. A revocation of code and a pause hold at once.
abstract contract Admission is Governed {
    error Paused();
    error NotPaused();
    error ForeignRealm(Realm here, Realm there);
    error UnknownVersion(uint16 version);
    error CodeNumber(uint32 code);
    error CodeIsStopped(uint32 code);
    error StatusBelowFloor(TcbStatus status, TcbStatus floor);
    error NotRevoked();

    /// The router's answer is kept until then.
    event VerifierAdopted(uint16 indexed version, address indexed verifier, uint40 keptUntil, Realm realm);
    /// The policy's answer is kept until then.
    event CodeAdopted(
        bytes32 indexed measurement, uint32 indexed code, TcbStatus floor, uint40 until, uint40 keptUntil, Realm realm
    );
    /// No key of this code earns again.
    event CodeStopped(uint32 indexed code, Realm realm);
    event RegistryPaused(address by, Realm realm);
    event RegistryUnpaused(address by, Realm realm);

    /// Seconds that answers are kept.
    uint40 public constant KEPT = 1 days;
    /// Quote versions that a verifier can be adopted for.
    uint16 private constant FIRST_VERSION = 3;
    uint16 private constant LAST_VERSION = 5;
    uint256 private constant PAUSED = 1 << 255;

    IQuoteRouter public immutable router;
    IMeasurementPolicy internal immutable POLICY;

    /// One word a quote version, packed: verifier, kept until << 160, pause << 255. The pause is in each, so that one read
    /// answers both.
    uint256[3] private _gates;
    /// Packed: code, until << 16, floor << 56, kept until << 64.
    mapping(bytes32 measurement => uint256) private _codes;
    /// Bit `code & 255` of word `code >> 8`: this code is stopped. No code has the number 0: bit 0 of word 0 is the pause
    /// once more.
    uint256[256] private _stopped;

    constructor(IQuoteRouter router_, IMeasurementPolicy policy_) {
        if (policy_.realm() != realm()) revert ForeignRealm(realm(), policy_.realm());
        router = router_;
        POLICY = policy_;
    }

    /// Asks the router for the verifier of a quote version now. Anybody. Reverts if it has none.
    function adoptVerifier(uint16 version) external {
        _adoptVerifier(version);
    }

    /// Asks the policy for the terms of a measurement now. Anybody. What is no longer in force is forgotten.
    function adoptCode(bytes32 measurement) external {
        try POLICY.termsOf(measurement) returns (uint32 code, uint40 until, uint40 firm, TcbStatus floor) {
            _adoptCode(measurement, code, until, firm, floor);
        } catch {
            delete _codes[measurement];
            emit CodeAdopted(measurement, 0, TcbStatus.Revoked, 0, 0, realm());
        }
    }

    /// Ends all keys of revoked code at once. Anyone; reverts unless the policy has revoked it.
    function stop(uint32 code) public virtual {
        if (!POLICY.isRevoked(code)) revert NotRevoked();
        if (code > type(uint16).max) revert CodeNumber(code);
        if (isStopped(code)) return;
        _stopped[code >> 8] |= 1 << (code & 255);
        delete _codes[POLICY.measurementOf(code)];
        emit CodeStopped(code, realm());
    }

    /// Stops registration, renewal, attachment and settlement. Only guardian or owner.
    function pause() external onlyGuardian {
        if (paused()) revert Paused();
        _stopped[0] |= 1;
        for (uint256 i; i < _gates.length; ++i) {
            _gates[i] |= PAUSED;
        }
        emit RegistryPaused(msg.sender, realm());
    }

    /// Only the owner.
    function unpause() external onlyOwner {
        if (!paused()) revert NotPaused();
        _stopped[0] &= ~uint256(1);
        for (uint256 i; i < _gates.length; ++i) {
            _gates[i] &= ~PAUSED;
        }
        emit RegistryUnpaused(msg.sender, realm());
    }

    /// Whether registration and settlement are paused.
    function paused() public view virtual returns (bool) {
        return _stopped[0] & 1 == 1;
    }

    /// Whether keys of this code never earn again.
    function isStopped(uint32 code) public view returns (bool) {
        return code != 0 && code <= type(uint16).max && _stopped[code >> 8] >> (code & 255) & 1 == 1;
    }

    /// Whether keys of this code (below 2^16) earn now: nothing is paused, and it is not stopped. One read for the first 255.
    function _earns(uint256 code) internal view returns (bool) {
        uint256 word = _stopped[0];
        if (word & 1 == 1) return false;
        if (code > 255) word = _stopped[code >> 8];
        return word >> (code & 255) & 1 == 0;
    }

    /// The verifier of a quote version. Reverts while paused.
    function _verifier(uint16 version) internal returns (IQuoteVerifier) {
        if (version < FIRST_VERSION || version > LAST_VERSION) revert UnknownVersion(version);
        uint256 gate = _gates[version - FIRST_VERSION];
        if (gate & PAUSED != 0) revert Paused();
        if (uint40(gate >> 160) > block.timestamp) return IQuoteVerifier(address(uint160(gate)));
        return _adoptVerifier(version);
    }

    /// Number of accepted code, and until when it earns. Reverts like the policy.
    function _judge(bytes32 measurement, TcbStatus status) internal returns (uint256 code, uint256 until) {
        uint256 kept = _codes[measurement];
        if (kept >> 64 <= block.timestamp) {
            (uint32 number, uint40 until_, uint40 firm, TcbStatus floor_) = POLICY.termsOf(measurement);
            kept = _adoptCode(measurement, number, until_, firm, floor_);
        }
        uint256 floor = kept >> 56 & 0xff;
        if (uint256(status) > floor) revert StatusBelowFloor(status, TcbStatus(floor));
        return (kept & 0xffff, kept >> 16 & 0xffffffffff);
    }

    function _adoptVerifier(uint16 version) private returns (IQuoteVerifier verifier) {
        if (version < FIRST_VERSION || version > LAST_VERSION) revert UnknownVersion(version);
        verifier = router.verifier(version);
        if (verifier.realm() != realm()) revert ForeignRealm(realm(), verifier.realm());
        uint40 keptUntil = uint40(block.timestamp) + KEPT;
        uint256 pause_ = _gates[version - FIRST_VERSION] & PAUSED;
        _gates[version - FIRST_VERSION] = uint256(uint160(address(verifier))) | uint256(keptUntil) << 160 | pause_;
        emit VerifierAdopted(version, address(verifier), keptUntil, realm());
    }

    function _adoptCode(bytes32 measurement, uint32 code, uint40 until, uint40 firm, TcbStatus floor)
        private
        returns (uint256 kept)
    {
        if (code == 0 || code > type(uint16).max) revert CodeNumber(code);
        if (isStopped(code)) revert CodeIsStopped(code);
        uint40 keptUntil = uint40(block.timestamp) + KEPT;
        if (firm < keptUntil) keptUntil = firm;
        kept = code | uint256(until) << 16 | uint256(floor) << 56 | uint256(keptUntil) << 64;
        _codes[measurement] = kept;
        emit CodeAdopted(measurement, code, floor, until, keptUntil, realm());
    }
}
