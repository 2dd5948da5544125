// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Takes a chip's bond when it has signed two statements that contradict each other.
interface IBondSlasher {
    /// Only the ledger. `reporter` is who proved it.
    function slash(bytes32 enclaveId, address reporter) external;
}
