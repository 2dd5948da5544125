// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Der} from "./Der.sol";
import {Extensions} from "./Extensions.sol";

/// Certificate revocation lists (RFC 5280 §5): complete, direct, of one issuer.
library Crl {
    /// A version other than 2.
    error CrlVersion();
    /// Signed with a key that it does not name.
    error CrlAuthorityKeyId();
    /// A serial number above 160 bits.
    error CrlSerial();

    struct Fields {
        /// Of the signed part.
        bytes32 digest;
        uint256 r;
        uint256 s;
        /// keccak256 of the issuer's Name, DER with tag and length.
        bytes32 issuer;
        bytes20 issuerKeyId;
        /// First and last second of validity.
        uint40 thisUpdate;
        uint40 nextUpdate;
        /// Where the revoked certificates are, in calldata.
        uint256 entries;
        uint256 entriesEnd;
    }

    uint256 private constant VERSION_2 = 0x020101;

    /// Reads a list. The caller checks the signature by the key of the issuer that the list names.
    function read(bytes calldata der) internal pure returns (Fields memory fields) {
        uint256 pos;
        uint256 end;
        (pos, end, fields.digest, fields.r, fields.s) = Der.signed(der);
        unchecked {
            if (Der.load(pos) >> 232 != VERSION_2) revert CrlVersion();
            pos = Der.algorithm(pos + 3, end);
        }
        uint256 next;
        (, next) = Der.enter(pos, end, Der.SEQUENCE);
        fields.issuer = keccak256(Der.slice(pos, next));
        (fields.thisUpdate, pos) = Der.time(next, end);
        // Optional in ASN.1, required by RFC 5280 §5.1.2.5: a list without end would never go stale.
        (fields.nextUpdate, pos) = Der.time(pos, end);
        if (Der.peek(pos, end) == Der.SEQUENCE) {
            (fields.entries, pos) = Der.enter(pos, end, Der.SEQUENCE);
            fields.entriesEnd = pos;
        }
        (pos, next) = Der.enter(pos, end, 0xa0);
        Der.finish(next, end);
        (pos, next) = Der.enter(pos, end, Der.SEQUENCE);
        Der.finish(next, end);
        bool named;
        while (pos != end) {
            (uint256 oid, bool critical, uint256 value, uint256 last, uint256 after_) = Extensions.entry(pos, end);
            // Lists of changes and indirect lists have a critical one (RFC 5280 §5.2).
            if (critical) revert Extensions.ExtensionCritical(oid);
            if (oid == Extensions.AUTHORITY_KEY_ID) {
                if (named) revert Extensions.ExtensionTwice(oid);
                (named, fields.issuerKeyId) = (true, Extensions.authorityKeyId(value, last));
            }
            pos = after_;
        }
        if (!named) revert CrlAuthorityKeyId();
    }

    /// Serial number of the entry at `pos`, and the place after it.
    function entry(uint256 pos, uint256 end) internal pure returns (uint160 serial, uint256 next) {
        uint256 value;
        (pos, next) = Der.enter(pos, end, Der.SEQUENCE);
        (value, pos) = Der.integer(pos, next);
        if (value > type(uint160).max) revert CrlSerial();
        serial = uint160(value);
        // When is of no use here: revoked is revoked.
        pos = Der.skip(pos, next);
        if (pos != next) {
            uint256 last;
            (pos, last) = Der.enter(pos, next, Der.SEQUENCE);
            Der.finish(last, next);
            Extensions.uncritical(pos, last);
        }
    }

    /// The place after the entry at `pos`.
    function pass(uint256 pos, uint256 end) internal pure returns (uint256 next) {
        (, next) = Der.enter(pos, end, Der.SEQUENCE);
    }
}
