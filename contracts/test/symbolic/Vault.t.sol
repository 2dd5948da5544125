// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EmissionSchedule} from "../../src/EmissionSchedule.sol";
import {RewardVault} from "../../src/RewardVault.sol";
import {Tree} from "../mocks/Tree.sol";
import {VaultBase} from "../mocks/VaultBase.sol";
import {vm} from "../Cheats.sol";

/// Properties of all inputs, by symbolic execution. In this folder's parent:
/// `FOUNDRY_PROFILE=symbolic halmos --forge-build-out out/symbolic --match-contract Symbolic`. forge runs nothing here: no name begins with `test`.
///
/// A division by a symbolic number is beyond the solvers, so eras are 1,024 epochs here; other lengths are fuzzed.
contract ScheduleSymbolic {
    uint32 private constant HALVING = 1024;

    function check_any_schedule_stays_within_its_limit_at_any_epoch(uint88 initial, uint32 epoch) public pure {
        assert(EmissionSchedule.emittedBy(initial, HALVING, epoch) <= EmissionSchedule.limit(initial, HALVING));
    }
}

contract VaultSymbolic is VaultBase {
    address private constant ALICE = address(0xA11CE);

    function check_a_claim_pays_what_the_root_says_once(
        uint88 earned,
        uint88 total,
        address account,
        uint256 cumulative
    ) public {
        if (earned > total || total > INITIAL) return;
        vm.warp(GENESIS + DAY);
        propose(1, Tree.leaf(ALICE, earned), total);
        vm.warp(GENESIS + 2 * DAY);
        try vault.claim(account, cumulative, new bytes32[](0)) {
            assert(account == ALICE && cumulative == earned && earned != 0);
            assert(token.balanceOf(ALICE) == earned && token.totalSupply() == earned);
            (bool again,) = address(vault).call(abi.encodeCall(vault.claim, (account, cumulative, new bytes32[](0))));
            assert(!again);
        } catch {
            assert(token.totalSupply() == 0);
            assert(account != ALICE || cumulative != earned || earned == 0);
        }
    }

    function check_no_claim_passes_the_total(uint88 total, uint256 promised) public {
        if (total > INITIAL) return;
        vm.warp(GENESIS + DAY);
        propose(1, Tree.leaf(ALICE, promised), total);
        vm.warp(GENESIS + 2 * DAY);
        try vault.claim(ALICE, promised, new bytes32[](0)) {
            assert(promised <= total);
        } catch {
            assert(promised > total || promised == 0);
        }
        assert(token.totalSupply() <= total);
    }

    function check_no_proposal_passes_the_schedule(uint32 epoch, uint88 total, uint40 time) public {
        vm.warp(time);
        vm.prank(PROPOSER);
        try vault.propose(epoch, keccak256("root"), total) {
            assert(epoch != 0 && time >= vault.epochEnd(epoch));
            assert(total <= vault.allowedBy(epoch) && total <= CAP);
        } catch {}
    }

    function check_bonds_are_conserved(uint104 amount, uint104 released, bool slashed) public {
        vm.warp(GENESIS + DAY);
        propose(1, Tree.leaf(ALICE, 1_000e18), 1_000e18);
        vm.warp(GENESIS + 2 * DAY);
        vault.claim(ALICE, 1_000e18, new bytes32[](0));
        vm.startPrank(ALICE);
        token.approve(address(vault), type(uint256).max);
        (bool bonded,) = address(vault).call(abi.encodeCall(vault.bond, (CHIP, amount)));
        assert(bonded == (amount != 0 && amount <= 1_000e18));
        (bool unbonding,) = address(vault).call(abi.encodeCall(vault.unbond, (CHIP, released)));
        assert(unbonding == (bonded && released != 0 && released <= amount));
        vm.stopPrank();
        if (slashed) {
            vm.prank(LEDGER);
            vault.slash(CHIP, LEDGER);
        }
        vm.warp(GENESIS + 100 * DAY);
        vm.prank(ALICE);
        (bool withdrawn,) = address(vault).call(abi.encodeCall(vault.withdraw, (CHIP)));
        assert(withdrawn == (unbonding && !slashed));
        uint256 out = bonded ? (withdrawn ? amount - released : amount) : 0;
        assert(token.balanceOf(ALICE) == 1_000e18 - out);
        assert(token.balanceOf(address(vault)) == (slashed ? 0 : out));
        assert(token.balanceOf(LEDGER) == (slashed ? out / 4 : 0));
        assert(token.totalSupply() + vault.burned() == 1_000e18);
    }
}
