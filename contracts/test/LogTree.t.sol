// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LogTree} from "../src/lib/LogTree.sol";
import {vm} from "./Cheats.sol";
import {within} from "./Within.sol";

/// Makes calldata of memory.
contract LogTreeCaller {
    function rootFrom(bytes32 start, uint64 index, uint64 size, bytes32[] calldata path)
        external
        pure
        returns (bool, bytes32)
    {
        return LogTree.rootFrom(start, index, size, path);
    }

    function append(bytes32[] calldata peaks, uint64 size, bytes32 next) external pure returns (bytes32, bytes32) {
        return LogTree.append(peaks, size, next);
    }
}

/// The library against RFC 6962 section 2.1, written down as it stands there: recursive and slow.
contract LogTreeTest {
    LogTreeCaller private tree = new LogTreeCaller();

    function test_the_empty_root_is_the_hash_of_nothing() external pure {
        require(LogTree.EMPTY == keccak256(""));
    }

    function test_leaves_and_nodes_have_different_prefixes() external pure {
        bytes32 hash = keccak256("proof");
        require(LogTree.leaf(hash) == keccak256(abi.encodePacked(bytes1(0x00), hash)));
        require(LogTree.node(hash, ~hash) == keccak256(abi.encodePacked(bytes1(0x01), hash, ~hash)));
    }

    function test_every_audit_path_up_to_33_leaves_leads_to_the_root() external view {
        for (uint64 size = 1; size <= 33; ++size) {
            bytes32 root = _root(0, size);
            for (uint64 index; index < size; ++index) {
                (bool ok, bytes32 found) = tree.rootFrom(_leaf(index), index, size, _path(index, 0, size));
                require(ok && found == root, vm.toString(uint256(size)));
            }
        }
    }

    function test_every_frontier_up_to_70_leaves_gives_this_root_and_the_next() external view {
        for (uint64 size; size <= 70; ++size) {
            (bytes32 root, bytes32 grown) = tree.append(_peaks(size), size, _leaf(size));
            require(root == _root(0, size) && grown == _root(0, size + 1), vm.toString(uint256(size)));
        }
    }

    function test_a_frontier_of_another_length_is_refused(uint64 size, uint64 other) external {
        size = uint64(within(size, 0, 70));
        other = uint64(within(other, 0, 70));
        bytes32[] memory peaks = _peaks(other);
        if (peaks.length == _peaks(size).length) return;
        vm.expectRevert(abi.encodeWithSelector(LogTree.FrontierLength.selector, peaks.length, size));
        tree.append(peaks, size, _leaf(size));
    }

    function test_an_audit_path_leads_from_no_other_leaf_index_or_size(uint64 size, uint64 index, uint64 other)
        external
        view
    {
        size = uint64(within(size, 1, 70));
        index = uint64(within(index, 0, size - 1));
        other = uint64(within(other, 0, 70));
        bytes32 root = _root(0, size);
        bytes32[] memory path = _path(index, 0, size);
        (bool ok, bytes32 found) = tree.rootFrom(_leaf(index + 100), index, size, path);
        require(found != root || !ok);
        (ok, found) = tree.rootFrom(_leaf(index), other, size, path);
        require(other == index || !ok || found != root);
    }

    function test_a_longer_or_shorter_path_is_refused(uint64 size, uint64 index) external view {
        size = uint64(within(size, 2, 70));
        index = uint64(within(index, 0, size - 1));
        bytes32[] memory path = _path(index, 0, size);
        bytes32[] memory longer = new bytes32[](path.length + 1);
        bytes32[] memory shorter = new bytes32[](path.length - 1);
        for (uint256 i; i < path.length; ++i) {
            longer[i] = path[i];
            if (i < shorter.length) shorter[i] = path[i];
        }
        (bool ok,) = tree.rootFrom(_leaf(index), index, size, longer);
        require(!ok);
        (ok,) = tree.rootFrom(_leaf(index), index, size, shorter);
        require(!ok);
    }

    function test_no_path_leads_out_of_the_tree(uint64 size, uint64 beyond) external view {
        size = uint64(within(size, 0, 70));
        (bool ok,) = tree.rootFrom(_leaf(0), uint64(within(beyond, size, type(uint64).max)), size, new bytes32[](0));
        require(!ok);
    }

    function _leaf(uint64 index) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x00), keccak256(abi.encode("proof", index))));
    }

    /// MTH(D[from:to]).
    function _root(uint64 from, uint64 to) private pure returns (bytes32) {
        if (from == to) return keccak256("");
        if (to - from == 1) return _leaf(from);
        uint64 split = from + _split(to - from);
        return keccak256(abi.encodePacked(bytes1(0x01), _root(from, split), _root(split, to)));
    }

    /// PATH(index, D[from:to]), `index` counted from `from`.
    function _path(uint64 index, uint64 from, uint64 to) private pure returns (bytes32[] memory path) {
        if (to - from == 1) return new bytes32[](0);
        uint64 left = _split(to - from);
        bytes32[] memory rest = index < left ? _path(index, from, from + left) : _path(index - left, from + left, to);
        path = new bytes32[](rest.length + 1);
        for (uint256 i; i < rest.length; ++i) {
            path[i] = rest[i];
        }
        path[rest.length] = index < left ? _root(from + left, to) : _root(from, from + left);
    }

    function _peaks(uint64 size) private pure returns (bytes32[] memory peaks) {
        uint256 count;
        for (uint64 rest = size; rest != 0; rest &= rest - 1) {
            ++count;
        }
        peaks = new bytes32[](count);
        uint64 from;
        for (uint256 i; i < count; ++i) {
            uint64 largest = 1;
            while (largest * 2 <= size - from) largest *= 2;
            peaks[i] = _root(from, from + largest);
            from += largest;
        }
    }

    /// The largest power of two below `size`.
    function _split(uint64 size) private pure returns (uint64 left) {
        left = 1;
        while (left * 2 < size) left *= 2;
    }
}
