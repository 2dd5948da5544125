// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// RFC 6962 Merkle tree with Keccak-256 in place of SHA-256. All functions return false or zero for a path of the wrong
/// length: no input but the right one gives the right root.
library LogTree {
    /// Number of peaks and of the leaves that they stand for do not agree.
    error FrontierLength(uint256 peaks, uint64 size);

    /// Root of the tree without leaves: the hash of nothing (RFC 6962 2.1).
    bytes32 internal constant EMPTY = 0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470;

    /// Leaf of the Work Proof with this hash: `keccak(00 ‖ hash)`.
    function leaf(bytes32 hash) internal pure returns (bytes32 result) {
        // Beyond the free memory pointer and not kept: an allocation costs as much again as the hash.
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore8(at, 0)
            mstore(add(at, 1), hash)
            result := keccak256(at, 33)
        }
    }

    /// Inner node: `keccak(01 ‖ left ‖ right)`.
    function node(bytes32 left, bytes32 right) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore8(at, 1)
            mstore(add(at, 1), left)
            mstore(add(at, 33), right)
            result := keccak256(at, 65)
        }
    }

    /// Root to which an audit path (RFC 6962 2.1.1) leads from leaf hash `start` at `index` of a tree with `size` leaves.
    /// `ok` is false if the index is not in the tree or the path is too long or too short.
    function rootFrom(bytes32 start, uint64 index, uint64 size, bytes32[] calldata path)
        internal
        pure
        returns (bool ok, bytes32 root)
    {
        if (index >= size) return (false, 0);
        root = start;
        uint64 last = size - 1;
        // RFC 9162 2.1.3.2: the path goes up while the node is not the last one of its level.
        for (uint256 i; i < path.length; ++i) {
            if (last == 0) return (false, 0);
            if (index & 1 == 1 || index == last) {
                root = node(path[i], root);
                while (index & 1 == 0 && index != 0) {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                root = node(root, path[i]);
            }
            index >>= 1;
            last >>= 1;
        }
        ok = last == 0;
    }

    /// Root of `size` leaves, and the root after one more, from the peaks: the roots of the perfect subtrees that the tree is
    /// made of, the largest first, one for each bit set in `size`. Reverts if their number is another, because a root
    /// alone does not say how many trees it stands for.
    function append(bytes32[] calldata peaks, uint64 size, bytes32 next)
        internal
        pure
        returns (bytes32 root, bytes32 grown)
    {
        uint256 count = peaks.length;
        if (count != bits(size)) revert FrontierLength(count, size);
        if (count == 0) return (EMPTY, next);
        root = peaks[count - 1];
        // RFC 6962 hashes what is right of the largest perfect tree first, so that a new leaf is one more peak, whether or
        // not it completes another perfect tree.
        grown = node(root, next);
        for (uint256 i = count - 1; i != 0;) {
            bytes32 peak = peaks[--i];
            root = node(peak, root);
            grown = node(peak, grown);
        }
    }

    /// Bits set.
    function bits(uint64 number) private pure returns (uint256 count) {
        for (; number != 0; ++count) {
            number &= number - 1;
        }
    }
}
