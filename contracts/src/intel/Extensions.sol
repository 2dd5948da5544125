// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Der} from "./Der.sol";

/// X.509 extensions (RFC 5280 §4.2), as far as Intel's profile has them: what certificates and lists have in common.
library Extensions {
    /// One that is read here, twice.
    error ExtensionTwice(uint256 oid);
    /// A critical one that is not understood.
    error ExtensionCritical(uint256 oid);
    /// One whose value is not of the profile.
    error ExtensionValue(uint256 oid);

    uint256 internal constant SUBJECT_KEY_ID = 0x551d0e;
    uint256 internal constant KEY_USAGE = 0x551d0f;
    uint256 internal constant BASIC_CONSTRAINTS = 0x551d13;
    uint256 internal constant AUTHORITY_KEY_ID = 0x551d23;

    /// One extension: its OID (0 if that is longer than 32 bytes), whether it is critical, content [value, end) of its octet
    /// string, and the place after it.
    function entry(uint256 pos, uint256 last)
        internal
        pure
        returns (uint256 oid, bool critical, uint256 value, uint256 end, uint256 next)
    {
        (pos, next) = Der.enter(pos, last, Der.SEQUENCE);
        (value, end) = Der.enter(pos, next, Der.OID);
        unchecked {
            if (end - value <= 32) oid = Der.number(value, end);
        }
        pos = end;
        if (Der.peek(pos, next) == Der.BOOLEAN) {
            (value, end) = Der.enter(pos, next, Der.BOOLEAN);
            // FALSE is the default, which DER does not write.
            if (end - value != 1 || Der.number(value, end) != 0xff) revert Der.DerValue(Der.BOOLEAN);
            critical = true;
            pos = end;
        }
        (value, end) = Der.enter(pos, next, Der.OCTET_STRING);
        Der.finish(end, next);
    }

    /// A list of extensions none of which may be critical.
    function uncritical(uint256 pos, uint256 last) internal pure {
        while (pos != last) {
            uint256 oid;
            bool critical;
            (oid, critical,,, pos) = entry(pos, last);
            if (critical) revert ExtensionCritical(oid);
        }
    }

    /// Subject key identifier of 20 bytes.
    function subjectKeyId(uint256 value, uint256 end) internal pure returns (bytes20) {
        uint256 word = Der.number(value, end);
        if (end - value != 22 || word >> 160 != 0x0414) revert ExtensionValue(SUBJECT_KEY_ID);
        return bytes20(uint160(word));
    }

    /// Authority key identifier: a key identifier of 20 bytes and nothing else.
    function authorityKeyId(uint256 value, uint256 end) internal pure returns (bytes20) {
        uint256 word = Der.number(value, end);
        if (end - value != 24 || word >> 160 != 0x30168014) revert ExtensionValue(AUTHORITY_KEY_ID);
        return bytes20(uint160(word));
    }
}
