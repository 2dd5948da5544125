// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Calendar} from "../src/intel/Calendar.sol";
import {Der} from "../src/intel/Der.sol";
import {P256} from "../src/intel/P256.sol";
import {vm} from "./Cheats.sol";

/// Readers as calls, so that calldata is real and a revert can be expected.
contract Readers {
    function integer(bytes calldata der) external pure returns (uint256 value) {
        (uint256 pos, uint256 end) = Der.open(der);
        (value, pos) = Der.integer(pos, end);
        Der.finish(pos, end);
    }

    function time(bytes calldata der) external pure returns (uint40 value) {
        (uint256 pos, uint256 end) = Der.open(der);
        (value, pos) = Der.time(pos, end);
        Der.finish(pos, end);
    }

    function content(bytes calldata der, uint256 tag) external pure returns (bytes memory) {
        (uint256 pos, uint256 end) = Der.open(der);
        (uint256 from, uint256 next) = Der.enter(pos, end, tag);
        Der.finish(next, end);
        return Der.slice(from, next);
    }

    function timestamp(uint256 y, uint256 mo, uint256 d, uint256 h, uint256 mi, uint256 s)
        external
        pure
        returns (uint40)
    {
        return Calendar.timestamp(y, mo, d, h, mi, s);
    }

    function p256() external view {
        P256.demand();
    }
}

contract IntelCollateralDerTest {
    Readers private readers = new Readers();

    function test_numbers_are_read_in_their_shortest_form_alone() public {
        assert(readers.integer(hex"020100") == 0);
        assert(readers.integer(hex"02017f") == 127);
        assert(readers.integer(hex"02020080") == 128);
        assert(readers.integer(abi.encodePacked(hex"022100", type(uint256).max)) == type(uint256).max);
        refusesInteger(hex"0200");
        refusesInteger(hex"020180"); // negative
        refusesInteger(hex"0202007f"); // needless zero
        refusesInteger(hex"02810101"); // long length for a short value
        refusesInteger(hex"0282000101");
        refusesInteger(hex"028001010000"); // indefinite
        refusesInteger(hex"030100");
        refusesInteger(hex"02010000"); // trailing
        refusesInteger(hex"020201"); // cut
        refusesInteger(hex"");
        refusesInteger(abi.encodePacked(hex"0221010000", new bytes(30))); // 2^256
    }

    function test_long_contents_need_their_length_form() public {
        bytes memory long = new bytes(200);
        assert(keccak256(readers.content(abi.encodePacked(hex"0481c8", long), 4)) == keccak256(long));
        vm.expectRevert(Der.DerLength.selector);
        readers.content(abi.encodePacked(hex"048200c8", long), 4);
        bytes memory longer = new bytes(300);
        assert(keccak256(readers.content(abi.encodePacked(hex"0482012c", longer), 4)) == keccak256(longer));
        vm.expectRevert(Der.DerLength.selector);
        readers.content(abi.encodePacked(hex"048300012c", longer), 4);
        vm.expectRevert(Der.DerLength.selector);
        readers.content(abi.encodePacked(hex"0482012d", longer), 4);
        bytes memory longest = new bytes(70000);
        assert(readers.content(abi.encodePacked(hex"0483011170", longest), 4).length == 70000);
    }

    function test_times_have_one_form() public {
        assert(readers.time(abi.encodePacked(hex"170d", "180521104510Z")) == 1526899510);
        assert(readers.time(abi.encodePacked(hex"170d", "491231235959Z")) == 2524607999);
        assert(readers.time(abi.encodePacked(hex"170d", "700101000000Z")) == 0);
        assert(readers.time(abi.encodePacked(hex"170d", "240229000000Z")) == 1709164800);
        assert(readers.time(abi.encodePacked(hex"180f", "20500101000000Z")) == 2524608000);
        refusesTime(abi.encodePacked(hex"180f", "20491231235959Z"));
        refusesTime(abi.encodePacked(hex"170d", "230229000000Z"));
        refusesTime(abi.encodePacked(hex"170d", "231301000000Z"));
        refusesTime(abi.encodePacked(hex"170d", "230001000000Z"));
        refusesTime(abi.encodePacked(hex"170d", "230100000000Z"));
        refusesTime(abi.encodePacked(hex"170d", "230101240000Z"));
        refusesTime(abi.encodePacked(hex"170d", "230101006000Z"));
        refusesTime(abi.encodePacked(hex"170d", "230101000060Z"));
        refusesTime(abi.encodePacked(hex"170d", "23010100000:Z"));
        refusesTime(abi.encodePacked(hex"170d", "2301010000/0Z"));
        refusesTime(abi.encodePacked(hex"170d", "230101000000z"));
        refusesTime(abi.encodePacked(hex"170b", "2301010000Z"));
    }

    function test_days_follow_one_another(uint16 day) public view {
        // Every day from 1970 to 2199 has the number after the day before it.
        (uint256 y, uint256 m, uint256 d) = (1970 + day % 230, 1, 1);
        uint256 last = readers.timestamp(y, 1, 1, 0, 0, 0);
        for (m = 1; m <= 12; ++m) {
            uint256 first = readers.timestamp(y, m, 1, 0, 0, 0);
            assert(m == 1 || first == last + 86400);
            for (d = 2; d <= 28; ++d) {
                assert(readers.timestamp(y, m, d, 0, 0, 0) == first + 86400 * (d - 1));
            }
            last = first + 86400 * 27;
            for (d = 29; d <= 31; ++d) {
                try readers.timestamp(y, m, d, 0, 0, 0) returns (uint40 time) {
                    assert(time == last + 86400);
                    last = time;
                } catch {}
            }
        }
        assert(readers.timestamp(y + 1, 1, 1, 0, 0, 0) == last + 86400);
    }

    function test_the_precompile_answers() public view {
        readers.p256();
    }

    function refusesInteger(bytes memory der) private {
        vm.expectRevert();
        readers.integer(der);
    }

    function refusesTime(bytes memory der) private {
        vm.expectRevert();
        readers.time(der);
    }
}
