// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {WorkLedger} from "../src/WorkLedger.sol";
import {Platform, Realm} from "../src/Types.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {LogTree} from "../src/lib/LogTree.sol";
import {vm} from "./Cheats.sol";
import {LedgerFixture} from "./LedgerFixture.sol";
import {within} from "./Within.sol";

contract LedgerTest is LedgerFixture {
    event Settled(address indexed key, bytes32 head, uint64 units, Realm realm);
    event Skipped(address indexed key, uint64 size, WorkLedger.Refusal why, Realm realm);

    function test_a_head_is_settled_and_said() external {
        Checkpoint memory head = _head(9, keccak256("root"), 77);
        vm.expectEmit(true, true, true, true);
        emit Settled(key, bytes32(bytes24(head.root)) | bytes32(uint256(9)), 77, Realm.Simulated);
        _settle(SECRET, head);
        (uint64 size, bytes24 root) = ledger.settled(key);
        require(size == 9 && root == bytes24(head.root));
    }

    function test_the_size_strictly_rises(uint64 first, uint64 second) external {
        first = uint64(within(first, 1, type(uint64).max));
        _settle(SECRET, _head(first, keccak256("one"), 1));
        Checkpoint memory head = _head(second, keccak256("two"), 2);
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(head));
        if (second <= first) _expectRefused(head, WorkLedger.Refusal.NotLater);
        _submit(head, r, vs);
        (uint64 size,) = ledger.settled(key);
        require(size == (second > first ? second : first));
    }

    function test_a_head_that_is_changed_in_any_member_is_refused(uint8 member) external {
        Checkpoint memory head = _head(9, keccak256("root"), 77);
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(head));
        member = uint8(within(member, 0, 5));
        if (member == 0) head.enclaveId ^= bytes32(uint256(1));
        if (member == 1) head.size ^= 2;
        if (member == 2) head.root ^= bytes32(uint256(1));
        if (member == 3) head.units ^= 1;
        if (member == 4) r ^= bytes32(uint256(1));
        if (member == 5) vs ^= bytes32(uint256(1) << 255);
        _expectRefused(head, WorkLedger.Refusal.Signature);
        _submit(head, r, vs);
    }

    function test_a_head_of_another_chain_or_ledger_is_refused() external {
        Checkpoint memory head = _head(9, keccak256("root"), 77);
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(head));
        vm.chainId(1);
        _expectRefused(head, WorkLedger.Refusal.Signature);
        _submit(head, r, vs);
    }

    function test_an_unknown_key_earns_nothing() external {
        Checkpoint memory head = _head(9, keccak256("root"), 77);
        head.enclaveKey = otherKey;
        (bytes32 r, bytes32 vs) = _sign(OTHER_SECRET, ledger.hashOf(head));
        _expectRefused(head, WorkLedger.Refusal.NotEarning);
        _submit(head, r, vs);
    }

    function test_an_expired_a_revoked_a_barred_and_a_paused_key_earn_nothing(uint8 how) external {
        how = uint8(within(how, 0, 4));
        if (how == 0) vm.warp(VALID_UNTIL);
        if (how == 1) policy.revoke(CODE);
        if (how == 2) registry.evict(4, Platform.Tdx, abi.encode(CHIP, true), _list(key));
        if (how == 3) registry.pause();
        if (how == 4) vm.prank(OWNER);
        if (how == 4) registry.revoke(CHIP, key);
        Checkpoint memory head = _head(9, keccak256("root"), 77);
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(head));
        _expectRefused(head, how == 3 ? WorkLedger.Refusal.Paused : WorkLedger.Refusal.NotEarning);
        _submit(head, r, vs);
        bytes memory packed = _packed(_proof(0), SECRET, new bytes32[](0));
        vm.expectRevert();
        ledger.submitProof(packed);
        bytes memory batch = _packed(head, SECRET);
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.NothingSettled.selector, 1));
        ledger.submitCheckpoints(batch);
    }

    function test_a_replaced_key_settles_for_a_day() external {
        _register(CHIP, otherKey, key);
        _settle(SECRET, _head(9, keccak256("root"), 77));
        vm.warp(START + 1 days);
        Checkpoint memory head = _head(10, keccak256("root"), 78);
        (bytes32 r, bytes32 vs) = _sign(SECRET, ledger.hashOf(head));
        _expectRefused(head, WorkLedger.Refusal.NotEarning);
        _submit(head, r, vs);
    }

    function test_one_bad_head_in_a_batch_does_not_sink_the_others() external {
        _register(OTHER_CHIP, otherKey, address(0));
        Checkpoint memory bad = _head(9, keccak256("root"), 77);
        Checkpoint memory good = Checkpoint(OTHER_CHIP, otherKey, 5, keccak256("good"), 6);
        bytes memory batch = bytes.concat(_packed(bad, OTHER_SECRET), _packed(good, OTHER_SECRET));
        vm.expectEmit(true, true, true, true);
        emit Skipped(key, 9, WorkLedger.Refusal.Signature, Realm.Simulated);
        require(ledger.submitCheckpoints(batch) == 1);
        (uint64 size, bytes24 root) = ledger.settled(otherKey);
        require(size == 5 && root == bytes24(good.root));
        (size,) = ledger.settled(key);
        require(size == 0);
    }

    function test_a_batch_of_another_length_is_refused(uint16 length) external {
        bytes memory batch = new bytes(within(length, 0, 1000));
        vm.expectRevert();
        ledger.submitCheckpoints(batch);
    }

    function test_single_proofs_grow_the_same_log_that_a_head_signs() external {
        bytes32[4] memory leaves;
        for (uint64 i; i < 4; ++i) {
            leaves[i] = LogTree.leaf(ledger.hashOf(_proof(i)));
        }
        bytes32[] memory none;
        ledger.submitProof(_packed(_proof(0), SECRET, none));
        ledger.submitProof(_packed(_proof(1), SECRET, _words(leaves[0])));
        bytes32 pair = LogTree.node(leaves[0], leaves[1]);
        ledger.submitProof(_packed(_proof(2), SECRET, _words(pair)));
        bytes32[] memory peaks = new bytes32[](2);
        (peaks[0], peaks[1]) = (pair, leaves[2]);
        ledger.submitProof(_packed(_proof(3), SECRET, peaks));
        (uint64 size, bytes24 root) = ledger.settled(key);
        bytes32 expected = LogTree.node(pair, LogTree.node(leaves[2], leaves[3]));
        require(size == 4 && root == bytes24(expected));

        bytes32[] memory path = new bytes32[](2);
        (path[0], path[1]) = (leaves[3], pair);
        require(ledger.isSettled(key, ledger.hashOf(_proof(2)), 2, path));
        require(!ledger.isSettled(key, ledger.hashOf(_proof(2)), 3, path));
        require(!ledger.isSettled(key, ledger.hashOf(_proof(3)), 2, path));
        require(!ledger.isSettled(otherKey, ledger.hashOf(_proof(2)), 2, path));
    }

    function test_a_single_proof_out_of_turn_or_with_a_wrong_frontier_is_refused() external {
        bytes32[] memory none;
        ledger.submitProof(_packed(_proof(0), SECRET, none));
        bytes32 leaf = LogTree.leaf(ledger.hashOf(_proof(0)));
        bytes memory again = _packed(_proof(0), SECRET, _words(leaf));
        vm.expectRevert();
        ledger.submitProof(again);
        bytes memory skipped = _packed(_proof(2), SECRET, _words(leaf));
        vm.expectRevert();
        ledger.submitProof(skipped);
        bytes memory wrong = _packed(_proof(1), SECRET, _words(~leaf));
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.WrongFrontier.selector, ~leaf, bytes24(leaf)));
        ledger.submitProof(wrong);
        bytes memory bare = _packed(_proof(1), SECRET, none);
        vm.expectRevert(abi.encodeWithSelector(LogTree.FrontierLength.selector, 0, uint64(1)));
        ledger.submitProof(bare);
    }

    function test_a_packed_proof_that_is_changed_in_any_byte_is_refused(uint256 at, uint8 bits) external {
        bytes memory packed = _packed(_proof(0), SECRET, new bytes32[](0));
        at = within(at, 0, packed.length - 1);
        packed[at] ^= bytes1(uint8(within(bits, 1, 255)));
        vm.expectRevert();
        ledger.submitProof(packed);
    }

    function test_a_simulated_ledger_says_so() external view {
        require(bytes10(bytes(ledger.name())) == "SIMULATED " && ledger.realm() == Realm.Simulated);
    }

    function _submit(Checkpoint memory head, bytes32 r, bytes32 vs) private {
        bytes32 whose = bytes32(abi.encodePacked(head.enclaveKey, bytes9(head.enclaveId << 184)));
        ledger.submitCheckpoint(whose, uint256(head.size) << 64 | head.units, head.root, r, vs);
    }

    function _expectRefused(Checkpoint memory head, WorkLedger.Refusal why) private {
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.Refused.selector, head.enclaveKey, head.size, why));
    }

    function _words(bytes32 one) private pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = one;
    }
}
