// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {PckFacts} from "../Types.sol";
import {Calendar} from "../intel/Calendar.sol";
import {Der} from "../intel/Der.sol";

/// The PCK certificate of a chip (Intel SGX PCK Certificate and CRL profile specification), without what all of them share.
///
/// Every PCK certificate has the same members and extensions in the same order. So calldata brings only what differs, this
/// library puts the rest around it, and the CA's signature says whether that is what the CA signed. Nothing has to be
/// parsed, a certificate of another shape has no signature here, and there is no encoding left in which two byte strings could
/// say the same. It is half the calldata of the DER. The lean form:
///
/// | from | bytes | what |
/// |---|---|---|
/// | 0 | 64 | signature, r ‖ s |
/// | 64 | 64 | public key, x ‖ y |
/// | 128 | 20 | serial number |
/// | 148 | 20 | authority key identifier |
/// | 168 | 20 | subject key identifier |
/// | 188 | 16 | PPID |
/// | 204 | 16 | TCB components |
/// | 220 | 16 | CPUSVN |
/// | 236 | 2 | PCE SVN, big-endian |
/// | 238 | 2 | PCEID |
/// | 240 | 6 | FMSPC |
/// | 246 | 28 | notBefore ‖ 17 0d ‖ notAfter, UTCTimes without the first head |
/// | 274 | I | issuer, a Name in DER |
/// | 274 + I | C | the extension cRLDistributionPoints in DER |
/// | 274 + I + C | the rest | members of the SGX extension after FMSPC, in DER |
///
/// The subject is a constant: Intel's, or that of simulated chips.
library PckCertificate {
    /// Not the lean form of a PCK certificate, at this byte.
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

    uint256 private constant NAMES = 274;
    /// Genuine ones have 616 bytes. All lengths of the certificate have two bytes then.
    uint256 private constant MOST = 4096;
    /// version [0] { 2 }.
    uint256 private constant VERSION_3 = 0xa003020102;
    uint256 private constant ECDSA_WITH_SHA256 = 0x300a06082a8648ce3d040302;
    /// Validity and the head of its first date.
    uint256 private constant VALIDITY = 0x301e170d;
    /// Of the 28 bytes from there on, those that all have, and the bits of their value: of a digit the high half.
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

    /// Lengths of the parts that vary.
    struct Sizes {
        /// Of the serial number's INTEGER.
        uint256 serial;
        uint256 issuer;
        uint256 points;
        uint256 tail;
        /// Of the PCE SVN's INTEGER.
        uint256 pceSvn;
    }

    /// What a certificate in the lean form says, and the digest of what the CA has to have signed: nothing is verified. The subject
    /// is that of simulated chips or Intel's. Reverts with `PckShape` if the bytes are not the form.
    function read(bytes calldata lean, bool isSimulated) internal pure returns (Pck memory pck) {
        // Offsets are places in calldata or memory and lengths have 16 bits: nothing here can overflow.
        unchecked {
            (uint256 start, uint256 last) = Der.open(lean);
            if (lean.length < NAMES || lean.length > MOST) revert PckShape(lean.length);
            (pck.r, pck.s, pck.x, pck.y) =
            (Der.load(start), Der.load(start + 32), Der.load(start + 64), Der.load(start + 96));
            PckFacts memory facts = pck.facts;
            facts.serial = uint160(Der.load(start + 128) >> 96);
            facts.issuerKeyId = bytes20(bytes32(Der.load(start + 148)));
            pck.ppid = bytes16(bytes32(Der.load(start + 188)));
            facts.components = bytes16(bytes32(Der.load(start + 204)));
            uint256 word = Der.load(start + 236);
            facts.pceSvn = uint16(word >> 240);
            facts.pceId = bytes2(bytes32(word << 16));
            facts.fmspc = bytes6(bytes32(word << 32));
            (pck.notBefore, pck.notAfter) = _dates(Der.load(start + 246) >> 32, 246);
            Sizes memory sizes;
            sizes.serial = _octets(facts.serial);
            sizes.pceSvn = _octets(facts.pceSvn);
            // Both are one element with a length of one byte, and the second is what it should be.
            uint256 names = start + NAMES;
            word = Der.load(names);
            sizes.issuer = 2 + ((word >> 240) & 0xff);
            uint256 points = Der.load(names + sizes.issuer);
            sizes.points = 2 + ((points >> 240) & 0xff);
            uint256 differs = (word >> 248 ^ 0x30) | (points >> 248 ^ 0x30) | ((word | points) >> 240) & 0x80
                | ((points >> 200) & type(uint40).max ^ DISTRIBUTION_POINTS);
            sizes.tail = last - names - sizes.issuer - sizes.points;
            if (differs != 0 || sizes.tail > MOST) revert PckShape(NAMES);
            facts.issuer = keccak256(Der.slice(names, names + sizes.issuer));
            pck.digest =
                sha256(_toBeSigned(start, uint128(facts.components), facts.serial, facts.pceSvn, sizes, isSimulated));
        }
    }

    /// TBSCertificate (RFC 5280, 4.1), with its tag and length.
    function _toBeSigned(
        uint256 start,
        uint256 components,
        uint256 serial,
        uint256 pceSvn,
        Sizes memory sizes,
        bool isSimulated
    ) private pure returns (bytes memory tbs) {
        unchecked {
            // Components of 128 or more take a byte more. The lengths, from the inside to the outside.
            uint256 tcb = 338 + sizes.pceSvn
                + ((((components >> 7) & 0x01010101010101010101010101010101) * 0x01010101010101010101010101010101
                            >> 120) & 0xff);
            uint256 sgx = 92 + tcb + sizes.tail;
            uint256 extensions = 117 + sizes.points + sgx;
            uint256 length = 150 + sizes.serial + sizes.issuer + (isSimulated ? 121 : 114) + extensions;
            // Assembly: bytes that are written below, so they need not be cleared.
            assembly ("memory-safe") {
                tbs := mload(0x40)
                mstore(tbs, add(length, 4))
                mstore(0x40, add(tbs, add(length, 96)))
            }
            uint256 to;
            assembly ("memory-safe") {
                to := add(tbs, 32)
            }
            to = _put(to, 0x3082 << 72 | length << 56 | VERSION_3 << 16 | 0x0200 | sizes.serial, 11);
            to = _put(to, serial, sizes.serial);
            to = _put(to, ECDSA_WITH_SHA256, 12);
            to = _copy(to, start + NAMES, sizes.issuer);
            to = _put(to, VALIDITY, 4);
            to = _copy(to, start + 246, 28);
            to = _subject(to, isSimulated);
            to = _put(to, P256_KEY, 27);
            to = _copy(to, start + 64, 64);
            to = _put(
                to, 0xa382 << 152 | (extensions + 4) << 136 | 0x3082 << 120 | extensions << 104 | AUTHORITY_KEY_ID, 21
            );
            to = _copy(to, start + 148, 20);
            to = _copy(to, start + NAMES + sizes.issuer, sizes.points);
            to = _put(to, SUBJECT_KEY_ID, 11);
            to = _copy(to, start + 168, 20);
            to = _put(to, LEAF, 30);
            to = _put(
                to,
                0x3082 << 168 | (sgx + 19) << 152 | SGX_EXTENSION << 64 | 0x0482 << 48 | (sgx + 4) << 32 | 0x3082 << 16
                    | sgx,
                23
            );
            to = _put(to, PPID, 16);
            to = _copy(to, start + 188, 16);
            to = _put(to, 0x3082 << 144 | (tcb + 16) << 128 | TCB << 32 | 0x3082 << 16 | tcb, 20);
            for (uint256 number = 1; number < 17; ++number) {
                uint256 value = (components >> (128 - 8 * number)) & 0xff;
                to = value < 0x80
                    ? _put(to, SHORT | number << 24 | value, 18)
                    : _put(to, LONG | number << 32 | value, 19);
            }
            // The head of component 17, both lengths one longer for each byte of the value above the first.
            to = _put(to, (SHORT >> 8 | 17 << 16) + (sizes.pceSvn - 1) * (1 << 120 | 1), 17);
            to = _put(to, pceSvn, sizes.pceSvn);
            to = _put(to, CPU_SVN, 17);
            to = _copy(to, start + 220, 16);
            to = _put(to, PCE_ID, 16);
            to = _copy(to, start + 238, 2);
            to = _put(to, FMSPC, 16);
            to = _copy(to, start + 240, 6);
            _copy(to, start + NAMES + sizes.issuer + sizes.points, sizes.tail);
        }
    }

    /// CN = Intel SGX PCK Certificate, O = Intel Corporation, L = Santa Clara, ST = CA, C = US; or
    /// CN = SIMULATED SGX PCK Certificate, O = Glacier SIMULATED vendor, L = Nowhere, ST = XX, C = XX.
    function _subject(uint256 to, bool isSimulated) private pure returns (uint256) {
        if (isSimulated) {
            to = _put(to, 0x30773126302406035504030c1d53494d554c41544544205347582050434b2043, 32);
            to = _put(to, 0x657274696669636174653121301f060355040a0c18476c61636965722053494d, 32);
            to = _put(to, 0x554c415445442076656e646f723110300e06035504070c074e6f776865726531, 32);
            return _put(to, 0x0b300906035504080c025858310b300906035504060c025858, 25);
        }
        to = _put(to, 0x30703122302006035504030c19496e74656c205347582050434b204365727469, 32);
        to = _put(to, 0x666963617465311a3018060355040a0c11496e74656c20436f72706f72617469, 32);
        to = _put(to, 0x6f6e3114301206035504070c0b53616e746120436c617261310b300906035504, 32);
        return _put(to, 0x080c024341310b3009060355040613025553, 18);
    }

    /// Bytes of the INTEGER of a number: no more than it needs, and one in front if its highest bit is set.
    function _octets(uint256 value) private pure returns (uint256 count) {
        unchecked {
            count = value >> 152 != 0 ? 20 : 1;
            while (value >> (8 * count) != 0) ++count;
            count += value >> (8 * count - 1);
        }
    }

    /// Writes the low `count` bytes of a word, and zeros after them that the next part overwrites.
    function _put(uint256 to, uint256 word, uint256 count) private pure returns (uint256 next) {
        // Assembly: memory at a place that was reserved, with its end to spare.
        assembly ("memory-safe") {
            mstore(to, shl(sub(256, shl(3, count)), word))
            next := add(to, count)
        }
    }

    function _copy(uint256 to, uint256 from, uint256 count) private pure returns (uint256 next) {
        assembly ("memory-safe") {
            calldatacopy(to, from, count)
            next := add(to, count)
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
}
