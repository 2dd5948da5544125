// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Der} from "./Der.sol";
import {Extensions} from "./Extensions.sol";
import {P256} from "./P256.sol";

/// X.509 certificates of Intel's profile (RFC 5280, version 3, P-256 keys), read after their signature held.
library Certificate {
    /// Not signed by its issuer.
    error CertificateSignature();
    /// A public key that is not an uncompressed point of P-256, by its SubjectPublicKeyInfo.
    error CertificateKey();
    /// A version other than 3.
    error CertificateVersion();
    /// An extension that every certificate here has is missing.
    error CertificateExtension(uint256 oid);
    /// A serial number above 160 bits.
    error CertificateSerial();

    struct Fields {
        uint160 serial;
        /// keccak256 of the Names, DER with tag and length.
        bytes32 issuer;
        bytes32 subject;
        /// First and last second of validity.
        uint40 notBefore;
        uint40 notAfter;
        uint256 x;
        uint256 y;
        bytes20 keyId;
        bytes20 issuerKeyId;
        /// cA of BasicConstraints.
        bool isAuthority;
        /// First byte of KeyUsage.
        uint8 usage;
        /// Where the common name of the subject is, in calldata.
        uint256 name;
        uint256 nameEnd;
    }

    uint8 internal constant DIGITAL_SIGNATURE = 0x80;
    uint8 internal constant CERT_SIGN = 0x04;
    uint8 internal constant CRL_SIGN = 0x02;

    uint256 private constant VERSION_3 = 0xa003020102;
    /// SubjectPublicKeyInfo of P-256 up to x: id-ecPublicKey, prime256v1, BIT STRING with an uncompressed point.
    uint256 private constant P256_KEY = 0x3059301306072a8648ce3d020106082a8648ce3d03010703420004;
    uint256 private constant COMMON_NAME = 0x550403;

    /// Reads a certificate that the key (x, y) signed. Names, validity and role are left to the caller.
    function issued(bytes calldata der, uint256 x, uint256 y) internal view returns (Fields memory fields) {
        (uint256 pos, uint256 end, bytes32 digest, uint256 r, uint256 s) = Der.signed(der);
        if (!P256.verifies(digest, r, s, x, y)) revert CertificateSignature();
        read(fields, pos, end);
    }

    /// Reads a root: signed by its own key, in its own name. That somebody trusts it is left to the caller.
    function root(bytes calldata der) internal view returns (Fields memory fields) {
        (uint256 pos, uint256 end, bytes32 digest, uint256 r, uint256 s) = Der.signed(der);
        read(fields, pos, end);
        if (
            fields.issuer != fields.subject || fields.issuerKeyId != fields.keyId
                || !P256.verifies(digest, r, s, fields.x, fields.y)
        ) revert CertificateSignature();
    }

    /// Whether the common name of the subject contains a word.
    function isNamed(Fields memory fields, bytes32 word, uint256 length) internal pure returns (bool) {
        unchecked {
            for (uint256 pos = fields.name; pos + length <= fields.nameEnd; ++pos) {
                if ((Der.load(pos) ^ uint256(word)) >> (256 - 8 * length) == 0) return true;
            }
        }
        return false;
    }

    /// TBSCertificate (RFC 5280 §4.1).
    function read(Fields memory fields, uint256 pos, uint256 end) private pure {
        unchecked {
            if (Der.load(pos) >> 216 != VERSION_3) revert CertificateVersion();
            pos += 5;
        }
        uint256 value;
        (value, pos) = Der.integer(pos, end);
        if (value > type(uint160).max) revert CertificateSerial();
        fields.serial = uint160(value);
        // Der.signed took the outer algorithm; it is the same, for there is but one.
        pos = Der.algorithm(pos, end);
        (fields.issuer, pos) = name(pos, end);
        pos = validity(fields, pos, end);
        value = pos;
        (fields.subject, pos) = name(pos, end);
        commonName(fields, value, pos);
        pos = key(fields, pos, end);
        extensions(fields, pos, end);
    }

    /// keccak256 of a Name.
    function name(uint256 pos, uint256 end) private pure returns (bytes32, uint256 next) {
        (, next) = Der.enter(pos, end, Der.SEQUENCE);
        return (keccak256(Der.slice(pos, next)), next);
    }

    function validity(Fields memory fields, uint256 pos, uint256 end) private pure returns (uint256 next) {
        (pos, next) = Der.enter(pos, end, Der.SEQUENCE);
        (fields.notBefore, pos) = Der.time(pos, next);
        (fields.notAfter, pos) = Der.time(pos, next);
        Der.finish(pos, next);
    }

    function commonName(Fields memory fields, uint256 pos, uint256 end) private pure {
        (pos, end) = Der.enter(pos, end, Der.SEQUENCE);
        while (pos != end) {
            (uint256 inner, uint256 next) = Der.enter(pos, end, Der.SET);
            uint256 last;
            (inner, last) = Der.enter(inner, next, Der.SEQUENCE);
            // One attribute in each relative name.
            Der.finish(last, next);
            (uint256 oid, uint256 oidEnd) = Der.enter(inner, last, Der.OID);
            uint256 valueEnd = Der.skip(oidEnd, last);
            Der.finish(valueEnd, last);
            if (oidEnd - oid == 3 && Der.number(oid, oidEnd) == COMMON_NAME) {
                (fields.name, fields.nameEnd) = Der.enter(oidEnd, last, Der.peek(oidEnd, last));
            }
            pos = next;
        }
    }

    function key(Fields memory fields, uint256 pos, uint256 end) private pure returns (uint256 next) {
        unchecked {
            next = pos + 91;
            if (next > end || Der.load(pos) >> 40 != P256_KEY) revert CertificateKey();
            fields.x = Der.load(pos + 27);
            fields.y = Der.load(pos + 59);
        }
    }

    function extensions(Fields memory fields, uint256 pos, uint256 end) private pure {
        uint256 list;
        // Unique identifiers would have other tags.
        (pos, list) = Der.enter(pos, end, 0xa3);
        Der.finish(list, end);
        (pos, list) = Der.enter(pos, end, Der.SEQUENCE);
        Der.finish(list, end);
        uint256 seen;
        while (pos != list) {
            uint256 oid;
            bool critical;
            uint256 value;
            uint256 last;
            (oid, critical, value, last, pos) = Extensions.entry(pos, list);
            uint256 bit = 1;
            if (oid == Extensions.SUBJECT_KEY_ID) {
                fields.keyId = Extensions.subjectKeyId(value, last);
            } else if (oid == Extensions.AUTHORITY_KEY_ID) {
                (bit, fields.issuerKeyId) = (2, Extensions.authorityKeyId(value, last));
            } else if (oid == Extensions.KEY_USAGE) {
                (bit, fields.usage) = (4, keyUsage(value, last));
                critical = false;
            } else if (oid == Extensions.BASIC_CONSTRAINTS) {
                (bit, fields.isAuthority) = (8, basicConstraints(value, last));
                critical = false;
            } else {
                bit = 0;
            }
            // What is not known here may not be critical, nor may a key identifier.
            if (critical) revert Extensions.ExtensionCritical(oid);
            if (seen & bit != 0) revert Extensions.ExtensionTwice(oid);
            seen |= bit;
        }
        if (seen & 1 == 0) revert CertificateExtension(Extensions.SUBJECT_KEY_ID);
        if (seen & 2 == 0) revert CertificateExtension(Extensions.AUTHORITY_KEY_ID);
        if (seen & 4 == 0) revert CertificateExtension(Extensions.KEY_USAGE);
    }

    /// First byte of the bits. A second one holds decipherOnly alone.
    function keyUsage(uint256 value, uint256 end) private pure returns (uint8) {
        uint256 next;
        (value, next) = Der.enter(value, end, Der.BIT_STRING);
        Der.finish(next, end);
        uint256 length = next - value;
        uint256 bits = Der.number(value, next);
        if (length != 2 && length != 3) revert Extensions.ExtensionValue(Extensions.KEY_USAGE);
        if (length == 3) bits >>= 8;
        // At most seven bits of the last byte are unused.
        if (bits >> 8 > 7) revert Extensions.ExtensionValue(Extensions.KEY_USAGE);
        return uint8(bits);
    }

    /// SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }. Any length of path allows the end entities
    /// that authorities here issue.
    function basicConstraints(uint256 value, uint256 end) private pure returns (bool isAuthority) {
        uint256 last;
        (value, last) = Der.enter(value, end, Der.SEQUENCE);
        Der.finish(last, end);
        if (Der.peek(value, last) == Der.BOOLEAN) {
            (uint256 flag, uint256 next) = Der.enter(value, last, Der.BOOLEAN);
            if (next - flag != 1 || Der.number(flag, next) != 0xff) revert Der.DerValue(Der.BOOLEAN);
            isAuthority = true;
            value = next;
        }
        if (isAuthority && value != last) (, value) = Der.integer(value, last);
        Der.finish(value, last);
    }
}
