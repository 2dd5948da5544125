// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {PckFacts} from "../Types.sol";
import {Calendar} from "../intel/Calendar.sol";
import {Der} from "../intel/Der.sol";

/// The PCK certificate of a chip (Intel SGX PCK Certificate and CRL profile specification), read at fixed places.
///
/// Every PCK certificate has one shape: the same members and extensions in the same order, of which only the names, the
/// serial number, one URI and the signature vary in length. That shape is all that is read, so a reader needs no search. What
/// the CA did not sign (the outer length, the outer algorithm, the encoding of the signature) has one accepted value.
library PckCertificate {
    /// Not the shape of a PCK certificate, from this byte on.
    error PckShape(uint256 place);

    struct Pck {
        /// SHA-256 of what the CA signed.
        bytes32 digest;
        uint256 r;
        uint256 s;
        /// The chip's key.
        uint256 x;
        uint256 y;
        /// First second of validity.
        uint40 notBefore;
        /// Last second of validity.
        uint40 notAfter;
        bytes16 ppid;
        PckFacts facts;
    }

    /// version [0] { 2 }, and the tag of the serial number.
    uint256 private constant VERSION_3 = 0xa00302010202;
    /// Validity with two UTCTimes: the head, and then, of 28 bytes, those that all have and the bits of their value: of a
    /// digit the high half.
    uint256 private constant VALIDITY = 0x301e170d;
    uint256 private constant DATES_MASK = 0xf0f0f0f0f0f0f0f0f0f0f0f0fffffff0f0f0f0f0f0f0f0f0f0f0f0ff;
    uint256 private constant DATES = 0x3030303030303030303030305a170d3030303030303030303030305a;
    /// SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point.
    uint256 private constant P256_KEY = 0x3059301306072a8648ce3d020106082a8648ce3d03010703420004;
    /// authorityKeyIdentifier, up to its 20 bytes.
    uint256 private constant AUTHORITY_KEY_ID = 0x301f0603551d23041830168014;
    /// OID of cRLDistributionPoints.
    uint256 private constant DISTRIBUTION_POINTS = 0x0603551d1f;
    /// subjectKeyIdentifier, up to its 20 bytes.
    uint256 private constant SUBJECT_KEY_ID = 0x301d0603551d0e04160414;
    /// keyUsage, critical: digitalSignature and nonRepudiation; basicConstraints, critical: no CA.
    uint256 private constant LEAF = 0x300e0603551d0f0101ff0404030206c0300c0603551d130101ff04023000;
    /// OID 1.2.840.113741.1.13.1.
    uint256 private constant SGX_EXTENSION = 0x06092a864886f84d010d01;
    uint256 private constant PPID = 0x301e060a2a864886f84d010d01010410;
    /// OID of the member TCB.
    uint256 private constant TCB = 0x060a2a864886f84d010d0102;
    /// A component of the TCB, value of one byte below 128: number 0 and value 0.
    uint256 private constant SHORT = 0x3010060b2a864886f84d010d010200020100;
    /// The same, value of 128 or more.
    uint256 private constant LONG = 0x3011060b2a864886f84d010d01020002020000;
    uint256 private constant CPU_SVN = 0x301f060b2a864886f84d010d0102120410;
    uint256 private constant PCE_ID = 0x3010060a2a864886f84d010d01030402;
    uint256 private constant FMSPC = 0x3014060a2a864886f84d010d01040406;

    /// Reads a certificate to its last byte; nothing of it is verified. Reverts with `PckShape`, or with an error of `Der`, if it
    /// is not one.
    function read(bytes calldata der) internal pure returns (Pck memory pck) {
        // Offsets are places in calldata and lengths have 16 bits: nothing here can overflow.
        unchecked {
            (uint256 start, uint256 last) = Der.open(der);
            uint256 word = Der.load(start);
            // SEQUENCE { SEQUENCE { version …, both lengths in two bytes, and not in fewer.
            uint256 end = start + 8 + ((word >> 192) & 0xffff);
            // One jump for all that has to be equal: what differs leaves a bit.
            uint256 differs = (word >> 240 ^ 0x3082) | (der.length ^ (4 + ((word >> 224) & 0xffff)))
                | ((word >> 208) & 0xffff ^ 0x3082) | ((word >> 144) & 0xffffffffffff ^ VERSION_3);
            if (differs != 0 || end - start < 0x108 || end > last) revert PckShape(0);
            uint256 pos = _names(pck, start, end);
            pos = _extensions(pck.facts, pos, end, start);
            _chip(pck, pos, end, start);
            pck.digest = sha256(Der.slice(start + 4, end));
            _signature(pck, Der.algorithm(end, last), last, start);
        }
    }

    /// BIT STRING without unused bits { SEQUENCE { r, s } }, to the last byte.
    function _signature(Pck memory pck, uint256 pos, uint256 last, uint256 start) private pure {
        unchecked {
            uint256 word = Der.load(pos);
            uint256 length = last - pos;
            // Both lengths in one byte.
            if (length < 5 || length > 0x81 || word >> 216 != (0x0300003000 | (length - 2) << 24 | (length - 5))) {
                revert PckShape(pos - start);
            }
            (pck.r, pos) = Der.integer(pos + 5, last);
            (pck.s, pos) = Der.integer(pos, last);
            Der.finish(pos, last);
        }
    }

    /// From the serial number to the public key.
    function _names(Pck memory pck, uint256 start, uint256 end) private pure returns (uint256 pos) {
        unchecked {
            uint256 value;
            (value, pos) = Der.integer(start + 13, end);
            // 20 octets, and positive: RFC 5280, 4.1.2.2.
            if (value >> 160 != 0) revert PckShape(13);
            pck.facts.serial = uint160(value);
            pos = Der.algorithm(pos, end);
            (, uint256 next) = Der.enter(pos, end, Der.SEQUENCE);
            pck.facts.issuer = keccak256(Der.slice(pos, next));
            if (Der.load(next) >> 224 != VALIDITY) revert PckShape(next - start);
            (pck.notBefore, pck.notAfter) = _dates(Der.load(next + 4) >> 32, next - start);
            pos = next + 32;
            (, pos) = Der.enter(pos, end, Der.SEQUENCE);
            if (Der.load(pos) >> 40 != P256_KEY) revert PckShape(pos - start);
            pck.x = Der.load(pos + 27);
            pck.y = Der.load(pos + 59);
            pos += 91;
        }
    }

    /// Both dates, UTCTime ‖ its head ‖ UTCTime in the low 28 bytes. All digits are read at once, in lanes.
    function _dates(uint256 word, uint256 place) private pure returns (uint40 notBefore, uint40 notAfter) {
        unchecked {
            if (word & DATES_MASK != DATES) revert PckShape(place);
            // Twelve digits each, a byte a digit, the first date in the high half.
            uint256 digits = ((word >> 128) << 128 | (word >> 8) & type(uint96).max)
                & 0x0f0f0f0f0f0f0f0f0f0f0f0f000000000f0f0f0f0f0f0f0f0f0f0f0f;
            if (
                (digits + 0x06060606060606060606060600000000060606060606060606060606)
                        & 0xf0f0f0f0f0f0f0f0f0f0f0f000000000f0f0f0f0f0f0f0f0f0f0f0f0 != 0
            ) revert PckShape(place);
            uint256 ones = digits & 0x000f000f000f000f000f000f00000000000f000f000f000f000f000f;
            uint256 pairs = 10 * ((digits ^ ones) >> 8) + ones;
            return (_date(pairs >> 128, place), _date(pairs, place));
        }
    }

    /// Six numbers of two bytes each: year of this century, month, day, hour, minute, second. A PCK certificate is valid for seven
    /// years; what begins or ends after 2049 is for a later verifier.
    function _date(uint256 pairs, uint256 place) private pure returns (uint40) {
        unchecked {
            uint256 year = (pairs >> 80) & 0xff;
            if (year > 49) revert PckShape(place);
            return Calendar.timestamp(
                2000 + year,
                (pairs >> 64) & 0xff,
                (pairs >> 48) & 0xff,
                (pairs >> 32) & 0xff,
                (pairs >> 16) & 0xff,
                pairs & 0xff
            );
        }
    }

    /// From the public key to the content of the SGX extension, which has to be the last one.
    function _extensions(PckFacts memory facts, uint256 pos, uint256 end, uint256 start)
        private
        pure
        returns (uint256)
    {
        unchecked {
            // [3] { SEQUENCE { authorityKeyIdentifier …
            uint256 word = Der.load(pos);
            uint256 differs = (word >> 240 ^ 0xa382) | (pos + 4 + ((word >> 224) & 0xffff) ^ end)
                | ((word >> 208) & 0xffff ^ 0x3082) | (pos + 8 + ((word >> 192) & 0xffff) ^ end)
                | ((word >> 88) & type(uint104).max ^ AUTHORITY_KEY_ID);
            if (differs != 0) revert PckShape(pos - start);
            facts.issuerKeyId = bytes20(bytes32(Der.load(pos + 21)));
            pos += 41;
            word = Der.load(pos);
            if (
                word >> 248 != 0x30 || (word >> 240) & 0x80 != 0
                    || (word >> 200) & type(uint40).max != DISTRIBUTION_POINTS
            ) {
                revert PckShape(pos - start);
            }
            pos += 2 + ((word >> 240) & 0xff);
            if (Der.load(pos) >> 168 != SUBJECT_KEY_ID || Der.load(pos + 31) >> 16 != LEAF) {
                revert PckShape(pos - start);
            }
            pos += 61;
            // SEQUENCE { OID, OCTET STRING { SEQUENCE {
            word = Der.load(pos);
            differs = (word >> 240 ^ 0x3082) | (pos + 4 + ((word >> 224) & 0xffff) ^ end)
                | ((word >> 136) & type(uint88).max ^ SGX_EXTENSION) | ((word >> 120) & 0xffff ^ 0x0482)
                | (pos + 19 + ((word >> 104) & 0xffff) ^ end) | ((word >> 88) & 0xffff ^ 0x3082)
                | (pos + 23 + ((word >> 72) & 0xffff) ^ end);
            if (differs != 0) revert PckShape(pos - start);
            return pos + 23;
        }
    }

    /// The members of the SGX extension that anything is judged by; those after FMSPC say more of the platform, and
    /// the CA signed them.
    function _chip(Pck memory pck, uint256 pos, uint256 end, uint256 start) private pure {
        unchecked {
            if (Der.load(pos) >> 128 != PPID) revert PckShape(pos - start);
            pck.ppid = bytes16(bytes32(Der.load(pos + 16)));
            pos += 32;
            uint256 word = Der.load(pos);
            uint256 close = pos + 4 + ((word >> 224) & 0xffff);
            uint256 differs = (word >> 240 ^ 0x3082) | ((word >> 128) & type(uint96).max ^ TCB)
                | ((word >> 112) & 0xffff ^ 0x3082) | (pos + 20 + ((word >> 96) & 0xffff) ^ close);
            if (differs != 0) revert PckShape(pos - start);
            pos += 20;
            uint256 components;
            uint256 value;
            for (uint256 number = 1; number < 17; ++number) {
                word = Der.load(pos);
                // What is above the fixed bytes is the value, if nothing else differs.
                value = (word >> 112) - (SHORT | number << 24);
                if (value < 0x80) {
                    pos += 18;
                } else {
                    value = (word >> 104) - (LONG | number << 32);
                    if (value < 0x80 || value > 0xff) revert PckShape(pos - start);
                    pos += 19;
                }
                components = components << 8 | value;
            }
            pck.facts.components = bytes16(uint128(components));
            (value, pos) = _pceSvn(pos, start);
            pck.facts.pceSvn = uint16(value);
            if (Der.load(pos) >> 120 != CPU_SVN || pos + 33 != close) revert PckShape(pos - start);
            word = Der.load(close);
            if (word >> 128 != PCE_ID || Der.load(close + 18) >> 128 != FMSPC || close + 40 > end) {
                revert PckShape(close - start);
            }
            pck.facts.pceId = bytes2(bytes32(word << 128));
            pck.facts.fmspc = bytes6(bytes32(Der.load(close + 34)));
        }
    }

    /// Member 17 of the TCB: an INTEGER of 16 bits, in its shortest form.
    function _pceSvn(uint256 pos, uint256 start) private pure returns (uint256 value, uint256 next) {
        unchecked {
            uint256 word = Der.load(pos);
            uint256 length = (word >> 120) & 0xff;
            // The head with its two lengths, both one longer for each byte of the value above the first.
            uint256 head = (SHORT >> 8 | uint256(17) << 16) + (length - 1) * (uint256(1) << 120 | 1);
            if (length - 1 > 2 || word >> 120 != head) revert PckShape(pos - start);
            value = ((word << 136) >> (256 - 8 * length));
            // Not negative; a leading zero only where it has to be; at most 16 bits.
            bool isShortest =
                length == 1 ? value < 0x80 : length == 2 ? value >= 0x80 && value < 0x8000 : value >= 0x8000;
            if (!isShortest || value > type(uint16).max) revert PckShape(pos - start);
            next = pos + 17 + length;
        }
    }
}
