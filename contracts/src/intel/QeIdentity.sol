// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TcbStatus, Tee} from "../Types.sol";
import {Der} from "./Der.sol";
import {Json} from "./Json.sol";
import {Level} from "./Level.sol";

/// QE identity, version 2: from the signed text to packed bytes, and from those to the status of a quoting enclave.
///
/// Packed: signer 32 | attributes 16 | mask 16 | MISCSELECT 4 | mask 4 | ISVPRODID 2 | levels 1 | (ISVSVN 2, status 1)*.
library QeIdentity {
    /// Levels are not sorted, best first.
    error QeIdentityOrder();
    /// The report body is not of 384 bytes.
    error QeIdentityReportLength(uint256 found);
    /// A quoting enclave of another signer.
    error QeIdentitySigner(bytes32 expected, bytes32 found);
    /// Another product of the same signer.
    error QeIdentityProduct(uint16 expected, uint16 found);
    /// Attributes or MISCSELECT that the identity does not allow.
    error QeIdentityAttributes();
    /// A debug enclave.
    error QeIdentityDebug();
    /// A quoting enclave below every level.
    error QeIdentityNoLevel(uint16 isvSvn);
    /// The vendor withdrew the level of the quoting enclave.
    error QeIdentityLevelRevoked();

    /// What the text says of itself.
    struct Header {
        Tee tee;
        uint16 evaluation;
        uint40 issued;
        /// Last second of validity.
        uint40 nextUpdate;
    }

    uint256 private constant REPORT_BYTES = 384;
    /// DEBUG of the first attribute byte.
    uint256 private constant DEBUG = 1 << 121;

    /// Reads the text in [place, end), whose signature the caller has checked.
    function read(uint256 place, uint256 end) internal pure returns (Header memory header, bytes memory packed) {
        place = readHeader(header, place);
        uint256[8] memory values;
        place = Json.expect(place, ',"miscselect":"', 15);
        (values[0], place) = Json.hexadecimal(place, 4);
        place = Json.expect(place, '","miscselectMask":"', 20);
        (values[1], place) = Json.hexadecimal(place, 4);
        place = Json.expect(place, '","attributes":"', 16);
        (values[2], place) = Json.hexadecimal(place, 16);
        place = Json.expect(place, '","attributesMask":"', 20);
        (values[3], place) = Json.hexadecimal(place, 16);
        place = Json.expect(place, '","mrsigner":"', 14);
        (values[4], place) = Json.hexadecimal(place, 16);
        (values[5], place) = Json.hexadecimal(place, 16);
        place = Json.expect(place, '","isvprodid":', 14);
        (values[6], place) = Json.number(place);
        bytes memory levels;
        (values[7], levels, place) = readLevels(place);
        if (Json.expect(place, "}", 1) != end) Json.unexpected(place);
        packed = abi.encodePacked(
            uint128(values[4]),
            uint128(values[5]),
            uint128(values[2]),
            uint128(values[3]),
            uint32(values[0]),
            uint32(values[1]),
            uint16(values[6]),
            uint8(values[7]),
            levels
        );
    }

    /// Status of the quoting enclave with this report body. `place` is where the packed bytes are.
    function judge(uint256 place, bytes calldata report) internal pure returns (TcbStatus status) {
        if (report.length != REPORT_BYTES) revert QeIdentityReportLength(report.length);
        (uint256 from,) = Der.open(report);
        unchecked {
            uint256 word = Json.load(place);
            if (word != Der.load(from + 128)) revert QeIdentitySigner(bytes32(word), bytes32(Der.load(from + 128)));
            word = Json.load(place + 32);
            uint256 rest = Json.load(place + 64);
            uint256 attributes = Der.load(from + 48) >> 128;
            if (
                (attributes ^ (word >> 128)) & word & type(uint128).max != 0
                    || ((Der.load(from + 16) ^ rest) >> 224) & (rest >> 192) & type(uint32).max != 0
            ) revert QeIdentityAttributes();
            if (attributes & DEBUG != 0) revert QeIdentityDebug();

            // ISVPRODID and ISVSVN, which the report has in little-endian order.
            uint256 numbers = Der.load(from + 256) >> 224;
            numbers = (numbers >> 8) & 0x00ff00ff | (numbers & 0x00ff00ff) << 8;
            if (numbers >> 16 != uint16(rest >> 176)) {
                revert QeIdentityProduct(uint16(rest >> 176), uint16(numbers >> 16));
            }
            uint16 isvSvn = uint16(numbers);
            place += 75;
            for (uint256 levels = (rest >> 168) & 0xff; levels != 0; --levels) {
                word = Json.load(place);
                if (isvSvn >= word >> 240) {
                    status = TcbStatus((word >> 232) & 0xff);
                    if (status == TcbStatus.Revoked) revert QeIdentityLevelRevoked();
                    return status;
                }
                place += 3;
            }
            revert QeIdentityNoLevel(isvSvn);
        }
    }

    function readHeader(Header memory header, uint256 place) private pure returns (uint256 next) {
        uint256 value;
        place = Json.expect(place, '{"id":"', 7);
        header.tee = Json.shows(place, "Q") ? Tee.Sgx : Tee.Tdx;
        place = header.tee == Tee.Sgx ? Json.expect(place, "QE", 2) : Json.expect(place, "TD_QE", 5);
        place = Json.expect(place, '","version":2,"issueDate":"', 27);
        (header.issued, place) = Json.date(place);
        place = Json.expect(place, '","nextUpdate":"', 16);
        (header.nextUpdate, place) = Json.date(place);
        place = Json.expect(place, '","tcbEvaluationDataNumber":', 28);
        (value, next) = Json.number(place);
        header.evaluation = uint16(value);
    }

    function readLevels(uint256 place) private pure returns (uint256 count, bytes memory levels, uint256 next) {
        place = Json.expect(place, ',"tcbLevels":[', 14);
        uint256 last = type(uint256).max;
        unchecked {
            do {
                uint256 value;
                TcbStatus status;
                place = Json.expect(place, '{"tcb":{"isvsvn":', 17);
                (value, place) = Json.number(place);
                (status, place) = Level.partVerdict(place);
                if (value > last || ++count > type(uint8).max) revert QeIdentityOrder();
                last = value;
                levels = abi.encodePacked(levels, uint16(value), uint8(status));
            } while (Json.shows(place++, ","));
            next = Json.expect(place - 1, "]", 1);
        }
    }
}
