// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Bonds} from "../src/Bonds.sol";
import {RewardVault} from "../src/RewardVault.sol";
import {Realm} from "../src/Types.sol";
import {IEnclaveRegistry} from "../src/interfaces/IEnclaveRegistry.sol";
import {vm} from "./Cheats.sol";
import {MockEnclaveRegistry} from "./mocks/MockEnclaveRegistry.sol";
import {Tree} from "./mocks/Tree.sol";
import {VaultBase} from "./mocks/VaultBase.sol";

contract VaultEpochsTest is VaultBase {
    address private constant ALICE = address(0xA11CE);
    address private constant BOB = address(0xB0B);
    address private constant STRANGER = address(0x57);

    function test_a_proposal_takes_effect_after_the_window_and_not_a_second_before() public {
        bytes32 root = Tree.leaf(ALICE, 5e18);
        vm.warp(vault.epochEnd(1));
        propose(1, root, 5e18);
        vm.warp(time() + DAY - 1);
        vm.expectRevert();
        vault.claim(ALICE, 5e18, new bytes32[](0));
        (uint32 epoch, bytes32 proposed, uint256 total, uint256 maturesAt) = vault.pending();
        assert(epoch == 1 && proposed == root && total == 5e18 && maturesAt == time() + 1);
        vm.warp(time() + 1);
        vault.claim(ALICE, 5e18, new bytes32[](0));
        assert(token.balanceOf(ALICE) == 5e18);
        (epoch, proposed, total, maturesAt) = vault.pending();
        assert(epoch == 0 && proposed == 0 && total == 0 && maturesAt == 0);
    }

    function test_claims_go_on_under_the_old_root_while_a_new_one_is_challenged() public {
        accept(1, Tree.leaf(ALICE, 5e18), 5e18);
        vm.warp(vault.epochEnd(3));
        propose(3, Tree.leaf(BOB, 9e18), 9e18);
        vm.expectRevert();
        vault.claim(BOB, 9e18, new bytes32[](0));
        vault.claim(ALICE, 5e18, new bytes32[](0));
        assert(token.balanceOf(ALICE) == 5e18);
    }

    function test_any_one_watchman_vetoes_and_the_epoch_is_proposed_anew() public {
        accept(1, Tree.leaf(ALICE, 5e18), 5e18);
        vm.warp(vault.epochEnd(3));
        propose(3, Tree.leaf(BOB, 9e18), 9e18);
        vm.prank(SECOND_WATCHMAN);
        vault.veto(3);
        vm.warp(time() + 30 days);
        (bytes32 root, uint256 total) = vault.current();
        assert(root == Tree.leaf(ALICE, 5e18) && total == 5e18);
        vm.expectRevert();
        vault.claim(BOB, 9e18, new bytes32[](0));
        accept(3, Tree.leaf(ALICE, 7e18), 7e18);
        vault.claim(ALICE, 7e18, new bytes32[](0));
        assert(token.balanceOf(ALICE) == 7e18);
    }

    function test_nothing_is_vetoed_after_its_window_or_twice_or_under_a_wrong_number() public {
        vm.startPrank(WATCHMAN);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultNothingToVeto.selector, 0));
        vault.veto(0);
        vm.stopPrank();
        vm.warp(vault.epochEnd(2));
        propose(2, Tree.leaf(ALICE, 5e18), 5e18);
        vm.startPrank(WATCHMAN);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultNothingToVeto.selector, 1));
        vault.veto(1);
        vault.veto(2);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultNothingToVeto.selector, 2));
        vault.veto(2);
        vm.stopPrank();
        accept(2, Tree.leaf(ALICE, 5e18), 5e18);
        vm.prank(WATCHMAN);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultNothingToVeto.selector, 2));
        vault.veto(2);
    }

    function test_each_role_does_its_own_and_nothing_else() public {
        vm.warp(vault.epochEnd(1));
        bytes32 proposer = vault.PROPOSER_ROLE();
        bytes32 watchman = vault.WATCHMAN_ROLE();
        bytes32 guardian = vault.GUARDIAN_ROLE();
        vm.prank(WATCHMAN);
        vm.expectRevert(missing(WATCHMAN, proposer));
        vault.propose(1, bytes32(uint256(9)), 1);
        vm.prank(PROPOSER);
        vm.expectRevert(missing(PROPOSER, watchman));
        vault.veto(1);
        vm.prank(STRANGER);
        vm.expectRevert(missing(STRANGER, guardian));
        vault.pause();
        vm.prank(GUARDIAN);
        vault.pause();
        vm.prank(GUARDIAN);
        vm.expectRevert(missing(GUARDIAN, bytes32(0)));
        vault.unpause();
    }

    function test_a_proposal_waits_for_the_one_before_it() public {
        vm.warp(vault.epochEnd(2));
        propose(1, Tree.leaf(ALICE, 1), 1);
        vm.prank(PROPOSER);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultRootPending.selector, time() + DAY, time()));
        vault.propose(2, Tree.leaf(ALICE, 2), 2);
    }

    function test_an_epoch_is_proposed_once_in_order_and_when_it_is_over() public {
        vm.warp(vault.epochEnd(1) - 1);
        uint256 end = vault.epochEnd(1);
        vm.prank(PROPOSER);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultEpochNotOver.selector, 1, end));
        vault.propose(1, Tree.leaf(ALICE, 1), 1);
        accept(4, Tree.leaf(ALICE, 1), 1);
        for (uint32 epoch; epoch < 5; ++epoch) {
            vm.prank(PROPOSER);
            vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultEpochNotLater.selector, epoch, 4));
            vault.propose(epoch, Tree.leaf(ALICE, 2), 2);
        }
    }

    function test_a_total_never_falls_nor_passes_the_schedule() public {
        accept(2, Tree.leaf(ALICE, 2 * INITIAL), 2 * INITIAL);
        vm.warp(vault.epochEnd(3));
        vm.startPrank(PROPOSER);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultTotalFell.selector, 2 * INITIAL - 1, 2 * INITIAL));
        vault.propose(3, Tree.leaf(ALICE, 1), 2 * INITIAL - 1);
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultAboveSchedule.selector, 3 * INITIAL + 1, 3 * INITIAL));
        vault.propose(3, Tree.leaf(ALICE, 1), 3 * INITIAL + 1);
        vm.expectRevert(RewardVault.VaultZeroRoot.selector);
        vault.propose(3, 0, 3 * INITIAL);
        vault.propose(3, Tree.leaf(ALICE, 1), 3 * INITIAL);
        vm.stopPrank();
    }

    function test_a_false_root_pays_no_more_than_its_total() public {
        bytes32 other = Tree.leaf(BOB, 80e18);
        bytes32[] memory path = new bytes32[](1);
        path[0] = Tree.leaf(ALICE, 30e18);
        accept(1, Tree.pair(other, path[0]), 100e18);
        vault.claim(BOB, 80e18, path);
        path[0] = other;
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultAboveTotal.selector, 110e18, 100e18));
        vault.claim(ALICE, 30e18, path);
        assert(token.totalSupply() == 80e18 && vault.claimed(ALICE) == 0);
    }

    function test_a_claim_pays_the_difference_once() public {
        accept(1, Tree.leaf(ALICE, 5e18), 5e18);
        vm.prank(STRANGER);
        vault.claim(ALICE, 5e18, new bytes32[](0));
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultNothingToClaim.selector, ALICE, 5e18, 5e18));
        vault.claim(ALICE, 5e18, new bytes32[](0));
        accept(4, Tree.leaf(ALICE, 8e18), 8e18);
        vault.claim(ALICE, 8e18, new bytes32[](0));
        assert(token.balanceOf(ALICE) == 8e18 && token.balanceOf(STRANGER) == 0 && vault.claimedInTotal() == 8e18);
    }

    function test_nobody_claims_with_an_inner_node_or_another_amount_or_for_another(uint256 seed) public {
        bytes32[] memory leaves = new bytes32[](5);
        for (uint256 i; i < 5; ++i) {
            leaves[i] = Tree.leaf(address(uint160(0x1000 + i)), (i + 1) * 1e18);
        }
        accept(1, Tree.rootOf(leaves), 15e18);
        uint256 who = seed % 5;
        bytes32[] memory proof = Tree.proofOf(leaves, who);
        vm.expectRevert();
        vault.claim(address(uint160(0x1000 + who)), (who + 1) * 1e18 + 1, proof);
        vm.expectRevert();
        vault.claim(address(uint160(0x1001 + who)), (who + 1) * 1e18, proof);
        if (proof.length > 1) {
            bytes32[] memory shorter = new bytes32[](proof.length - 1);
            vm.expectRevert();
            vault.claim(address(uint160(0x1000 + who)), (who + 1) * 1e18, shorter);
        }
        vault.claim(address(uint160(0x1000 + who)), (who + 1) * 1e18, proof);
        assert(token.balanceOf(address(uint160(0x1000 + who))) == (who + 1) * 1e18);
    }

    function test_a_pause_stops_proposals_and_never_a_claim_or_a_veto() public {
        accept(1, Tree.leaf(ALICE, 5e18), 5e18);
        vm.warp(vault.epochEnd(3));
        propose(3, Tree.leaf(BOB, 9e18), 9e18);
        vm.prank(GUARDIAN);
        vault.pause();
        vault.claim(ALICE, 5e18, new bytes32[](0));
        vm.prank(WATCHMAN);
        vault.veto(3);
        vm.prank(PROPOSER);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        vault.propose(3, Tree.leaf(BOB, 9e18), 9e18);
        vm.prank(ADMIN);
        vault.unpause();
        propose(3, Tree.leaf(BOB, 9e18), 9e18);
    }

    function test_production_refuses_short_windows_and_a_schedule_above_the_cap() public {
        RewardVault.Terms memory t = terms();
        t.challengeWindow = DAY - 1;
        vm.expectRevert(abi.encodeWithSelector(RewardVault.VaultWindowTooShort.selector, DAY - 1, DAY));
        new RewardVault(IEnclaveRegistry(address(registry)), LEDGER, t, ADMIN);
        t = terms();
        t.unbondingPeriod = 7 days - 1;
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondPeriodTooShort.selector, 7 days - 1, 7 days));
        new RewardVault(IEnclaveRegistry(address(registry)), LEDGER, t, ADMIN);
        t = terms();
        t.cap = 2 * INITIAL * HALVING - 1;
        vm.expectRevert(
            abi.encodeWithSelector(RewardVault.VaultScheduleAboveCap.selector, 2 * INITIAL * HALVING, t.cap)
        );
        new RewardVault(IEnclaveRegistry(address(registry)), LEDGER, t, ADMIN);
        t = terms();
        t.epochLength = 0;
        vm.expectRevert(RewardVault.VaultZeroTerm.selector);
        new RewardVault(IEnclaveRegistry(address(registry)), LEDGER, t, ADMIN);
    }

    function test_a_simulated_vault_says_so_and_may_have_no_window() public {
        RewardVault.Terms memory t = terms();
        t.challengeWindow = 0;
        t.unbondingPeriod = 0;
        vault = new RewardVault(IEnclaveRegistry(address(new MockEnclaveRegistry(Realm.Simulated))), LEDGER, t, ADMIN);
        assert(keccak256(bytes(vault.name())) == keccak256("SIMULATED Glacier RewardVault"));
        assert(vault.realm() == Realm.Simulated && vault.token().realm() == Realm.Simulated);
        bytes32 role = vault.PROPOSER_ROLE();
        vm.prank(ADMIN);
        vault.grantRole(role, PROPOSER);
        vm.warp(vault.epochEnd(1));
        propose(1, Tree.leaf(ALICE, 5e18), 5e18);
        vault.claim(ALICE, 5e18, new bytes32[](0));
        assert(vault.token().balanceOf(ALICE) == 5e18);
    }

    function test_the_schedule_halves_and_never_falls(uint32 epoch) public view {
        assert(vault.allowedBy(0) == 0 && vault.allowedBy(1) == INITIAL);
        assert(vault.allowedBy(HALVING) == uint256(HALVING) * INITIAL);
        assert(vault.allowedBy(HALVING + 1) == uint256(HALVING) * INITIAL + INITIAL / 2);
        assert(vault.allowedBy(2 * HALVING) == uint256(HALVING) * (INITIAL + INITIAL / 2));
        uint256 allowed = vault.allowedBy(epoch);
        assert(allowed <= 2 * uint256(INITIAL) * HALVING && allowed <= token.cap());
        if (epoch != 0) {
            uint256 one = allowed - vault.allowedBy(epoch - 1);
            uint256 exact = uint256(INITIAL) >> ((epoch - 1) / HALVING);
            assert(one <= exact + 2 && one + 2 >= exact);
        }
    }

    /// Within an era the formula cannot fall; here are all eras' ends, and some beyond the last wei.
    function test_the_schedule_does_not_fall_at_any_halving() public view {
        for (uint32 era = 1; era < 100; ++era) {
            uint256 end = vault.allowedBy(era * HALVING);
            assert(vault.allowedBy(era * HALVING - 1) <= end && end <= vault.allowedBy(era * HALVING + 1));
        }
        assert(vault.allowedBy(100 * HALVING) == 2 * uint256(INITIAL) * HALVING);
        assert(vault.allowedBy(type(uint32).max) == 2 * uint256(INITIAL) * HALVING);
    }

    function missing(address account, bytes32 role) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, role);
    }
}
