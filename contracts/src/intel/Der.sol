// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Calendar} from "./Calendar.sol";

/// Strict DER (X.690) over calldata: definite lengths in their shortest form, nothing outside its parent.
///
/// A place is an absolute offset in calldata; an element is (tag, content, next), its content being
/// [content, next). Every function that reads an element takes the end of its parent and reverts if the element
/// goes past it, so a caller that starts at `open` and passes ends on stays inside the bytes that it was given.
library Der {
    /// Another tag than the one that belongs there.
    error DerTag(uint256 expected, uint256 found);
    /// Not the shortest form of a length, or longer than what it is in.
    error DerLength();
    /// Bytes after the last element.
    error DerTrailing(uint256 count);
    /// A value that is no DER of its type, or out of the range that is read.
    error DerValue(uint256 tag);
    /// A signature algorithm other than ecdsa-with-SHA256.
    error DerAlgorithm();

    uint256 internal constant BOOLEAN = 0x01;
    uint256 internal constant INTEGER = 0x02;
    uint256 internal constant BIT_STRING = 0x03;
    uint256 internal constant OCTET_STRING = 0x04;
    uint256 internal constant OID = 0x06;
    uint256 internal constant UTC_TIME = 0x17;
    uint256 internal constant GENERALIZED_TIME = 0x18;
    uint256 internal constant SEQUENCE = 0x30;
    uint256 internal constant SET = 0x31;

    /// SEQUENCE { OID 1.2.840.10045.4.3.2 }
    uint256 private constant ECDSA_WITH_SHA256 = 0x300a06082a8648ce3d040302;

    /// First place and end of the bytes.
    function open(bytes calldata data) internal pure returns (uint256 pos, uint256 end) {
        assembly ("memory-safe") {
            pos := data.offset
            end := add(pos, data.length)
        }
    }

    /// The 32 bytes from a place on; zero after the end of calldata.
    function load(uint256 pos) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(pos)
        }
    }

    /// The bytes [at, next).
    function slice(uint256 pos, uint256 next) internal pure returns (bytes calldata data) {
        assembly ("memory-safe") {
            data.offset := pos
            data.length := sub(next, pos)
        }
    }

    /// Tag at a place, 0 at the end.
    function peek(uint256 pos, uint256 end) internal pure returns (uint256) {
        return pos < end ? load(pos) >> 248 : 0;
    }

    /// Content and next place of the element at `pos`, which has to have the tag and to end at `end` at the latest.
    function enter(uint256 pos, uint256 end, uint256 tag) internal pure returns (uint256 content, uint256 next) {
        uint256 word = load(pos);
        if (word >> 248 != tag) revert DerTag(tag, word >> 248);
        // No place is near the edge of 256 bits, and no length is above 2^24.
        unchecked {
            uint256 length = (word >> 240) & 0xff;
            content = pos + 2;
            if (length > 0x7f) {
                uint256 octets = length & 0x7f;
                if (octets == 0 || octets > 3) revert DerLength();
                length = ((word << 16) >> 8) >> (248 - 8 * octets);
                if (length < 0x80 || length >> (8 * (octets - 1)) == 0) revert DerLength();
                content += octets;
            }
            next = content + length;
        }
        if (next > end) revert DerLength();
    }

    /// Next place after an element of any tag below 31.
    function skip(uint256 pos, uint256 end) internal pure returns (uint256 next) {
        uint256 tag = load(pos) >> 248;
        if (tag == 0 || tag & 0x1f == 0x1f) revert DerTag(0, tag);
        (, next) = enter(pos, end, tag);
    }

    /// Reverts unless a parent was read to its end.
    function finish(uint256 pos, uint256 end) internal pure {
        if (pos != end) {
            unchecked {
                revert DerTrailing(end - pos);
            }
        }
    }

    /// Content of at most 32 bytes as a number: an OID, a short string, a bit string.
    function number(uint256 content, uint256 next) internal pure returns (uint256) {
        unchecked {
            uint256 length = next - content;
            if (length > 32) revert DerLength();
            return length == 0 ? 0 : load(content) >> (256 - 8 * length);
        }
    }

    /// A non-negative INTEGER below 2^256, in its shortest form.
    function integer(uint256 pos, uint256 end) internal pure returns (uint256 value, uint256 next) {
        uint256 content;
        (content, next) = enter(pos, end, INTEGER);
        unchecked {
            uint256 length = next - content;
            uint256 word = load(content);
            // Negative, or empty.
            if (length == 0 || word >> 255 != 0) revert DerValue(INTEGER);
            if (word >> 248 == 0 && length > 1) {
                // A leading zero is there only to keep the next byte's highest bit from being a sign.
                if ((word >> 247) & 1 == 0) revert DerValue(INTEGER);
                ++content;
                --length;
            }
            if (length > 32) revert DerValue(INTEGER);
            value = load(content) >> (256 - 8 * length);
        }
    }

    /// UTCTime up to 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5), as seconds since 1970.
    function time(uint256 pos, uint256 end) internal pure returns (uint40 seconds_, uint256 next) {
        uint256 tag = peek(pos, end);
        bool isUtc = tag == UTC_TIME;
        uint256 content;
        (content, next) = enter(pos, end, isUtc ? UTC_TIME : GENERALIZED_TIME);
        uint256 word = load(content);
        uint256 year;
        unchecked {
            if (next - content != (isUtc ? 13 : 15)) revert DerLength();
            if (isUtc) {
                year = pair(word, 0, tag);
                year += year < 50 ? 2000 : 1900;
            } else {
                year = 100 * pair(word, 0, tag) + pair(word, 2, tag);
                if (year < 2050) revert DerValue(tag);
                word <<= 16;
            }
        }
        if ((word >> 152) & 0xff != 0x5a) revert DerValue(tag);
        seconds_ = Calendar.timestamp(
            year, pair(word, 2, tag), pair(word, 4, tag), pair(word, 6, tag), pair(word, 8, tag), pair(word, 10, tag)
        );
    }

    /// Next place after AlgorithmIdentifier ecdsa-with-SHA256, the only one that there is here.
    function algorithm(uint256 pos, uint256 end) internal pure returns (uint256 next) {
        unchecked {
            next = pos + 12;
        }
        if (next > end || load(pos) >> 160 != ECDSA_WITH_SHA256) revert DerAlgorithm();
    }

    /// ECDSA-Sig-Value (RFC 3279 §2.2.3) in a BIT STRING.
    function signature(uint256 pos, uint256 end) internal pure returns (uint256 r, uint256 s, uint256 next) {
        uint256 content;
        (content, next) = enter(pos, end, BIT_STRING);
        // No unused bits.
        if (content == next || load(content) >> 248 != 0) revert DerValue(BIT_STRING);
        unchecked {
            ++content;
        }
        uint256 inner;
        (content, inner) = enter(content, next, SEQUENCE);
        finish(inner, next);
        (r, content) = integer(content, inner);
        (s, content) = integer(content, inner);
        finish(content, inner);
    }

    /// The frame that certificates and revocation lists share: SEQUENCE { content, algorithm, signature }, to the
    /// last byte. [at, end) is what is inside the signed SEQUENCE, `digest` the SHA-256 of all of it.
    function signed(bytes calldata der)
        internal
        pure
        returns (uint256 pos, uint256 end, bytes32 digest, uint256 r, uint256 s)
    {
        (uint256 outer, uint256 last) = open(der);
        uint256 close;
        (outer, close) = enter(outer, last, SEQUENCE);
        finish(close, last);
        (pos, end) = enter(outer, last, SEQUENCE);
        digest = sha256(slice(outer, end));
        (r, s, outer) = signature(algorithm(end, last), last);
        finish(outer, last);
    }

    /// Two decimal digits at a byte of a word.
    function pair(uint256 word, uint256 index, uint256 tag) private pure returns (uint256) {
        unchecked {
            uint256 two = word >> (240 - 8 * index);
            // A byte below "0" wraps to a large number.
            uint256 tens = ((two >> 8) & 0xff) - 0x30;
            uint256 ones = (two & 0xff) - 0x30;
            if (tens > 9 || ones > 9) revert DerValue(tag);
            return 10 * tens + ones;
        }
    }
}
