// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {WorkLedger} from "../src/WorkLedger.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {IBondSlasher} from "../src/interfaces/IBondSlasher.sol";
import {LogTree} from "../src/lib/LogTree.sol";
import {vm} from "./Cheats.sol";
import {LedgerFixture} from "./LedgerFixture.sol";

contract SlasherMock is IBondSlasher {
    bytes32 public chip;
    address public reporter;
    bool private _broken;

    function slash(bytes32 enclaveId, address reporter_) external {
        require(!_broken, "broken");
        (chip, reporter) = (enclaveId, reporter_);
    }

    function break_() external {
        _broken = true;
    }
}

contract EquivocationTest is LedgerFixture {
    SlasherMock private slasher;
    address[] private none;

    function setUp() public override {
        super.setUp();
        slasher = new SlasherMock();
        ledger.setSlasher(slasher);
    }

    function test_two_proofs_of_one_sequence_bar_the_chip_and_take_its_bond() external {
        WorkProof memory other = _proof(5);
        other.output = keccak256("another output");
        WorkLedger.SignedProof memory one = _signed(_proof(5));
        WorkLedger.SignedProof memory two = _signed(other);
        vm.prank(STRANGER);
        ledger.proveTwoProofs(one, two, none);
        _requireBarred();
        require(slasher.chip() == CHIP && slasher.reporter() == STRANGER);
    }

    function test_proofs_for_another_ledger_are_evidence_too() external {
        WorkLedger.SignedProof memory one = _signed(_proof(5));
        WorkLedger.SignedProof memory two = _signed(_proof(5));
        // The same members, for chain 1 and no ledger.
        two.chainId = 1;
        two.ledger = address(0);
        (two.r, two.vs) = _sign(SECRET, _foreign(_proof(5), 1, address(0)));
        ledger.proveTwoProofs(one, two, none);
        _requireBarred();
    }

    function test_what_does_not_contradict_itself_is_no_equivocation() external {
        WorkLedger.SignedProof memory one = _signed(_proof(5));
        vm.expectRevert(WorkLedger.NoContradiction.selector);
        ledger.proveTwoProofs(one, one, none);
        WorkLedger.SignedProof memory next = _signed(_proof(6));
        vm.expectRevert(WorkLedger.NoContradiction.selector);
        ledger.proveTwoProofs(one, next, none);
        WorkLedger.SignedHead memory head = _signed(_head(5, keccak256("a"), 1));
        WorkLedger.SignedHead memory later = _signed(_head(6, keccak256("b"), 2));
        vm.expectRevert(WorkLedger.NoContradiction.selector);
        ledger.proveTwoHeads(head, head, none);
        vm.expectRevert(WorkLedger.NoContradiction.selector);
        ledger.proveTwoHeads(head, later, none);
    }

    function test_what_the_key_did_not_sign_is_no_evidence() external {
        WorkProof memory other = _proof(5);
        other.output = keccak256("another output");
        WorkLedger.SignedProof memory one = _signed(_proof(5));
        WorkLedger.SignedProof memory two = _signed(other);
        (two.r, two.vs) = _sign(OTHER_SECRET, ledger.hashOf(other));
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.NotSigner.selector, otherKey, key));
        ledger.proveTwoProofs(one, two, none);
    }

    function test_a_key_that_is_not_the_chips_bars_nothing() external {
        WorkProof memory a = _proof(5);
        a.enclaveKey = otherKey;
        WorkProof memory b = _proof(5);
        (b.enclaveKey, b.output) = (otherKey, keccak256("another output"));
        WorkLedger.SignedProof memory one = WorkLedger.SignedProof(a, block.chainid, address(ledger), 0, 0);
        WorkLedger.SignedProof memory two = WorkLedger.SignedProof(b, block.chainid, address(ledger), 0, 0);
        (one.r, one.vs) = _sign(OTHER_SECRET, ledger.hashOf(a));
        (two.r, two.vs) = _sign(OTHER_SECRET, ledger.hashOf(b));
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.NotItsKey.selector, CHIP, otherKey));
        ledger.proveTwoProofs(one, two, none);
    }

    function test_two_heads_of_one_size_bar_the_chip() external {
        ledger.proveTwoHeads(_signed(_head(5, keccak256("a"), 1)), _signed(_head(5, keccak256("b"), 1)), none);
        _requireBarred();
    }

    function test_a_head_with_another_leaf_than_a_signed_proof_bars_the_chip() external {
        bytes32 first = LogTree.leaf(keccak256("another proof"));
        bytes32 second = LogTree.leaf(ledger.hashOf(_proof(1)));
        WorkLedger.SignedHead memory head = _signed(_head(2, LogTree.node(first, second), 1));
        WorkLedger.SignedProof memory kept = _signed(_proof(1));
        bytes32[] memory path = new bytes32[](1);
        path[0] = first;
        vm.expectRevert(WorkLedger.NoContradiction.selector);
        ledger.proveOtherLeaf(head, kept, second, path, none);
        WorkLedger.SignedProof memory dropped = _signed(_proof(0));
        vm.expectRevert(WorkLedger.WrongPath.selector);
        ledger.proveOtherLeaf(head, dropped, first, path, none);
        path[0] = second;
        ledger.proveOtherLeaf(head, dropped, first, path, none);
        _requireBarred();
    }

    function test_two_histories_bar_the_chip() external {
        bytes32[3] memory leaves = [keccak256("l0"), keccak256("l1"), keccak256("l2")];
        bytes32 pair = LogTree.node(leaves[0], leaves[1]);
        WorkLedger.SignedHead memory small = _signed(_head(2, pair, 1));
        WorkLedger.SignedHead memory honest = _signed(_head(3, LogTree.node(pair, leaves[2]), 1));
        bytes32 forked = LogTree.node(leaves[0], keccak256("l1'"));
        WorkLedger.SignedHead memory fork = _signed(_head(3, LogTree.node(forked, leaves[2]), 1));
        bytes32[] memory path = new bytes32[](1);
        path[0] = leaves[0];
        bytes32[] memory longer = new bytes32[](2);
        (longer[0], longer[1]) = (leaves[0], leaves[2]);
        vm.expectRevert(WorkLedger.NoContradiction.selector);
        ledger.proveTwoHistories(small, honest, 1, [leaves[1], leaves[1]], path, longer, none);
        vm.expectRevert(WorkLedger.WrongPath.selector);
        ledger.proveTwoHistories(small, honest, 1, [leaves[1], keccak256("l1'")], path, longer, none);
        ledger.proveTwoHistories(small, fork, 1, [leaves[1], keccak256("l1'")], path, longer, none);
        _requireBarred();
    }

    function test_a_former_key_that_forked_ends_the_current_one_too() external {
        _register(CHIP, otherKey, key);
        WorkLedger.SignedHead memory a = _signed(_head(5, keccak256("a"), 1));
        WorkLedger.SignedHead memory b = _signed(_head(5, keccak256("b"), 1));
        vm.warp(START + 2 days);
        ledger.proveTwoHeads(a, b, _list(otherKey));
        require(!registry.isLive(CHIP, otherKey) && registry.chipOfEarner(otherKey) == 0);
    }

    function test_a_slasher_that_fails_saves_nobody() external {
        slasher.break_();
        ledger.proveTwoHeads(_signed(_head(5, keccak256("a"), 1)), _signed(_head(5, keccak256("b"), 1)), none);
        _requireBarred();
        require(slasher.chip() == 0);
    }

    function test_the_slasher_is_named_once_and_by_the_owner() external {
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.SlasherSet.selector, address(slasher)));
        ledger.setSlasher(slasher);
        WorkLedger fresh = new WorkLedger(registry);
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.NotOwner.selector, STRANGER));
        fresh.setSlasher(slasher);
    }

    function _requireBarred() private view {
        require(registry.chip(CHIP).barred && !registry.isLive(CHIP, key) && registry.chipOfEarner(key) == 0);
    }

    function _signed(WorkProof memory proof) private view returns (WorkLedger.SignedProof memory signed) {
        signed = WorkLedger.SignedProof(proof, block.chainid, address(ledger), 0, 0);
        (signed.r, signed.vs) = _sign(SECRET, ledger.hashOf(proof));
    }

    function _signed(Checkpoint memory head) private view returns (WorkLedger.SignedHead memory signed) {
        signed.head = head;
        (signed.r, signed.vs) = _sign(SECRET, ledger.hashOf(head));
    }

    /// The digest in another domain, from the one definition that the standard gives.
    function _foreign(WorkProof memory proof, uint256 chain, address at) private pure returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Glacier"),
                keccak256("1"),
                chain,
                at
            )
        );
        bytes32 typeHash = keccak256(
            "WorkProof(bytes32 enclaveId,address enclaveKey,bytes32 measurement,string platform,string work,bytes32 manifest,bytes32 model,bytes32 input,bytes32 output,uint64 units,uint64 sequence,bytes32 previous,address payer,uint64 price)"
        );
        return keccak256(abi.encodePacked(hex"1901", separator, keccak256(abi.encode(typeHash, proof))));
    }
}
