// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// RFC 6962 trees with Keccak-256, by the recursion of the RFC (2.1 and 2.1.1), so that they owe nothing to what they test.
library RfcTree {
    function leaf(bytes32 hash) internal pure returns (bytes32) {
        return keccak256(bytes.concat(hex"00", hash));
    }

    function rootOf(bytes32[] memory hashes) internal pure returns (bytes32) {
        return head(hashes, 0, hashes.length);
    }

    function pathOf(bytes32[] memory hashes, uint256 index) internal pure returns (bytes32[] memory) {
        return path(hashes, index, 0, hashes.length);
    }

    function head(bytes32[] memory hashes, uint256 from, uint256 to) private pure returns (bytes32) {
        if (to - from == 1) return leaf(hashes[from]);
        uint256 k = split(to - from);
        return keccak256(bytes.concat(hex"01", head(hashes, from, from + k), head(hashes, from + k, to)));
    }

    function path(bytes32[] memory hashes, uint256 index, uint256 from, uint256 to)
        private
        pure
        returns (bytes32[] memory all)
    {
        if (to - from == 1) return new bytes32[](0);
        uint256 k = split(to - from);
        bool left = index < from + k;
        bytes32[] memory inner = left ? path(hashes, index, from, from + k) : path(hashes, index, from + k, to);
        all = new bytes32[](inner.length + 1);
        for (uint256 i; i < inner.length; ++i) {
            all[i] = inner[i];
        }
        all[inner.length] = left ? head(hashes, from + k, to) : head(hashes, from, from + k);
    }

    /// The largest power of two below `n`.
    function split(uint256 n) private pure returns (uint256 k) {
        k = 1;
        while (2 * k < n) {
            k *= 2;
        }
    }
}
