// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// `x` folded into [low, high]: the cheat code of that purpose refuses what is outside instead.
function within(uint256 x, uint256 low, uint256 high) pure returns (uint256) {
    uint256 span = high - low + 1;
    return span == 0 ? x : low + x % span;
}
