// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// ECDSA over P-256 by the precompile at 0x100 (EIP-7951, RIP-7212).
library P256 {
    /// The chain has no P-256 precompile at 0x100.
    error P256Unavailable();

    /// Whether (r, s) is a signature of `digest` under the public key (x, y). Both s and n - s pass, as the
    /// standard has it: whoever needs one form of a signature has to ask for it.
    function verifies(bytes32 digest, uint256 r, uint256 s, uint256 x, uint256 y) internal view returns (bool holds) {
        // Assembly: the answer to a refused signature is empty, which no typed call can say, and a call by ABI
        // copies the five words twice.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, digest)
            mstore(add(free, 0x20), r)
            mstore(add(free, 0x40), s)
            mstore(add(free, 0x60), x)
            mstore(add(free, 0x80), y)
            mstore(0x00, 0)
            let done := staticcall(gas(), 0x100, free, 0xa0, 0x00, 0x20)
            holds := and(and(done, eq(returndatasize(), 0x20)), eq(mload(0x00), 1))
        }
    }

    /// Reverts where the precompile does not answer: without it every signature would count as false.
    /// The signature is that of RFC 6979, A.2.5, SHA-256, "sample".
    function demand() internal view {
        bool holds = verifies(
            0xaf2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf,
            0xefd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716,
            0xf7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8,
            0x60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6,
            0x7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299
        );
        if (!holds) revert P256Unavailable();
    }
}
