// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, TcbStatus, Tee} from "../Types.sol";
import {Json} from "./Json.sol";
import {Level} from "./Level.sol";

/// TCB info, version 3: from the signed text to packed bytes, and from those to the status of a chip.
///
/// Packed: PCEID 2 | levels 1 | later modules 1 | TDX: module 0, then the later ones | levels. A module is signer 48 | attributes
/// 8 | mask 8; a later one is version 1 | module 64 | levels 1 | (ISVSVN 1, status 1)*. A level is SGX components 16 |
/// TDX: TDX components 16 | PCESVN 2 | status 1.
library TcbInfo {
    /// Levels are not sorted, best first, as Intel writes them; the first that fits would not be the best.
    error TcbInfoOrder();
    /// TCB info of another PCE.
    error TcbInfoPceId(bytes2 expected, bytes2 found);
    /// A chip below every level.
    error TcbInfoNoLevel();
    /// The vendor withdrew the level that the chip or its TDX module is at.
    error TcbInfoLevelRevoked();
    /// A TDX module of a major version of which the TCB info says nothing.
    error TcbInfoModuleVersion(uint8 version);
    /// A TDX module that is not the vendor's: another signer, or attributes that its identity does not allow.
    error TcbInfoModule();
    /// A TDX module below every level of its identity.
    error TcbInfoModuleNoLevel();

    /// What the text says of itself.
    struct Header {
        Tee tee;
        bytes6 fmspc;
        uint16 evaluation;
        uint40 issued;
        /// Last second of validity.
        uint40 nextUpdate;
    }

    uint256 private constant MODULE_BYTES = 64;
    /// Every second byte of sixteen.
    uint256 private constant EVEN = 0x00ff00ff00ff00ff00ff00ff00ff00ff;
    /// The bit above each byte that `spread` leaves.
    uint256 private constant GUARD = 0x0100010001000100010001000100010001000100010001000100010001000100;

    /// Reads the text in [place, end), whose signature the caller has checked.
    function read(uint256 place, uint256 end) internal pure returns (Header memory header, bytes memory packed) {
        bytes2 pceId;
        (pceId, place) = readHeader(header, place);
        // No level takes more bytes packed than in the text.
        unchecked {
            packed = new bytes(end - place);
        }
        uint256 out = start(packed);
        uint256 to;
        unchecked {
            to = out + 4;
        }
        uint256 modules;
        if (header.tee == Tee.Tdx) (modules, place, to) = readModules(place, to);
        place = Json.expect(place, ',"tcbLevels":[', 14);
        uint256 levels;
        (levels, place, to) = readLevels(header.tee, place, to);
        if (Json.expect(place, "}", 1) != end) Json.unexpected(place);
        // Assembly: the first four bytes are known now, and so is the length.
        assembly ("memory-safe") {
            let rest := shr(32, shl(32, mload(out)))
            mstore(out, or(rest, or(pceId, or(shl(232, levels), shl(224, modules)))))
            mstore(packed, sub(to, out))
        }
    }

    /// Status of a chip, its TDX module folded in. `place` is where the packed bytes are.
    function judge(uint256 place, Tee tee, PckFacts calldata pck, ModuleFacts calldata module)
        internal
        pure
        returns (TcbStatus status)
    {
        unchecked {
            uint256 word = Json.load(place);
            bytes2 pceId = bytes2(bytes32(word));
            if (pceId != pck.pceId) revert TcbInfoPceId(pceId, pck.pceId);
            uint256 levels = (word >> 232) & 0xff;
            place += 4;
            uint256 has = spread(uint128(pck.components));
            if (tee == Tee.Sgx) return sgxLevel(place, levels, has, pck.pceSvn);

            TcbStatus part;
            (part, place) = judgeModule(place, (word >> 224) & 0xff, module);
            status = tdxLevel(place, levels, has, pck.pceSvn, uint128(module.teeTcbSvn));
            return Level.folded(status, part);
        }
    }

    function readHeader(Header memory header, uint256 place) private pure returns (bytes2 pceId, uint256 next) {
        uint256 value;
        place = Json.expect(place, '{"id":"', 7);
        header.tee = Json.shows(place, "S") ? Tee.Sgx : Tee.Tdx;
        place = header.tee == Tee.Sgx ? Json.expect(place, "SGX", 3) : Json.expect(place, "TDX", 3);
        place = Json.expect(place, '","version":3,"issueDate":"', 27);
        (header.issued, place) = Json.date(place);
        place = Json.expect(place, '","nextUpdate":"', 16);
        (header.nextUpdate, place) = Json.date(place);
        place = Json.expect(place, '","fmspc":"', 11);
        (value, place) = Json.hexadecimal(place, 6);
        header.fmspc = bytes6(uint48(value));
        place = Json.expect(place, '","pceId":"', 11);
        (value, place) = Json.hexadecimal(place, 2);
        pceId = bytes2(uint16(value));
        place = Json.expect(place, '","tcbType":0,', 14);
        place = Json.expect(place, '"tcbEvaluationDataNumber":', 26);
        (value, next) = Json.number(place);
        header.evaluation = uint16(value);
    }

    function readModules(uint256 place, uint256 to) private pure returns (uint256 count, uint256, uint256) {
        place = Json.expect(place, ',"tdxModule":{"mrsigner":"', 26);
        (place, to) = readModule(place, to);
        place = Json.expect(place, "}", 1);
        // Without: platforms that know no module but that of version 0.
        if (Json.load(place) >> 112 != uint144(bytes18(',"tdxModuleIdentit'))) return (0, place, to);
        place = Json.expect(place, ',"tdxModuleIdentities":[', 24);
        unchecked {
            do {
                uint256 version;
                place = Json.expect(place, '{"id":"TDX_', 11);
                (version, place) = Json.hexadecimal(place, 1);
                to = put(to, version, 1);
                place = Json.expect(place, '","mrsigner":"', 14);
                (place, to) = readModule(place, to);
                (place, to) = readModuleLevels(Json.expect(place, ',"tcbLevels":[', 14), to);
                place = Json.expect(place, "}", 1);
                ++count;
            } while (Json.shows(place++, ","));
            return (count, Json.expect(place - 1, "]", 1), to);
        }
    }

    function readModuleLevels(uint256 place, uint256 to) private pure returns (uint256, uint256) {
        unchecked {
            // The number of them comes first, and is known last.
            uint256 first = to++;
            uint256 last = type(uint8).max;
            do {
                uint256 svn;
                TcbStatus status;
                place = Json.expect(place, '{"tcb":{"isvsvn":', 17);
                (svn, place) = Json.number(place);
                if (svn > last) revert TcbInfoOrder();
                last = svn;
                (status, place) = Level.partVerdict(place);
                to = put(to, svn << 8 | uint8(status), 2);
            } while (Json.shows(place++, ","));
            uint256 levels = (to - first) / 2;
            if (levels > type(uint8).max) revert TcbInfoOrder();
            putByte(first, levels);
            return (Json.expect(place - 1, "]", 1), to);
        }
    }

    /// Signer, attributes and mask.
    function readModule(uint256 place, uint256 to) private pure returns (uint256, uint256) {
        uint256 value;
        for (uint256 i; i < 3; ++i) {
            (value, place) = Json.hexadecimal(place, 16);
            to = put(to, value, 16);
        }
        place = Json.expect(place, '","attributes":"', 16);
        (value, place) = Json.hexadecimal(place, 8);
        to = put(to, value, 8);
        place = Json.expect(place, '","attributesMask":"', 20);
        (value, place) = Json.hexadecimal(place, 8);
        to = put(to, value, 8);
        return (Json.expect(place, '"', 1), to);
    }

    function readLevels(Tee tee, uint256 place, uint256 to) private pure returns (uint256 count, uint256, uint256) {
        uint256 lastChip = type(uint256).max;
        uint256 lastTdx;
        unchecked {
            do {
                uint256 chip;
                uint256 tdx;
                (chip, tdx, place, to) = readLevel(tee, place, to);
                if (chip > lastChip || (chip == lastChip && tdx > lastTdx)) revert TcbInfoOrder();
                (lastChip, lastTdx) = (chip, tdx);
                if (++count > type(uint8).max) revert TcbInfoOrder();
            } while (Json.shows(place++, ","));
            return (count, Json.expect(place - 1, "]", 1), to);
        }
    }

    /// `chip` is SGX components ‖ PCESVN, by which levels are sorted before TDX components.
    function readLevel(Tee tee, uint256 place, uint256 to)
        private
        pure
        returns (uint256 chip, uint256 tdx, uint256, uint256)
    {
        uint256 value;
        place = Json.expect(place, '{"tcb":{"sgxtcbcomponents":[', 28);
        (chip, place) = readComponents(place);
        to = put(to, chip, 16);
        place = Json.expect(place, ',"pcesvn":', 10);
        (value, place) = Json.number(place);
        if (tee == Tee.Tdx) {
            place = Json.expect(place, ',"tdxtcbcomponents":[', 21);
            (tdx, place) = readComponents(place);
            to = put(to, tdx, 16);
        }
        to = put(to, value, 2);
        chip = chip << 16 | value;
        TcbStatus status;
        (status, place) = Level.verdict(place);
        return (chip, tdx, place, put(to, uint8(status), 1));
    }

    /// Sixteen `{"svn":n}` or `{"svn":n,"category":…,"type":…}` with their closing bracket. What a component is called is
    /// passed over.
    function readComponents(uint256 place) private pure returns (uint256 components, uint256) {
        unchecked {
            for (uint256 i; i < 16; ++i) {
                uint256 word = Json.load(place);
                if (word >> 200 != uint56(bytes7('{"svn":'))) Json.unexpected(place);
                (uint256 svn, uint256 next) = (word >> 192 & 0xff, place + 8);
                svn -= 0x30;
                if (svn > 9) Json.unexpected(place);
                word <<= 64;
                // At most two more digits, none after a zero.
                for (uint256 digit; (digit = (word >> 248) - 0x30) < 10; word <<= 8) {
                    if (svn == 0) Json.unexpected(place);
                    svn = 10 * svn + digit;
                    if (svn > type(uint8).max) Json.unexpected(place);
                    ++next;
                }
                components = components << 8 | svn;
                if (word >> 248 == uint8(bytes1(","))) next = Json.find(next, "}");
                else if (word >> 248 != uint8(bytes1("}"))) Json.unexpected(place);
                place = Json.expect(next + 1, i == 15 ? bytes32("]") : bytes32(","), 1);
            }
            return (components, place);
        }
    }

    function sgxLevel(uint256 place, uint256 levels, uint256 has, uint256 pceSvn) private pure returns (TcbStatus) {
        unchecked {
            for (; levels != 0; --levels) {
                uint256 word = Json.load(place);
                if (pceSvn >= (word >> 112) & 0xffff && reaches(has, word >> 128)) return standing(word >> 104);
                place += 19;
            }
        }
        revert TcbInfoNoLevel();
    }

    function tdxLevel(uint256 place, uint256 levels, uint256 has, uint256 pceSvn, uint256 svn)
        private
        pure
        returns (TcbStatus)
    {
        unchecked {
            // The first two of TEE_TCB_SVN are the module's, which from version 1 has levels of its own.
            uint256 counts = (svn >> 112) & 0xff == 0 ? type(uint128).max : type(uint128).max >> 16;
            uint256 hasTdx = spread(svn);
            for (; levels != 0; --levels) {
                uint256 word = Json.load(place);
                uint256 rest = Json.load(place + 32);
                if (pceSvn >= rest >> 240 && reaches(has, word >> 128) && reaches(hasTdx, word & counts)) {
                    return standing(rest >> 232);
                }
                place += 35;
            }
        }
        revert TcbInfoNoLevel();
    }

    /// Status of the module by the identity of its major version, and the place after all identities.
    function judgeModule(uint256 place, uint256 later, ModuleFacts calldata module)
        private
        pure
        returns (TcbStatus part, uint256)
    {
        unchecked {
            uint256 svn = uint8(module.teeTcbSvn[0]);
            uint256 version = uint8(module.teeTcbSvn[1]);
            if (version == 0) vouch(place, module);
            bool found = version == 0;
            place += MODULE_BYTES;
            for (; later != 0; --later) {
                uint256 levels = Json.load(place + 1 + MODULE_BYTES) >> 248;
                if (!found && Json.load(place) >> 248 == version) {
                    found = true;
                    vouch(place + 1, module);
                    part = moduleLevel(place + 2 + MODULE_BYTES, levels, svn);
                }
                place += 2 + MODULE_BYTES + 2 * levels;
            }
            if (!found) revert TcbInfoModuleVersion(uint8(version));
            return (part, place);
        }
    }

    function moduleLevel(uint256 place, uint256 levels, uint256 svn) private pure returns (TcbStatus) {
        unchecked {
            for (; levels != 0; --levels) {
                uint256 word = Json.load(place);
                if (svn >= word >> 248) return standing(word >> 240);
                place += 2;
            }
        }
        revert TcbInfoModuleNoLevel();
    }

    /// Signer and attributes; no attribute may be set outside the mask.
    function vouch(uint256 place, ModuleFacts calldata module) private pure {
        unchecked {
            uint256 rest = Json.load(place + 32);
            uint64 attributes = uint64(rest >> 64) & uint64(rest);
            if (
                bytes32(Json.load(place)) != module.mrSignerSeamHigh || bytes16(bytes32(rest)) != module.mrSignerSeamLow
                    || bytes8(attributes) != module.seamAttributes
            ) revert TcbInfoModule();
        }
    }

    /// The status in the lowest byte of a word.
    function standing(uint256 word) private pure returns (TcbStatus status) {
        status = TcbStatus(word & 0xff);
        if (status == TcbStatus.Revoked) revert TcbInfoLevelRevoked();
    }

    /// Sixteen bytes, each in a lane of sixteen bits.
    function spread(uint256 bytes16_) private pure returns (uint256) {
        return ((bytes16_ >> 8) & EVEN) << 128 | (bytes16_ & EVEN);
    }

    /// Whether each of sixteen bytes, spread, is at least that of `asks`: the guard above a lane is borrowed where not.
    function reaches(uint256 has, uint256 asks) private pure returns (bool) {
        unchecked {
            return ((has | GUARD) - spread(asks)) & GUARD == GUARD;
        }
    }

    function start(bytes memory data) private pure returns (uint256 place) {
        assembly ("memory-safe") {
            place := add(data, 0x20)
        }
    }

    /// Writes the lowest `length` bytes of a value, and zeros after them to the end of the word.
    function put(uint256 to, uint256 value, uint256 length) private pure returns (uint256 next) {
        assembly ("memory-safe") {
            mstore(to, shl(sub(256, mul(8, length)), value))
            next := add(to, length)
        }
    }

    function putByte(uint256 to, uint256 value) private pure {
        assembly ("memory-safe") {
            mstore8(to, value)
        }
    }
}
