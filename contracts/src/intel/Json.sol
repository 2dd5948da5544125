// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Calendar} from "./Calendar.sol";

/// Reads a text of a fixed grammar in one pass over memory: literals in their order, numbers, hexadecimal, dates. It
/// is no JSON parser: the two documents that Intel signs always have the same members in the same order without
/// white space, and whatever differs is refused. A place is an address in memory.
library Json {
    /// Something else than the grammar asks for; the 32 bytes that are there instead.
    error JsonUnexpected(bytes32 found);

    uint256 private constant ONES = 0x0101010101010101010101010101010101010101010101010101010101010101;

    /// Copies a text to memory, with 64 zero bytes after it.
    function open(bytes calldata text) internal pure returns (uint256 place, uint256 end) {
        // Assembly: the text is read by address, without a length before it.
        assembly ("memory-safe") {
            place := mload(0x40)
            end := add(place, text.length)
            calldatacopy(place, text.offset, text.length)
            mstore(end, 0)
            mstore(add(end, 0x20), 0)
            mstore(0x40, and(add(end, 0x5f), not(0x1f)))
        }
    }

    function load(uint256 place) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(place)
        }
    }

    function unexpected(uint256 place) internal pure {
        revert JsonUnexpected(bytes32(load(place)));
    }

    /// Place after a literal of `length` bytes that has to be there.
    function expect(uint256 place, bytes32 literal, uint256 length) internal pure returns (uint256) {
        unchecked {
            if ((load(place) ^ uint256(literal)) >> (256 - 8 * length) != 0) unexpected(place);
            return place + length;
        }
    }

    /// Whether the byte at a place is this one.
    function shows(uint256 place, bytes1 char) internal pure returns (bool) {
        return load(place) >> 248 == uint8(char);
    }

    /// First place from `place` on with this byte.
    function find(uint256 place, bytes1 char) internal pure returns (uint256) {
        uint256 pattern = ONES * uint8(char);
        unchecked {
            while (true) {
                uint256 word = load(place) ^ pattern;
                // The highest bit of each byte that is zero; no carry leaves its byte.
                uint256 zeros = ~(((word & (ONES * 0x7f)) + ONES * 0x7f) | word | (ONES * 0x7f));
                if (zeros != 0) {
                    // Halving: the instruction that counts leading zeros is not known to every tool yet.
                    if (zeros >> 128 == 0) (zeros, place) = (zeros << 128, place + 16);
                    if (zeros >> 192 == 0) (zeros, place) = (zeros << 64, place + 8);
                    if (zeros >> 224 == 0) (zeros, place) = (zeros << 32, place + 4);
                    if (zeros >> 240 == 0) (zeros, place) = (zeros << 16, place + 2);
                    return zeros >> 248 == 0 ? place + 1 : place;
                }
                place += 32;
            }
        }
        return place;
    }

    /// A number below 2^16 in its shortest form, and the place after it.
    function number(uint256 place) internal pure returns (uint256 value, uint256 next) {
        unchecked {
            uint256 word = load(place);
            next = place;
            while (true) {
                // A byte below "0" wraps to a large number.
                uint256 digit = (word >> 248) - 0x30;
                if (digit > 9) break;
                // A zero in front, or too large.
                if (next != place && value == 0) unexpected(place);
                value = 10 * value + digit;
                if (value > type(uint16).max) unexpected(place);
                word <<= 8;
                ++next;
            }
            if (next == place) unexpected(place);
        }
    }

    /// 2 * `count` hexadecimal digits in either case as a number, count being 16 at most, and the place after them.
    function hexadecimal(uint256 place, uint256 count) internal pure returns (uint256 value, uint256 next) {
        unchecked {
            // The digits at the end of the word, with "0" before them.
            uint256 unused = 256 - 16 * count;
            uint256 word =
                (load(place) >> unused) | (unused == 0 ? 0 : ((ONES * 0x30) >> (256 - unused)) << (16 * count));
            uint256 letters = (word >> 6) & ONES;
            uint256 nibbles = (word & (ONES * 0x0f)) + 9 * letters;
            // Written again they have to be what was read, but for the case of letters.
            uint256 above9 = ((nibbles + 6 * ONES) >> 4) & ONES;
            uint256 written = nibbles + 0x30 * ONES + 0x27 * above9;
            if (nibbles & (ONES * 0xf0) != 0 || written != word | (letters << 5)) unexpected(place);
            value = (nibbles | nibbles >> 4) & 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
            value = (value | value >> 8) & 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
            value = (value | value >> 16) & 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
            value = (value | value >> 32) & 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
            value = (value | value >> 64) & type(uint128).max;
            next = place + 2 * count;
        }
    }

    /// A moment `YYYY-MM-DDTHH:MM:SSZ` as seconds since 1970, and the place after it.
    function date(uint256 place) internal pure returns (uint40 seconds_, uint256 next) {
        uint256 word = load(place);
        // The punctuation of the form.
        uint256 mask = 0x00000000ff0000ff0000ff0000ff0000ff0000ff000000000000000000000000;
        if ((word ^ 0x000000002d00002d00005400003a00003a00005a000000000000000000000000) & mask != 0) unexpected(place);
        unchecked {
            seconds_ = Calendar.timestamp(
                100 * pair(place, word, 0) + pair(place, word, 2),
                pair(place, word, 5),
                pair(place, word, 8),
                pair(place, word, 11),
                pair(place, word, 14),
                pair(place, word, 17)
            );
            next = place + 20;
        }
    }

    function pair(uint256 place, uint256 word, uint256 index) private pure returns (uint256) {
        unchecked {
            uint256 two = word >> (240 - 8 * index);
            uint256 tens = ((two >> 8) & 0xff) - 0x30;
            uint256 ones = (two & 0xff) - 0x30;
            if (tens > 9 || ones > 9) unexpected(place);
            return 10 * tens + ones;
        }
    }
}
