// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DeviceAnchor} from "../src/DeviceAnchor.sol";
import {Realm} from "../src/Types.sol";
import {IEnclaveRegistry} from "../src/interfaces/IEnclaveRegistry.sol";
import {vm} from "./Cheats.sol";
import {GasReport} from "./mocks/GasReport.sol";
import {RfcTree} from "./mocks/RfcTree.sol";
import {MockEnclaveRegistry} from "./mocks/MockEnclaveRegistry.sol";

contract AnchorBatchesTest is GasReport {
    uint256 private constant KEY = 0xE1;
    uint256 private constant OTHER_KEY = 0xE2;
    bytes32 private constant CHIP = keccak256("a chip");
    bytes32 private constant OTHER_CHIP = keccak256("another chip");

    MockEnclaveRegistry private registry;
    DeviceAnchor private anchors;
    address private key;

    function setUp() public {
        vm.warp(1_800_000_000);
        registry = new MockEnclaveRegistry(Realm.Production);
        key = vm.addr(KEY);
        registry.put(CHIP, address(0x0DD), key);
        anchors = new DeviceAnchor(IEnclaveRegistry(address(registry)));
    }

    function test_every_leaf_of_a_batch_of_any_size_is_anchored_and_no_other(uint8 size, uint8 which) public {
        uint256 count = 1 + size % 65;
        uint256 index = which % count;
        bytes32[] memory hashes = dataOf(count);
        anchor(0, RfcTree.rootOf(hashes), uint64(count));
        bytes32[] memory path = RfcTree.pathOf(hashes, index);
        assert(anchors.isAnchored(key, 0, hashes[index], uint64(index), uint64(count), path));
        assert(!anchors.isAnchored(key, 0, keccak256("other"), uint64(index), uint64(count), path));
        assert(!anchors.isAnchored(key, 1, hashes[index], uint64(index), uint64(count), path));
        assert(!anchors.isAnchored(address(this), 0, hashes[index], uint64(index), uint64(count), path));
        assert(!anchors.isAnchored(key, 0, hashes[index], uint64(index), uint64(count + 1), path));
        assert(!anchors.isAnchored(key, 0, hashes[index], uint64(count), uint64(count), path));
        if (count > 1) {
            assert(!anchors.isAnchored(key, 0, hashes[index], uint64((index + 1) % count), uint64(count), path));
            path[which % path.length] ^= bytes32(uint256(1));
            assert(!anchors.isAnchored(key, 0, hashes[index], uint64(index), uint64(count), path));
        }
    }

    function test_an_inner_node_is_no_leaf_and_a_path_has_one_length() public {
        bytes32[] memory hashes = dataOf(4);
        anchor(0, RfcTree.rootOf(hashes), 4);
        bytes32[] memory path = RfcTree.pathOf(hashes, 0);
        bytes32[] memory longer = new bytes32[](3);
        bytes32[] memory shorter = new bytes32[](1);
        (longer[0], longer[1]) = (path[0], path[1]);
        shorter[0] = path[1];
        assert(!anchors.isAnchored(key, 0, hashes[0], 0, 4, longer));
        assert(!anchors.isAnchored(key, 0, hashes[0], 0, 4, shorter));
        bytes32 inner = keccak256(bytes.concat(hex"01", RfcTree.leaf(hashes[0]), RfcTree.leaf(hashes[1])));
        assert(!anchors.isAnchored(key, 0, inner, 0, 2, shorter));
        assert(anchors.isBatch(key, 0, RfcTree.rootOf(hashes), 4));
        assert(!anchors.isBatch(key, 0, RfcTree.rootOf(hashes), 5));
    }

    function test_sequences_rise_by_one_and_nothing_is_anchored_twice() public {
        refused(batch(1, keccak256("b"), 1), KEY, order(1));
        anchor(0, keccak256("a"), 1);
        refused(batch(0, keccak256("a"), 1), KEY, order(0));
        refused(batch(0, keccak256("b"), 1), KEY, order(0));
        refused(batch(2, keccak256("b"), 1), KEY, order(2));
        refused(batch(type(uint64).max, keccak256("b"), 1), KEY, order(type(uint64).max));
        anchor(1, keccak256("b"), 1);
        assert(anchors.has(key, 1) && !anchors.has(key, 2));
        refused(batch(2, keccak256("b"), 0), KEY, abi.encodeWithSelector(DeviceAnchor.AnchorEmptyBatch.selector));
    }

    function test_each_signer_has_a_series_of_its_own() public {
        anchor(0, keccak256("a"), 1);
        registry.put(OTHER_CHIP, address(0x0DD), vm.addr(OTHER_KEY));
        DeviceAnchor.Batch memory other = DeviceAnchor.Batch(OTHER_CHIP, vm.addr(OTHER_KEY), 0, keccak256("c"), 7);
        anchors.anchor(other, signed(other, OTHER_KEY));
        assert(anchors.isBatch(vm.addr(OTHER_KEY), 0, keccak256("c"), 7));
    }

    function test_what_is_not_signed_by_the_signer_is_refused() public {
        DeviceAnchor.Batch memory b = batch(0, keccak256("a"), 1);
        refused(b, OTHER_KEY, wrong(vm.addr(OTHER_KEY)));
        bytes memory signature = signed(b, KEY);
        b.count = 2;
        vm.expectRevert();
        anchors.anchor(b, signature);
        b.count = 1;
        b.root = keccak256("b");
        vm.expectRevert();
        anchors.anchor(b, signature);
        b.root = keccak256("a");
        signature[64] = bytes1(uint8(signature[64]) ^ 7);
        vm.expectRevert();
        anchors.anchor(b, signature);
        DeviceAnchor elsewhere = new DeviceAnchor(IEnclaveRegistry(address(registry)));
        signature = signed(b, KEY);
        vm.expectRevert();
        elsewhere.anchor(b, signature);
        anchors.anchor(b, signature);
    }

    function test_a_high_s_is_refused() public {
        DeviceAnchor.Batch memory b = batch(0, keccak256("a"), 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, anchors.hashOf(b));
        uint256 order256k1 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        vm.expectRevert();
        anchors.anchor(b, abi.encodePacked(r, order256k1 - uint256(s), 55 - v));
    }

    function test_a_key_that_is_not_live_or_not_of_the_chip_anchors_nothing() public {
        DeviceAnchor.Batch memory b = batch(0, keccak256("a"), 1);
        b.enclaveId = OTHER_CHIP;
        refused(b, KEY, notEntitled(OTHER_CHIP));
        registry.expire(CHIP);
        refused(batch(0, keccak256("a"), 1), KEY, notEntitled(CHIP));
        registry.put(CHIP, address(0x0DD), key);
        registry.bar(CHIP);
        refused(batch(0, keccak256("a"), 1), KEY, notEntitled(CHIP));
    }

    function test_a_simulated_anchor_says_so() public {
        anchors = new DeviceAnchor(IEnclaveRegistry(address(new MockEnclaveRegistry(Realm.Simulated))));
        assert(keccak256(bytes(anchors.name())) == keccak256("SIMULATED Glacier DeviceAnchor"));
        assert(anchors.realm() == Realm.Simulated);
    }

    function test_gas_of_an_anchored_root() public {
        for (uint64 i; i < 3; ++i) {
            anchor(i, keccak256(abi.encode(i)), 10_000);
            report("anchored root", 70_000);
        }
    }

    function batch(uint64 sequence, bytes32 root, uint64 count) private view returns (DeviceAnchor.Batch memory) {
        return DeviceAnchor.Batch(CHIP, key, sequence, root, count);
    }

    function anchor(uint64 sequence, bytes32 root, uint64 count) private {
        DeviceAnchor.Batch memory b = batch(sequence, root, count);
        anchors.anchor(b, signed(b, KEY));
    }

    function refused(DeviceAnchor.Batch memory b, uint256 signer, bytes memory reason) private {
        bytes memory signature = signed(b, signer);
        vm.expectRevert(reason);
        anchors.anchor(b, signature);
    }

    function signed(DeviceAnchor.Batch memory b, uint256 signer) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(signer, anchors.hashOf(b));
        return abi.encodePacked(r, s, v);
    }

    function order(uint64 sequence) private view returns (bytes memory) {
        return abi.encodeWithSelector(DeviceAnchor.AnchorOutOfOrder.selector, key, sequence);
    }

    function wrong(address recovered) private view returns (bytes memory) {
        return abi.encodeWithSelector(DeviceAnchor.AnchorWrongSigner.selector, recovered, key);
    }

    function notEntitled(bytes32 chip) private view returns (bytes memory) {
        return abi.encodeWithSelector(DeviceAnchor.AnchorNotEntitled.selector, chip, key);
    }

    function dataOf(uint256 count) private pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            hashes[i] = keccak256(abi.encode("reading", i));
        }
    }
}
