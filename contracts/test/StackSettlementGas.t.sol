// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DeviceAnchor} from "../src/DeviceAnchor.sol";
import {Tee} from "../src/Types.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {LogTree} from "../src/lib/LogTree.sol";
import {vm} from "./Cheats.sol";
import {GenuineFixture} from "./GenuineFixture.sol";
import {Tree} from "./mocks/Tree.sol";

/// Gas of settlement, rewards, escrow, evidence and anchors, for a chip that a genuine quote has registered.
contract StackSettlementGasTest is GenuineFixture {
    uint256 private constant MEMBERS = 1_000;
    bytes32 private constant MANIFEST = keccak256("manifest");

    function start() private {
        string memory id = "sgx/sgx-606a-svr2-2026";
        begin(id, "/collateral-2026-07-30-eval21.json", 1786432758, Tee.Sgx);
        vm.warp(time() + 1 days);
        register(SECRET, 0);
    }

    function register(uint256 secret, uint256 former) private {
        address formerKey = former == 0 ? address(0) : vm.addr(former);
        registry.register(evidence.quote, evidence.pck, vm.addr(secret), OWNER, formerKey);
    }

    /// The owner has claimed twice.
    function fund() private returns (uint256 first_, uint256 again_, uint256 root_) {
        accept(Tree.leaf(STRANGER, 1e18), 1e18);
        vault.claim(STRANGER, 1e18, new bytes32[](0));
        uint88 cumulative;
        for (uint256 i; i < 2; ++i) {
            cumulative += 1_234_567_890_123_456_789_012;
            bytes32[] memory siblings = path(14, i);
            vm.warp(time() + 1 days);
            bytes32 root = Tree.above(Tree.leaf(OWNER, cumulative), siblings);
            vault.propose(uint32(vault.epochNow() - 1), root, 3 * cumulative);
            root_ = vm.lastCallGas().gasTotalUsed;
            vm.warp(time() + vault.challengeWindow());
            vault.claim(OWNER, cumulative, siblings);
            (first_, again_) = (again_, vm.lastCallGas().gasTotalUsed);
        }
    }

    /// A hundred keys of one chip: all but the newest are in the day after they were replaced, in which they settle. What a head
    /// costs does not depend on whether its chip is another's.
    function test_gas_of_checkpoints() external withVectors {
        start();
        uint256 former = SECRET;
        for (uint256 i; i < 101; ++i) {
            register(MEMBERS + i, former);
            former = MEMBERS + i;
        }
        require(ledger.submitCheckpoints(batch(9_000)) == 100, "batch");
        note("checkpoint_batch_100_first");
        require(ledger.submitCheckpoints(batch(19_000)) == 100, "batch");
        note("checkpoint_batch_100");
        settle(MEMBERS + 100, head(MEMBERS + 100, 9_000, keccak256("one")));
        note("checkpoint_first");
        settle(MEMBERS + 100, head(MEMBERS + 100, 19_000, keccak256("two")));
        note("checkpoint_again");
        close();
    }

    function test_gas_of_single_proofs() external withVectors {
        start();
        bytes32[] memory frontier = new bytes32[](0);
        ledger.submitProof(packed(SECRET, proof(SECRET, 0), 1, frontier));
        note("work_proof_first");
        frontier = new bytes32[](1);
        frontier[0] = LogTree.leaf(ledger.hashOf(proof(SECRET, 0)));
        ledger.submitProof(packed(SECRET, proof(SECRET, 1), 1, frontier));
        note("work_proof_again");
        // A log of 1,023 proofs is ten perfect trees.
        frontier = path(10, 7);
        bytes32 root = frontier[9];
        for (uint256 i = 9; i != 0;) {
            root = LogTree.node(frontier[--i], root);
        }
        settle(SECRET, head(SECRET, 1_023, root));
        ledger.submitProof(packed(SECRET, proof(SECRET, 1_023), 1, frontier));
        note("work_proof_10_peaks");
        close();
    }

    function test_gas_of_rewards() external withVectors {
        start();
        (uint256 first_, uint256 again_, uint256 root_) = fund();
        put("claim_first", first_);
        put("claim_again", again_);
        put("epoch_root", root_);
        close();
    }

    function test_gas_of_escrow() external withVectors {
        start();
        fund();
        vm.startPrank(OWNER);
        token.approve(address(escrow), type(uint256).max);
        uint40 expiry = uint40(time() + 30 days);
        escrow.deposit(keccak256("another"), OWNER, 25_000, 1, expiry, 0);
        escrow.deposit(MANIFEST, OWNER, 25_000, 3, expiry, 0);
        note("escrow_deposit");
        vm.stopPrank();
        for (uint64 i; i < 2; ++i) {
            WorkProof memory done = proof(SECRET, i);
            (bytes32 r, bytes32 vs) = sign(SECRET, ledger.hashOf(done));
            escrow.release(done, OWNER, r, vs);
            if (i == 1) note("escrow_release");
        }
        close();
    }

    function test_gas_of_anchors() external withVectors {
        start();
        for (uint64 i; i < 2; ++i) {
            DeviceAnchor.Batch memory data =
                DeviceAnchor.Batch(verdict.enclaveId, vm.addr(SECRET), i, keccak256(abi.encode("data", i)), 1_000);
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(SECRET, anchor.hashOf(data));
            anchor.anchor(data, abi.encodePacked(r, s, v));
            if (i == 1) note("anchor_root");
        }
        close();
    }

    function test_gas_of_evidence() external withVectors {
        start();
        fund();
        vm.startPrank(OWNER);
        token.approve(address(vault), 100e18);
        vault.bond(verdict.enclaveId, 100e18);
        vm.stopPrank();
        WorkProof memory other = proof(SECRET, 5);
        other.output = keccak256("another output");
        address[] memory none = new address[](0);
        ledger.proveTwoProofs(signed(SECRET, proof(SECRET, 5)), signed(SECRET, other), none);
        note("equivocation");
        require(vault.poolOf(verdict.enclaveId).slashed && registry.chip(verdict.enclaveId).barred, "slashed");
        close();
    }

    function proof(uint256 secret, uint64 sequence) private view returns (WorkProof memory) {
        return proofOf(vm.addr(secret), verdict.enclaveId, verdict.measurement, "sgx", sequence);
    }

    function head(uint256 secret, uint64 size, bytes32 root) private view returns (Checkpoint memory) {
        return Checkpoint(verdict.enclaveId, vm.addr(secret), size, root, size * 7_654_321);
    }

    function batch(uint64 size) private view returns (bytes memory heads) {
        for (uint256 i; i < 100; ++i) {
            heads = bytes.concat(heads, packed(MEMBERS + i, head(MEMBERS + i, size, keccak256(abi.encode(size, i)))));
        }
    }

    function path(uint256 length, uint256 salt) private pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](length);
        for (uint256 i; i < length; ++i) {
            hashes[i] = keccak256(abi.encode(salt, i));
        }
    }
}
