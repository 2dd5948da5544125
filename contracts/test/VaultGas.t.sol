// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {vm} from "./Cheats.sol";
import {GasReport} from "./mocks/GasReport.sol";
import {Tree} from "./mocks/Tree.sol";
import {VaultBase} from "./mocks/VaultBase.sol";

contract VaultGasTest is VaultBase, GasReport {
    address private constant ALICE = 0xA1A1a1a1A1A1A1A1A1a1a1a1a1a1A1A1a1A1a1a1;

    function test_gas_of_an_epoch_root_is_within_45000() public {
        for (uint32 epoch = 1; epoch < 6; ++epoch) {
            vm.warp(vault.epochEnd(2 * epoch));
            propose(2 * epoch, keccak256(abi.encode(epoch)), uint88(epoch) * 17_123_456_789_012_345_678_901);
            report(epoch == 1 ? "epoch root, first" : "epoch root", 45_000);
        }
    }

    function test_gas_of_an_epoch_root_after_a_slash_is_within_45000() public {
        earn(1, ALICE, 100e18);
        vm.startPrank(ALICE);
        token.approve(address(vault), 100e18);
        vault.bond(CHIP, 100e18);
        vm.stopPrank();
        vm.prank(LEDGER);
        vault.slash(CHIP, address(0x3E9));
        report("slash", 150_000);
        vm.warp(vault.epochEnd(9));
        propose(9, keccak256("root"), 123_456_789_012_345_678_901);
        report("epoch root after a slash", 45_000);
    }

    function test_gas_of_a_veto() public {
        vm.warp(vault.epochEnd(1));
        propose(1, keccak256("root"), 17e18);
        vm.prank(WATCHMAN);
        vault.veto(1);
        report("veto", 45_000);
    }

    function test_gas_of_a_claim_among_16384_accounts_is_within_60000() public {
        uint88 cumulative;
        uint32 epoch;
        for (uint256 i = 1; i < 5; ++i) {
            cumulative += 1_234_567_890_123_456_789_012;
            bytes32[] memory path = siblings(14, i);
            epoch += 2;
            accept(epoch, Tree.above(Tree.leaf(ALICE, cumulative), path), 3 * cumulative);
            vault.claim(ALICE, cumulative, path);
            report(i == 1 ? "claim, first of all" : "claim", i == 1 ? 115_000 : 60_000);
        }
    }

    function test_gas_of_the_first_claim_of_an_account() public {
        earn(1, address(0xB0B), 1e18);
        bytes32[] memory path = siblings(14, 1);
        accept(3, Tree.above(Tree.leaf(ALICE, 1_234_567_890_123_456_789_012), path), 2_000e18);
        vault.claim(ALICE, 1_234_567_890_123_456_789_012, path);
        report("claim, first of an account", 95_000);
    }

    /// Each level of the tree costs some 650 gas, most of it calldata.
    function test_gas_of_a_claim_among_a_million_accounts() public {
        earn(1, ALICE, 1e18);
        bytes32[] memory path = siblings(20, 1);
        accept(3, Tree.above(Tree.leaf(ALICE, 1_234_567_890_123_456_789_012), path), 2_000e18);
        vault.claim(ALICE, 1_234_567_890_123_456_789_012, path);
        report("claim among 1,048,576 accounts", 64_000);
    }

    function test_gas_of_bonds() public {
        earn(1, ALICE, 100e18);
        vm.startPrank(ALICE);
        token.approve(address(vault), type(uint256).max);
        vault.bond(CHIP, 10e18);
        report("bond, first of a chip", 130_000);
        vault.bond(CHIP, 10e18);
        report("bond", 80_000);
        vault.unbond(CHIP, 15e18);
        report("unbond", 45_000);
        vm.warp(time() + 14 days);
        vault.withdraw(CHIP);
        report("withdraw", 60_000);
        vm.stopPrank();
    }
}
