// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, Tee} from "../Types.sol";
import {Der} from "../intel/Der.sol";

/// What a DCAP quote says, at its fixed places (Intel SGX and TDX DCAP quoting library API, appendix on quote formats).
///
/// The compact form has an exact length, so after `read` every place here is inside, and none is checked again. Fields that nothing is judged by (SVNs in
/// the header, user data, reserved fields of the reports) are signed by the quoting enclave and can have no other value.
library Quote {
    /// Neither an SGX quote of version 3 nor a TDX quote of version 4.
    error QuoteVersion(uint16 version);
    /// Another length than the compact form has.
    error QuoteLength(uint256 found, uint256 expected);
    /// Attestation keys are P-256 (2).
    error AttestationKeyType(uint16 found);
    /// Version 3 speaks of SGX (0), version 4 of TDX (0x81). Little-endian, as it stands in the quote.
    error TeeType(bytes4 found);
    /// A quoting enclave of another vendor than Intel.
    error QuotingVendor(bytes16 found);
    /// The host can read the enclave's memory.
    error Debug();
    /// Attributes of a TD that may not earn: debug, profiling, migratable, service TDs, a bit that has no name, or no
    /// SEPT_VE_DISABLE. Little-endian, as they stand in the report.
    error TdAttributes(bytes8 found);

    /// Bytes of the compact form after the signed part.
    uint256 internal constant SIGNATURE_DATA = 64 + 64 + 384 + 64 + 32;
    /// Header and report body.
    uint256 private constant SGX_SIGNED = 48 + 384;
    uint256 private constant TDX_SIGNED = 48 + 584;
    /// 939a7233-f79c-4ca9-940a-0db3957f0607.
    uint128 private constant INTEL = 0x939a7233f79c4ca9940a0db3957f0607;
    /// Version, key type and TEE type of the two kinds.
    uint64 private constant SGX_3 = 0x0300020000000000;
    uint64 private constant TDX_4 = 0x0400020081000000;
    /// Bits that a TD may have, little-endian: ICSSD 16, LASS 27, SEPT_VE_DISABLE 28, PKS 30, KL 31, TPA 62, PERFMON 63.
    uint64 private constant ALLOWED = 0x000001d8000000c0;
    /// SEPT_VE_DISABLE: without it the host can make the guest's own memory fault at will.
    uint64 private constant NEEDED = 0x0000001000000000;

    /// Kind of a quote whose signed part is followed by `more` bytes. Reverts if it is of another kind or length, or of code whose
    /// memory or state is open to others.
    function read(bytes calldata quote, uint256 more) internal pure returns (Tee tee) {
        (uint256 place,) = Der.open(quote);
        uint256 word = Der.load(place);
        // No place is near the edge of 256 bits.
        unchecked {
            if (word >> 192 == SGX_3) {
                if (quote.length != SGX_SIGNED + more) revert QuoteLength(quote.length, SGX_SIGNED + more);
                if (isDebug(place + 48)) revert Debug();
            } else if (word >> 192 == TDX_4) {
                if (quote.length != TDX_SIGNED + more) revert QuoteLength(quote.length, TDX_SIGNED + more);
                uint64 attributes = uint64(Der.load(place + 168) >> 192);
                if (attributes & ~ALLOWED != 0 || attributes & NEEDED == 0) revert TdAttributes(bytes8(attributes));
                tee = Tee.Tdx;
            } else {
                _refuse(word);
            }
        }
        if (uint128(word >> 32) != INTEL) revert QuotingVendor(bytes16(uint128(word >> 32)));
    }

    /// Header and body of a quote that was read, and the place of what follows.
    function split(bytes calldata quote, Tee tee) internal pure returns (bytes calldata signed, uint256 data) {
        unchecked {
            (uint256 place,) = Der.open(quote);
            data = place + (tee == Tee.Sgx ? SGX_SIGNED : TDX_SIGNED);
            signed = Der.slice(place, data);
        }
    }

    /// Whether the SGX report body (of an enclave, or of the quoting enclave) at a place is that of a debug enclave.
    function isDebug(uint256 report) internal pure returns (bool) {
        unchecked {
            // Attributes start at byte 48; DEBUG is bit 1 of the first.
            return (Der.load(report + 48) >> 248) & 0x02 != 0;
        }
    }

    /// What the report says of the TDX module; all zero for SGX.
    function module(bytes calldata signed, Tee tee) internal pure returns (ModuleFacts memory facts) {
        if (tee == Tee.Sgx) return facts;
        unchecked {
            (uint256 place,) = Der.open(signed);
            facts.teeTcbSvn = bytes16(bytes32(Der.load(place + 48)));
            facts.mrSignerSeamHigh = bytes32(Der.load(place + 112));
            facts.mrSignerSeamLow = bytes16(bytes32(Der.load(place + 144)));
            facts.seamAttributes = bytes8(bytes32(Der.load(place + 160)));
        }
    }

    /// The same as it stands in the report: TEE_TCB_SVN, and MRSIGNERSEAM with the SEAM attributes. TDX only.
    function moduleBytes(bytes calldata signed) internal pure returns (bytes calldata svn, bytes calldata rest) {
        unchecked {
            (uint256 place,) = Der.open(signed);
            return (Der.slice(place + 48, place + 64), Der.slice(place + 112, place + 168));
        }
    }

    /// The name of the code.
    function measurement(bytes calldata signed, Tee tee) internal pure returns (bytes32) {
        unchecked {
            (uint256 place,) = Der.open(signed);
            if (tee == Tee.Sgx) return bytes32(Der.load(place + 112));
            // MRTD, RTMR0 to RTMR2, and MRCONFIGID, MROWNER, MROWNERCONFIG, which stand before the RTMRs.
            return sha256(
                bytes.concat(
                    "glacier/measurement/v1\x00tdx\x00",
                    Der.slice(place + 184, place + 232),
                    Der.slice(place + 376, place + 520),
                    Der.slice(place + 232, place + 376)
                )
            );
        }
    }

    /// The last 64 bytes of the signed part.
    function reportData(bytes calldata signed) internal pure returns (bytes32 data, bytes32 tag) {
        unchecked {
            (, uint256 end) = Der.open(signed);
            return (bytes32(Der.load(end - 64)), bytes32(Der.load(end - 32)));
        }
    }

    /// Says which of the three is wrong.
    function _refuse(uint256 word) private pure {
        // Little-endian.
        uint16 version = uint16(word >> 240 << 8 & 0xff00 | word >> 248);
        uint16 keyType = uint16(word >> 224 << 8 & 0xff00 | (word >> 232) & 0xff);
        if (version != 3 && version != 4) revert QuoteVersion(version);
        if (keyType != 2) revert AttestationKeyType(keyType);
        revert TeeType(bytes4(uint32(word >> 192)));
    }
}
