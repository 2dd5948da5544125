// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {GlacierToken} from "../../src/GlacierToken.sol";
import {RewardVault} from "../../src/RewardVault.sol";
import {Realm} from "../../src/Types.sol";
import {IEnclaveRegistry} from "../../src/interfaces/IEnclaveRegistry.sol";
import {vm} from "../Cheats.sol";
import {MockEnclaveRegistry} from "./MockEnclaveRegistry.sol";
import {Tree} from "./Tree.sol";

/// A production vault with one of each role, and a clock that starts with epoch 1.
abstract contract VaultBase {
    uint40 internal constant GENESIS = 1_800_000_000;
    uint32 internal constant DAY = 1 days;
    uint88 internal constant INITIAL = 25_000e18;
    uint32 internal constant HALVING = 1461;
    uint88 internal constant CAP = 100_000_000e18;

    address internal constant ADMIN = address(0xAD);
    address internal constant PROPOSER = address(0xA1);
    address internal constant WATCHMAN = address(0xB1);
    address internal constant SECOND_WATCHMAN = address(0xB2);
    address internal constant GUARDIAN = address(0xC1);
    address internal constant LEDGER = address(0x1ED6E4);
    bytes32 internal constant CHIP = keccak256("a chip");

    MockEnclaveRegistry internal registry;
    RewardVault internal vault;
    GlacierToken internal token;

    function terms() internal pure returns (RewardVault.Terms memory) {
        return RewardVault.Terms({
            genesis: GENESIS,
            epochLength: DAY,
            challengeWindow: DAY,
            unbondingPeriod: 14 days,
            initialEmission: INITIAL,
            halvingEpochs: HALVING,
            cap: CAP
        });
    }

    function setUp() public virtual {
        vm.warp(GENESIS);
        registry = new MockEnclaveRegistry(Realm.Production);
        registry.put(CHIP, address(0x0DD), address(0x8E1));
        vault = new RewardVault(IEnclaveRegistry(address(registry)), LEDGER, terms(), ADMIN);
        token = vault.token();
        vm.startPrank(ADMIN);
        vault.grantRole(vault.PROPOSER_ROLE(), PROPOSER);
        vault.grantRole(vault.WATCHMAN_ROLE(), WATCHMAN);
        vault.grantRole(vault.WATCHMAN_ROLE(), SECOND_WATCHMAN);
        vault.grantRole(vault.GUARDIAN_ROLE(), GUARDIAN);
        vm.stopPrank();
    }

    /// The time of this moment. (The compiler reads the clock of a call once; a test moves it.)
    function time() internal view returns (uint256) {
        return vm.getBlockTimestamp();
    }

    function propose(uint32 epoch, bytes32 root, uint88 total) internal {
        vm.prank(PROPOSER);
        vault.propose(epoch, root, total);
    }

    /// Goes to the end of `epoch`, proposes, and waits until the root is in force.
    function accept(uint32 epoch, bytes32 root, uint88 total) internal {
        if (time() < vault.epochEnd(epoch)) vm.warp(vault.epochEnd(epoch));
        propose(epoch, root, total);
        vm.warp(time() + vault.challengeWindow());
    }

    /// Gives `account` tokens by the way that everybody gets them.
    function earn(uint32 epoch, address account, uint88 amount) internal {
        uint256 cumulative = vault.claimed(account) + amount;
        (, uint256 total) = vault.current();
        accept(epoch, Tree.leaf(account, cumulative), uint88(total) + amount);
        vault.claim(account, cumulative, new bytes32[](0));
    }

    /// A path as long as that of a tree of 2^depth accounts.
    function siblings(uint256 depth, uint256 salt) internal pure returns (bytes32[] memory path) {
        path = new bytes32[](depth);
        for (uint256 i; i < depth; ++i) {
            path[i] = keccak256(abi.encode(salt, i));
        }
    }
}
