// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Bonds} from "../src/Bonds.sol";
import {RewardVault} from "../src/RewardVault.sol";
import {IEnclaveRegistry} from "../src/interfaces/IEnclaveRegistry.sol";
import {vm} from "./Cheats.sol";
import {Tree} from "./mocks/Tree.sol";
import {VaultBase} from "./mocks/VaultBase.sol";

contract VaultBondsTest is VaultBase {
    address private constant ALICE = address(0xA11CE);
    address private constant BOB = address(0xB0B);
    address private constant REPORTER = address(0x3E9);
    bytes32 private constant OTHER_CHIP = keccak256("another chip");

    function setUp() public override {
        super.setUp();
        registry.put(OTHER_CHIP, address(0x0DD), address(0x8E2));
        earn(2, ALICE, 1_000e18);
        earn(5, BOB, 1_000e18);
        vm.prank(ALICE);
        token.approve(address(vault), type(uint256).max);
        vm.prank(BOB);
        token.approve(address(vault), type(uint256).max);
    }

    function test_a_bond_comes_back_after_the_period_and_not_a_second_before() public {
        bond(ALICE, CHIP, 100e18);
        unbond(ALICE, CHIP, 40e18);
        Bonds.Pool memory pool = vault.poolOf(CHIP);
        assert(pool.active == 60e18 && pool.unbonding == 40e18 && !pool.slashed);
        vm.warp(time() + 14 days - 1);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondStillLocked.selector, time() + 1, time()));
        vault.withdraw(CHIP);
        vm.warp(time() + 1);
        vm.prank(ALICE);
        vault.withdraw(CHIP);
        assert(token.balanceOf(ALICE) == 940e18 && token.balanceOf(address(vault)) == 60e18);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondNothingToWithdraw.selector, CHIP, ALICE));
        vault.withdraw(CHIP);
    }

    function test_unbonding_again_restarts_the_period_for_all() public {
        bond(ALICE, CHIP, 100e18);
        unbond(ALICE, CHIP, 40e18);
        vm.warp(time() + 13 days);
        unbond(ALICE, CHIP, 1e18);
        vm.warp(time() + 13 days);
        vm.prank(ALICE);
        vm.expectRevert();
        vault.withdraw(CHIP);
        vm.warp(time() + 1 days);
        vm.prank(ALICE);
        vault.withdraw(CHIP);
        assert(token.balanceOf(ALICE) == 941e18);
    }

    function test_nobody_unbonds_or_withdraws_what_another_bonded() public {
        bond(ALICE, CHIP, 100e18);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondTooSmall.selector, 1, 0));
        vault.unbond(CHIP, 1);
        unbond(ALICE, CHIP, 100e18);
        vm.warp(time() + 14 days);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondNothingToWithdraw.selector, CHIP, BOB));
        vault.withdraw(CHIP);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondNothingToWithdraw.selector, OTHER_CHIP, ALICE));
        vault.withdraw(OTHER_CHIP);
    }

    function test_a_slash_takes_all_that_stands_behind_a_chip_and_nothing_else() public {
        bond(ALICE, CHIP, 100e18);
        bond(BOB, CHIP, 60e18);
        bond(BOB, OTHER_CHIP, 7e18);
        unbond(ALICE, CHIP, 100e18);
        vm.warp(time() + 14 days);
        vm.prank(LEDGER);
        vault.slash(CHIP, REPORTER);
        assert(token.balanceOf(REPORTER) == 40e18 && vault.burned() == 120e18);
        assert(token.totalSupply() == 1_880e18 && token.balanceOf(address(vault)) == 7e18);
        assert(vault.claimedInTotal() == 2_000e18);
        assert(vault.poolOf(CHIP).slashed && vault.positionOf(CHIP, ALICE).unbonding == 0);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondChipSlashed.selector, CHIP));
        vault.withdraw(CHIP);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondChipSlashed.selector, CHIP));
        vault.unbond(CHIP, 60e18);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondChipSlashed.selector, CHIP));
        vault.bond(CHIP, 1);
        unbond(BOB, OTHER_CHIP, 7e18);
        vm.warp(time() + 14 days);
        vm.prank(BOB);
        vault.withdraw(OTHER_CHIP);
        assert(token.balanceOf(BOB) == 940e18);
    }

    function test_a_second_slash_of_a_chip_changes_nothing_and_does_not_fail() public {
        bond(ALICE, CHIP, 100e18);
        vm.startPrank(LEDGER);
        vault.slash(CHIP, REPORTER);
        vault.slash(CHIP, BOB);
        vault.slash(keccak256("nothing bonded"), REPORTER);
        vm.stopPrank();
        assert(token.balanceOf(REPORTER) == 25e18 && token.balanceOf(BOB) == 1_000e18 && vault.burned() == 75e18);
    }

    function test_a_slash_without_a_reporter_burns_all() public {
        bond(ALICE, CHIP, 100e18);
        vm.prank(LEDGER);
        vault.slash(CHIP, address(0));
        assert(vault.burned() == 100e18 && token.totalSupply() == 1_900e18);
    }

    function test_only_the_ledger_slashes() public {
        bond(ALICE, CHIP, 100e18);
        vm.prank(ADMIN);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondNotLedger.selector, ADMIN, LEDGER));
        vault.slash(CHIP, ADMIN);
        vm.expectRevert(Bonds.BondNoLedger.selector);
        new RewardVault(IEnclaveRegistry(address(registry)), address(0), terms(), ADMIN);
    }

    function test_a_chip_that_is_unknown_or_barred_takes_no_bond() public {
        bytes32 unknown = keccak256("unknown");
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondUnknownChip.selector, unknown));
        vault.bond(unknown, 1);
        registry.bar(CHIP);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondChipBarred.selector, CHIP));
        vault.bond(CHIP, 1);
        vm.startPrank(ALICE);
        vm.expectRevert(Bonds.BondZero.selector);
        vault.bond(OTHER_CHIP, 0);
        vm.expectRevert(Bonds.BondZero.selector);
        vault.unbond(OTHER_CHIP, 0);
        vm.stopPrank();
    }

    function test_a_bond_of_a_chip_that_the_vendor_revoked_comes_back() public {
        bond(ALICE, CHIP, 100e18);
        registry.bar(CHIP);
        unbond(ALICE, CHIP, 100e18);
        vm.warp(time() + 14 days);
        vm.prank(ALICE);
        vault.withdraw(CHIP);
        assert(token.balanceOf(ALICE) == 1_000e18);
    }

    function test_a_pause_never_stops_a_bond_or_a_withdrawal() public {
        bond(ALICE, CHIP, 100e18);
        vm.prank(GUARDIAN);
        vault.pause();
        bond(BOB, CHIP, 1e18);
        unbond(ALICE, CHIP, 100e18);
        vm.warp(time() + 14 days);
        vm.prank(ALICE);
        vault.withdraw(CHIP);
        assert(token.balanceOf(ALICE) == 1_000e18);
    }

    /// What is burned must neither make room for claims above the total nor take room from honest ones.
    function test_a_burn_during_a_challenge_leaves_the_totals_as_they_were(uint88 part) public {
        uint104 amount = 1 + part % 1_000e18;
        bond(ALICE, CHIP, amount);
        vm.warp(vault.epochEnd(20));
        propose(20, Tree.leaf(BOB, 5_000e18), 6_000e18);
        vm.prank(LEDGER);
        vault.slash(CHIP, REPORTER);
        (, uint256 total) = vault.current();
        assert(total == 2_000e18);
        (,, total,) = vault.pending();
        assert(total == 6_000e18);
        vm.warp(time() + DAY);
        vault.claim(BOB, 5_000e18, new bytes32[](0));
        accept(24, Tree.leaf(ALICE, 2_001e18 + 1), 7_000e18);
        uint256 burned = vault.burned();
        vm.expectRevert(
            abi.encodeWithSelector(RewardVault.VaultAboveTotal.selector, 7_001e18 + 1 - burned, 7_000e18 - burned)
        );
        vault.claim(ALICE, 2_001e18 + 1, new bytes32[](0));
        accept(28, Tree.leaf(ALICE, 2_000e18), 7_000e18);
        vault.claim(ALICE, 2_000e18, new bytes32[](0));
        assert(vault.claimedInTotal() == 7_000e18);
    }

    function bond(address who, bytes32 chip, uint104 amount) private {
        vm.prank(who);
        vault.bond(chip, amount);
    }

    function unbond(address who, bytes32 chip, uint104 amount) private {
        vm.prank(who);
        vault.unbond(chip, amount);
    }
}
