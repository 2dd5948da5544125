// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Merkle trees of claims, built in the test: full, sorted pairs, double-hashed leaves.
library Tree {
    function leaf(address account, uint256 cumulative) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(bytes.concat(a, b)) : keccak256(bytes.concat(b, a));
    }

    /// The root of a tree whose other nodes are `siblings`.
    function above(bytes32 node, bytes32[] memory siblings) internal pure returns (bytes32) {
        for (uint256 i; i < siblings.length; ++i) {
            node = pair(node, siblings[i]);
        }
        return node;
    }

    function rootOf(bytes32[] memory leaves) internal pure returns (bytes32) {
        return above(leaves, 0, new bytes32[](64)).root;
    }

    function proofOf(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory proof) {
        Walk memory walk = above(leaves, index, new bytes32[](64));
        proof = new bytes32[](walk.length);
        for (uint256 i; i < proof.length; ++i) {
            proof[i] = walk.path[i];
        }
    }

    struct Walk {
        bytes32 root;
        bytes32[] path;
        uint256 length;
    }

    function above(bytes32[] memory leaves, uint256 index, bytes32[] memory path) private pure returns (Walk memory) {
        bytes32[] memory level = leaves;
        uint256 length;
        while (level.length > 1) {
            bytes32[] memory next = new bytes32[]((level.length + 1) / 2);
            for (uint256 i; i < level.length; i += 2) {
                next[i / 2] = i + 1 < level.length ? pair(level[i], level[i + 1]) : level[i];
            }
            uint256 sibling = index ^ 1;
            if (sibling < level.length) path[length++] = level[sibling];
            index /= 2;
            level = next;
        }
        return Walk(level[0], path, length);
    }
}
