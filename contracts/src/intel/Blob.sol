// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Bytes kept as the code of an account: a byte costs 200 gas to write where a storage slot takes 690, and all of it is
/// read for one cold access. The code begins with STOP, so that nothing of it ever runs or goes away.
library Blob {
    /// The account was not made: out of gas, or more than the chain allows for code.
    error BlobNotWritten();

    /// Keeps the bytes.
    function write(bytes memory data) internal returns (address blob) {
        // PUSH2 length, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN; then the code: STOP and the bytes.
        bytes memory code = abi.encodePacked(hex"61", uint16(data.length + 1), hex"80600a5f395ff3", hex"00", data);
        // Assembly: there is no other way to create from bytes.
        assembly ("memory-safe") {
            blob := create(0, add(code, 0x20), mload(code))
        }
        if (blob == address(0)) revert BlobNotWritten();
    }

    /// Place in memory of the kept bytes. At least 32 bytes after them are zero or unused memory.
    function read(address blob) internal view returns (uint256 place) {
        // Assembly: `blob.code` asks for the size twice and copies the STOP along.
        assembly ("memory-safe") {
            let size := sub(extcodesize(blob), 1)
            place := mload(0x40)
            mstore(0x40, add(place, and(add(size, 0x5f), not(0x1f))))
            extcodecopy(blob, place, 1, size)
        }
    }
}
