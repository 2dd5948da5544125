// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {vm} from "../Cheats.sol";

/// Gas of whole transactions: what a receipt says was used, calldata and the 21,000 included.
abstract contract GasReport {
    /// Prints what the last call used, and fails above `limit`.
    function report(string memory what, uint256 limit) internal view {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        // The address that the test runner prints from.
        (bool printed,) = 0x000000000000000000636F6e736F6c652e6c6f67
        .staticcall(abi.encodeWithSignature("log(string,uint256)", string.concat("gas, ", what, ":"), gas));
        require(printed && gas <= limit, what);
    }
}
