// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title How much may be emitted by the end of an epoch.
/// @notice An era is `halving` epochs long. The first era emits `initial` an epoch, each later one half of the era before
/// it, so all of them together emit less than `2 * initial * halving`.
///
/// Defined by the cumulative amount, in closed form: with P = initial * halving, the eras before era k emit
/// 2P - floor(2P / 2^k), and r epochs of era k emit floor(r * floor(P / 2^k) / halving). So no call loops over history,
/// rounding is always down, and no sequence of epochs can sum up rounding errors.
library EmissionSchedule {
    /// @notice What all epochs together stay within. Does not overflow: the widths of the arguments leave 135 bits.
    function limit(uint88 initial, uint32 halving) internal pure returns (uint256) {
        unchecked {
            return 2 * uint256(initial) * halving;
        }
    }

    /// @notice What epochs 1 to `epoch` may emit together; 0 for epoch 0.
    /// @param halving Epochs of an era, not 0.
    function emittedBy(uint88 initial, uint32 halving, uint32 epoch) internal pure returns (uint256) {
        uint256 era = epoch / halving;
        uint256 intoEra = epoch % halving;
        // A product of an 88-bit, a 32-bit and a 32-bit number fits, and no number is shifted to more than it was.
        unchecked {
            uint256 first = uint256(initial) * halving;
            return 2 * first - ((2 * first) >> era) + (intoEra * (first >> era)) / halving;
        }
    }
}
