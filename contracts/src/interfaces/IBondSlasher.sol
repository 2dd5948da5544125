// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Holds bonds.
interface IBondSlasher {
    /// Takes the bond of a chip whose key contradicted itself. `reporter` has shown it.
    function slash(bytes32 enclaveId, address reporter) external;
}
