// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm, TcbStatus} from "../Types.sol";

/// Which code may earn.
interface IMeasurementPolicy {
    function realm() external view returns (Realm);

    /// Number of an accepted measurement (from 1), and until when it earns. Reverts if the measurement is unknown, not yet
    /// in force, revoked or over, or if the status is worse than its floor.
    function judge(bytes32 measurement, TcbStatus status) external view returns (uint32 index, uint40 until);

    /// The terms of a measurement: its number, until when it earns, until when at least these terms hold, and the worst
    /// status it may have. Reverts like `judge`.
    function termsOf(bytes32 measurement)
        external
        view
        returns (uint32 index, uint40 until, uint40 firm, TcbStatus floor);

    /// Whether code of this number earns now. Revocation is immediate.
    function earns(uint32 index) external view returns (bool);

    /// Whether code of this number was revoked. Never taken back.
    function isRevoked(uint32 index) external view returns (bool);

    /// The measurement that has this number; zero if none has.
    function measurementOf(uint32 index) external view returns (bytes32);
}
