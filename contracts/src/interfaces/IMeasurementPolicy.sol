// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TcbStatus} from "../Types.sol";

/// Which code may earn.
interface IMeasurementPolicy {
    /// Number of an accepted measurement (from 1), and until when it earns. Reverts if the measurement is unknown, not yet
    /// in force, revoked or over, or if the status is worse than its floor.
    function judge(bytes32 measurement, TcbStatus status) external view returns (uint32 index, uint40 until);

    /// Whether code of this number earns now. Revocation is immediate.
    function earns(uint32 index) external view returns (bool);
}
