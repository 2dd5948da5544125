// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Bonds} from "../src/Bonds.sol";
import {GlacierToken} from "../src/GlacierToken.sol";
import {RewardVault} from "../src/RewardVault.sol";
import {IEnclaveRegistry} from "../src/interfaces/IEnclaveRegistry.sol";
import {vm} from "./Cheats.sol";
import {MockEnclaveRegistry} from "./mocks/MockEnclaveRegistry.sol";
import {Tree} from "./mocks/Tree.sol";
import {VaultBase} from "./mocks/VaultBase.sol";

/// Does what anybody could do, in any order: honest roots, false roots, vetoes, pauses, claims, bonds, slashes, time.
/// The roles are its own; what it keeps beside the vault is what the invariants compare.
contract Crowd {
    uint256 public constant PEOPLE = 4;
    uint256 public constant CHIPS = 3;

    RewardVault public immutable vault;
    GlacierToken public immutable token;

    /// The cumulative amounts in the root in force, in the proposal, and in the last root that a claim may use.
    uint88[4] private _inForce;
    uint88[4] private _proposed;
    uint256 private _maturesAt;

    /// Sum of what claims paid, and whether anything that must always work did not.
    uint256 public paid;
    uint256 public highestTotal;
    bool public broken;
    mapping(bytes32 => mapping(address => uint256)) public bonded;
    uint256 public slashedAway;

    constructor(RewardVault vault_) {
        vault = vault_;
        token = vault_.token();
    }

    function person(uint256 i) public pure returns (address) {
        return address(uint160(0xFACE0000 + (i % PEOPLE)));
    }

    function chip(uint256 i) public pure returns (bytes32) {
        return keccak256(abi.encode("chip", i % CHIPS));
    }

    /// Something for everybody to bond.
    function start() external {
        if (highestTotal != 0) return;
        for (uint256 i; i < PEOPLE; ++i) {
            _proposed[i] = 10_000e18;
        }
        vault.propose(uint32(vault.epochNow() - 1), _rootOf(_proposed), 40_000e18);
        highestTotal = 40_000e18;
        _maturesAt = block.timestamp + vault.challengeWindow();
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + 1 + time % 20 days);
    }

    /// A root whose total is anything up to a little more than is allowed, and whose leaves may sum up to more than it.
    function propose(uint256 seed, uint88 asked, uint88 more) external {
        _promote();
        uint32 epoch = uint32(vault.epochNow());
        if (epoch != 0) epoch -= uint32(seed % 2 == 0 ? 1 : 0);
        uint256 allowed = vault.allowedBy(epoch);
        (, uint256 last) = vault.current();
        uint88 total = uint88(asked % (allowed + allowed / 8 + 2));
        // Mostly one that can be accepted.
        if (seed % 5 != 0 && last < allowed) total = uint88(last + asked % (allowed - last + 1));
        uint88[4] memory amounts;
        for (uint256 i; i < PEOPLE; ++i) {
            // Each third root is false: its leaves promise more than its total.
            amounts[i] = seed % 3 == 0 ? total / 2 + more % 1e18 : _inForce[i] + (more >> i) % (total / 4 + 1);
        }
        try vault.propose(epoch, _rootOf(amounts), total) {
            require(total <= allowed, "above the schedule");
            _proposed = amounts;
            _maturesAt = block.timestamp + vault.challengeWindow();
            if (total > highestTotal) highestTotal = total;
        } catch {}
    }

    function veto(uint256 seed) external {
        if (seed % 4 != 3) return;
        (uint32 epoch,,, uint256 maturesAt) = vault.pending();
        if (epoch == 0 || maturesAt == 0) return;
        vault.veto(epoch);
        delete _maturesAt;
    }

    function pause(bool on) external {
        if (on == vault.paused()) return;
        on ? vault.pause() : vault.unpause();
    }

    function claim(uint256 who) external {
        _promote();
        uint256 i = who % PEOPLE;
        uint256 before = token.balanceOf(person(i));
        bytes32[] memory leaves = _leavesOf(_inForce);
        try vault.claim(person(i), _inForce[i], Tree.proofOf(leaves, i)) {
            paid += token.balanceOf(person(i)) - before;
        } catch (bytes memory reason) {
            bytes4 selector = bytes4(reason);
            // Nothing but a lack of anything to claim, or a false root, may refuse a right proof; a pause least of all.
            if (
                selector != RewardVault.VaultNothingToClaim.selector && selector != RewardVault.VaultAboveTotal.selector
                    && _inForce[i] != 0
            ) broken = true;
        }
    }

    function bond(uint256 who, uint256 which, uint104 amount) external {
        address account = person(who);
        uint256 balance = token.balanceOf(account);
        if (balance == 0) return;
        amount = uint104(amount % balance) + 1;
        vm.startPrank(account);
        token.approve(address(vault), amount);
        try vault.bond(chip(which), amount) {
            bonded[chip(which)][account] += amount;
        } catch {}
        vm.stopPrank();
    }

    function unbond(uint256 who, uint256 which, uint104 amount) external {
        uint104 active = vault.positionOf(chip(which), person(who)).active;
        if (active == 0) return;
        vm.prank(person(who));
        try vault.unbond(chip(which), uint104(amount % active) + 1) {}
        catch {
            broken = true;
        }
    }

    function withdraw(uint256 who, uint256 which) external {
        Bonds.Position memory position = vault.positionOf(chip(which), person(who));
        if (position.unbonding == 0 || block.timestamp < position.releaseAt) return;
        uint256 before = token.balanceOf(person(who));
        vm.prank(person(who));
        try vault.withdraw(chip(which)) {
            require(token.balanceOf(person(who)) - before == position.unbonding, "withdrew another amount");
            bonded[chip(which)][person(who)] -= position.unbonding;
        } catch {
            // Whatever is paused, what is due is paid.
            broken = true;
        }
    }

    /// The ledger's part. Rare, or no bond would live long.
    function slash(uint256 seed, uint256 which) external {
        if (seed % 32 != 7) return;
        uint256 stood = vault.poolOf(chip(which)).active + uint256(vault.poolOf(chip(which)).unbonding);
        vault.slash(chip(which), person(seed / 32));
        for (uint256 i; i < PEOPLE; ++i) {
            bonded[chip(which)][person(i)] = 0;
        }
        slashedAway += stood - stood / vault.REPORTER_DIVISOR();
    }

    function _promote() private {
        if (_maturesAt == 0 || block.timestamp < _maturesAt) return;
        _inForce = _proposed;
        _maturesAt = 0;
    }

    function _rootOf(uint88[4] memory amounts) private pure returns (bytes32) {
        return Tree.rootOf(_leavesOf(amounts));
    }

    function _leavesOf(uint88[4] memory amounts) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](PEOPLE);
        for (uint256 i; i < PEOPLE; ++i) {
            leaves[i] = Tree.leaf(person(i), amounts[i]);
        }
    }
}

/// forge-config: default.invariant.depth = 256
contract VaultInvariantTest is VaultBase {
    Crowd private crowd;

    function setUp() public override {
        super.setUp();
        // The crowd is the ledger as well, so it is deployed at the address that the vault is told.
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        vault = new RewardVault(IEnclaveRegistry(address(registry)), next, terms(), ADMIN);
        crowd = new Crowd(vault);
        require(address(crowd) == next);
        token = vault.token();
        vm.startPrank(ADMIN);
        vault.grantRole(vault.PROPOSER_ROLE(), next);
        vault.grantRole(vault.WATCHMAN_ROLE(), next);
        vault.grantRole(vault.GUARDIAN_ROLE(), next);
        vault.grantRole(vault.DEFAULT_ADMIN_ROLE(), next);
        vm.stopPrank();
        for (uint256 i; i < crowd.CHIPS(); ++i) {
            registry.put(crowd.chip(i), address(0x0DD), address(uint160(0x8E1 + i)));
        }
        vm.warp(vault.epochEnd(2));
        crowd.start();
        vm.warp(vault.epochEnd(3));
        for (uint256 i; i < crowd.PEOPLE(); ++i) {
            crowd.claim(i);
        }
        assert(crowd.paid() == 40_000e18);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(crowd);
    }

    function invariant_claimed_is_within_emitted_within_the_schedule_within_the_cap() external view {
        (, uint256 total) = vault.current();
        uint256 schedule = vault.allowedBy(uint32(vault.epochNow()));
        assert(vault.claimedInTotal() == crowd.paid());
        assert(vault.claimedInTotal() <= total);
        assert(total <= crowd.highestTotal() && crowd.highestTotal() <= schedule && schedule <= token.cap());
        assert(token.totalSupply() <= token.cap());
    }

    function invariant_what_the_vault_holds_is_what_is_bonded() external view {
        uint256 pools;
        for (uint256 c; c < crowd.CHIPS(); ++c) {
            bytes32 id = crowd.chip(c);
            Bonds.Pool memory pool = vault.poolOf(id);
            uint256 active;
            uint256 unbonding;
            for (uint256 i; i < crowd.PEOPLE(); ++i) {
                Bonds.Position memory position = vault.positionOf(id, crowd.person(i));
                active += position.active;
                unbonding += position.unbonding;
                assert(uint256(position.active) + position.unbonding == crowd.bonded(id, crowd.person(i)));
            }
            assert(active == pool.active && unbonding == pool.unbonding);
            pools += active + unbonding;
        }
        assert(token.balanceOf(address(vault)) == pools);
    }

    function invariant_no_token_is_lost_but_by_slashing() external view {
        assert(vault.burned() == crowd.slashedAway());
        uint256 held = token.balanceOf(address(vault));
        for (uint256 i; i < crowd.PEOPLE(); ++i) {
            held += token.balanceOf(crowd.person(i));
        }
        assert(held == token.totalSupply() && held + vault.burned() == crowd.paid());
    }

    function invariant_claims_and_withdrawals_that_are_due_are_paid() external view {
        assert(!crowd.broken());
    }
}
