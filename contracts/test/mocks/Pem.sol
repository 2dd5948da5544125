// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// PEM chains, for tests.
library Pem {
    bytes27 private constant BEGIN = "-----BEGIN CERTIFICATE-----";

    /// Certificate number `index` of a text, DER.
    function certificate(bytes memory text, uint256 index) internal pure returns (bytes memory) {
        uint256 start = 0;
        for (uint256 i = 0; i <= index; ++i) {
            while (bytes27(word(text, start)) != BEGIN) ++start;
            start += 27;
        }
        uint256 end = start;
        while (text[end] != "-") ++end;
        return base64(text, start, end);
    }

    function base64(bytes memory text, uint256 start, uint256 end) internal pure returns (bytes memory out) {
        out = new bytes((end - start) * 3 / 4);
        (uint256 length, uint256 bits, uint256 count) = (0, 0, 0);
        for (uint256 i = start; i < end; ++i) {
            uint8 c = uint8(text[i]);
            uint256 digit;
            if (c >= 0x41 && c <= 0x5a) digit = c - 0x41;
            else if (c >= 0x61 && c <= 0x7a) digit = c - 0x61 + 26;
            else if (c >= 0x30 && c <= 0x39) digit = c - 0x30 + 52;
            else if (c == 0x2b) digit = 62;
            else if (c == 0x2f) digit = 63;
            else continue;
            bits = bits << 6 | digit;
            if (++count % 4 != 1) out[length++] = bytes1(uint8(bits >> (6 - 2 * ((count - 1) % 4))));
        }
        assembly ("memory-safe") {
            mstore(out, length)
        }
    }

    /// 32 bytes at a place.
    function word(bytes memory data, uint256 start) internal pure returns (bytes32 value) {
        require(start < data.length, "end of text");
        assembly ("memory-safe") {
            value := mload(add(add(data, 0x20), start))
        }
    }

    function slice(bytes memory data, uint256 start, uint256 end) internal pure returns (bytes memory out) {
        require(start <= end && end <= data.length, "slice");
        out = new bytes(end - start);
        assembly ("memory-safe") {
            mcopy(add(out, 0x20), add(add(data, 0x20), start), sub(end, start))
        }
    }
}
