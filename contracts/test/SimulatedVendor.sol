// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {vm} from "./Cheats.sol";

/// Plays the vendor under a root of its own: certificates, revocation lists and documents, signed by the cheat codes.
abstract contract SimulatedVendor {
    /// 2025-06-01T00:00:00Z; what is issued here holds from the day before, lists and documents for thirty days.
    uint256 internal constant NOW = 1748736000;
    string internal constant DAY_BEFORE = "250531000000Z";
    string internal constant MONTH_AFTER = "250701000000Z";
    string internal constant FAR = "320531000000Z";

    uint256 internal constant ROOT = 0xa11;
    uint256 internal constant PLATFORM = 0xb22;
    uint256 internal constant PROCESSOR = 0xc33;
    uint256 internal constant SIGNER = 0xd44;
    string internal constant ROOT_NAME = "SIMULATED Root CA";
    string internal constant PLATFORM_NAME = "SIMULATED PCK Platform CA";
    string internal constant PROCESSOR_NAME = "SIMULATED PCK Processor CA";
    string internal constant SIGNER_NAME = "SIMULATED TCB Signing";

    /// What a certificate says. Serial number and key identifier are the key's.
    struct Paper {
        string issuer;
        uint256 issuerKey;
        bytes20 issuerKeyId;
        string subject;
        uint256 key;
        string from;
        string until;
        /// Contents of the octet strings, with critical set as the profile has it.
        bytes constraints;
        bytes usage;
        /// More extensions, whole.
        bytes more;
    }

    function root() internal pure returns (bytes memory) {
        return certificate(rootPaper());
    }

    function rootPaper() internal pure returns (Paper memory) {
        return
            Paper(
                ROOT_NAME, ROOT, keyId(ROOT), ROOT_NAME, ROOT, DAY_BEFORE, FAR, hex"30060101ff020101", hex"03020106", ""
            );
    }

    function keyId(uint256 key) internal pure returns (bytes20) {
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        // The highest bit is off, so that serial numbers have one length.
        return bytes20(keccak256(abi.encode(x, y))) & bytes20(0x7fFFfFfFFFfFFFFfFffFfFfFfffFFfFfFffFFFFf)
            | bytes20(bytes1(0x40));
    }

    // --- papers -------------------------------------------------------------------------------------------------------------

    function authorityPaper(string memory subject, uint256 key) internal pure returns (Paper memory) {
        return
            Paper(ROOT_NAME, ROOT, keyId(ROOT), subject, key, DAY_BEFORE, FAR, hex"30060101ff020100", hex"03020106", "");
    }

    function signerPaper(string memory subject, uint256 key) internal pure returns (Paper memory) {
        return Paper(ROOT_NAME, ROOT, keyId(ROOT), subject, key, DAY_BEFORE, FAR, hex"3000", hex"030206c0", "");
    }

    function platform() internal pure returns (bytes memory) {
        return certificate(authorityPaper(PLATFORM_NAME, PLATFORM));
    }

    function processor() internal pure returns (bytes memory) {
        return certificate(authorityPaper(PROCESSOR_NAME, PROCESSOR));
    }

    function signer() internal pure returns (bytes memory) {
        return certificate(signerPaper(SIGNER_NAME, SIGNER));
    }

    function certificate(Paper memory p) internal pure returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(p.key);
        bytes memory validity = tlv(0x30, abi.encodePacked(tlv(0x17, bytes(p.from)), tlv(0x17, bytes(p.until))));
        bytes memory extensions = abi.encodePacked(
            extension(hex"551d23", false, abi.encodePacked(hex"30168014", p.issuerKeyId)),
            extension(hex"551d0e", false, abi.encodePacked(hex"0414", keyId(p.key))),
            extension(hex"551d0f", true, p.usage),
            extension(hex"551d13", true, p.constraints),
            p.more
        );
        bytes memory head = abi.encodePacked(hex"a003020102", integer(uint160(keyId(p.key))), ALGORITHM, name(p.issuer));
        bytes memory key = abi.encodePacked(hex"3059301306072a8648ce3d020106082a8648ce3d03010703420004", x, y);
        return signed(
            tlv(0x30, abi.encodePacked(head, validity, name(p.subject), key, tlv(0xa3, tlv(0x30, extensions)))),
            p.issuerKey
        );
    }

    function extension(bytes3 oid, bool critical, bytes memory value) internal pure returns (bytes memory) {
        return tlv(0x30, abi.encodePacked(hex"0603", oid, critical ? bytes(hex"0101ff") : bytes(""), tlv(0x04, value)));
    }

    // --- revocation lists ---------------------------------------------------------------------------------------------------

    function list(string memory issuer, uint256 key, uint160[] memory serials) internal pure returns (bytes memory) {
        return list(issuer, key, DAY_BEFORE, MONTH_AFTER, serials, "");
    }

    function list(
        string memory issuer,
        uint256 key,
        string memory from,
        string memory until,
        uint160[] memory serials,
        bytes memory more
    ) internal pure returns (bytes memory) {
        bytes memory entries;
        for (uint256 i; i < serials.length; ++i) {
            entries = abi.encodePacked(
                entries,
                tlv(
                    0x30,
                    abi.encodePacked(integer(serials[i]), tlv(0x17, bytes(from)), hex"300c300a0603551d1504030a0101")
                )
            );
        }
        bytes memory extensions = abi.encodePacked(
            hex"300a0603551d140403020101",
            extension(hex"551d23", false, abi.encodePacked(hex"30168014", keyId(key))),
            more
        );
        return signed(
            tlv(
                0x30,
                abi.encodePacked(
                    hex"020101",
                    ALGORITHM,
                    name(issuer),
                    tlv(0x17, bytes(from)),
                    bytes(until).length == 0 ? bytes("") : tlv(0x17, bytes(until)),
                    serials.length == 0 ? bytes("") : tlv(0x30, entries),
                    tlv(0xa0, tlv(0x30, extensions))
                )
            ),
            key
        );
    }

    function none() internal pure returns (uint160[] memory) {}

    function one(uint160 serial) internal pure returns (uint160[] memory serials) {
        serials = new uint160[](1);
        serials[0] = serial;
    }

    // --- documents ----------------------------------------------------------------------------------------------------------

    function sign(string memory text, uint256 key) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(key, sha256(bytes(text)));
        return abi.encodePacked(r, s);
    }

    function sgx(string memory levels) internal pure returns (string memory) {
        return tcbInfo("SGX", "17", "", levels);
    }

    function tdx(string memory modules, string memory levels) internal pure returns (string memory) {
        return tcbInfo("TDX", "17", modules, levels);
    }

    function tcbInfo(string memory id, string memory evaluation, string memory modules, string memory levels)
        internal
        pure
        returns (string memory)
    {
        return string.concat(
            string.concat(
                '{"id":"', id, '","version":3,"issueDate":"2025-05-31T00:00:00Z","nextUpdate":"2025-06-30T00:00:00Z"'
            ),
            ',"fmspc":"00A0B0C0D0E0","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":',
            string.concat(evaluation, modules),
            string.concat(',"tcbLevels":[', levels, "]}")
        );
    }

    function level(bytes16 sgxSvns, uint256 pceSvn, string memory status) internal pure returns (string memory) {
        return string.concat(
            string.concat('{"tcb":{"sgxtcbcomponents":[', components(sgxSvns), '],"pcesvn":', vm.toString(pceSvn)),
            verdict(status)
        );
    }

    function level(bytes16 sgxSvns, uint256 pceSvn, bytes16 tdxSvns, string memory status)
        internal
        pure
        returns (string memory)
    {
        return string.concat(
            string.concat('{"tcb":{"sgxtcbcomponents":[', components(sgxSvns), '],"pcesvn":', vm.toString(pceSvn)),
            string.concat(',"tdxtcbcomponents":[', components(tdxSvns), "]", verdict(status))
        );
    }

    function components(bytes16 svns) internal pure returns (string memory text) {
        for (uint256 i; i < 16; ++i) {
            text = string.concat(
                text,
                i == 0 ? '{"svn":' : ',{"svn":',
                vm.toString(uint256(uint8(svns[i]))),
                i % 3 == 0 ? ',"category":"OS/VMM","type":"SGX Late Microcode Update of a long name"}' : "}"
            );
        }
    }

    function partLevel(uint256 svn, string memory status) internal pure returns (string memory) {
        return string.concat('{"tcb":{"isvsvn":', vm.toString(svn), verdict(status));
    }

    function verdict(string memory status) internal pure returns (string memory) {
        return string.concat(
            '},"tcbDate":"2025-05-14T00:00:00Z","tcbStatus":"',
            status,
            '","advisoryIDs":["INTEL-SA-00000","INTEL-SA-00001"]}'
        );
    }

    function qeIdentity(string memory id, string memory evaluation, string memory levels)
        internal
        pure
        returns (string memory)
    {
        return string.concat(
            string.concat(
                '{"id":"', id, '","version":2,"issueDate":"2025-05-31T00:00:00Z","nextUpdate":"2025-06-30T00:00:00Z"'
            ),
            string.concat(
                ',"tcbEvaluationDataNumber":', evaluation, ',"miscselect":"00000000","miscselectMask":"FFFFFFFF"'
            ),
            ',"attributes":"11000000000000000000000000000000","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000"',
            ',"mrsigner":"000102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f","isvprodid":1',
            string.concat(',"tcbLevels":[', levels, "]}")
        );
    }

    // --- DER ----------------------------------------------------------------------------------------------------------------

    bytes private constant ALGORITHM = hex"300a06082a8648ce3d040302";

    function name(string memory common) internal pure returns (bytes memory) {
        return tlv(0x30, tlv(0x31, tlv(0x30, abi.encodePacked(hex"0603550403", tlv(0x0c, bytes(common))))));
    }

    function signed(bytes memory content, uint256 key) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(key, sha256(content));
        bytes memory value = tlv(0x30, abi.encodePacked(integer(uint256(r)), integer(uint256(s))));
        return tlv(0x30, abi.encodePacked(content, ALGORITHM, tlv(0x03, abi.encodePacked(hex"00", value))));
    }

    function integer(uint256 value) internal pure returns (bytes memory) {
        bytes memory content = abi.encodePacked(value);
        uint256 zeros;
        while (zeros < 31 && content[zeros] == 0) ++zeros;
        bytes memory short = new bytes(32 - zeros);
        for (uint256 i; i < short.length; ++i) {
            short[i] = content[zeros + i];
        }
        return tlv(0x02, uint8(short[0]) >= 0x80 ? abi.encodePacked(hex"00", short) : short);
    }

    function tlv(uint8 tag, bytes memory content) internal pure returns (bytes memory) {
        uint256 n = content.length;
        if (n < 0x80) return abi.encodePacked(tag, uint8(n), content);
        if (n < 0x100) return abi.encodePacked(tag, hex"81", uint8(n), content);
        return abi.encodePacked(tag, hex"82", uint16(n), content);
    }
}
