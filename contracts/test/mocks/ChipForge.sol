// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {vm} from "../Cheats.sol";
import {Take} from "./Evidence.sol";
import {Pem} from "./Pem.sol";

/// A chip of our own: its certificate is the fixture's with another key and another CA's signature, and it quotes what a
/// test asks for.
abstract contract ChipForge {
    uint256 internal constant CA_KEY = 0xca;
    uint256 internal constant PCK_KEY = 0xcc;
    uint256 internal constant ATTESTATION_KEY = 0xaa;
    bytes internal constant AUTHENTICATION = hex"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    string internal json = vm.readFile("test/fixtures/simulated.json");

    /// What the CA signs: the fixture's, with our key.
    function toBeSigned() internal view returns (bytes memory tbs) {
        bytes memory pck = vm.parseJsonBytes(json, ".chips[0].pckDer");
        tbs = Pem.slice(pck, 4, 8 + (uint256(uint8(pck[6])) << 8 | uint8(pck[7])));
        (uint256 x, uint256 y) = vm.publicKeyP256(PCK_KEY);
        put(tbs, Take.find(tbs, hex"03420004") + 4, abi.encode(x, y));
    }

    /// The certificate around it, DER.
    function certified(bytes memory tbs) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(CA_KEY, sha256(tbs));
        bytes memory two = bytes.concat(integer(r), integer(s));
        bytes memory bits =
            bytes.concat(hex"03", bytes1(uint8(two.length + 3)), hex"0030", bytes1(uint8(two.length)), two);
        bytes memory rest = bytes.concat(hex"300a06082a8648ce3d040302", bits);
        return bytes.concat(hex"3082", bytes2(uint16(tbs.length + rest.length)), tbs, rest);
    }

    function integer(bytes32 value) internal pure returns (bytes memory) {
        uint256 zeros = 0;
        while (value[zeros] == 0) ++zeros;
        bytes memory digits = Pem.slice(abi.encode(value), zeros, 32);
        if (uint8(digits[0]) > 0x7f) digits = bytes.concat(hex"00", digits);
        return bytes.concat(hex"02", bytes1(uint8(digits.length)), digits);
    }

    /// A good TDX quote's signed part: SEPT_VE_DISABLE, each register another byte.
    function domain() internal pure returns (bytes memory signed) {
        signed = new bytes(632);
        put(signed, 0, hex"0400020081000000");
        put(signed, 12, hex"939a7233f79c4ca9940a0db3957f0607");
        put(signed, 48, hex"0601");
        put(signed, 168, hex"0000001000000000");
        for (uint256 register = 0; register < 8; ++register) {
            for (uint256 i = 0; i < 48; ++i) {
                signed[184 + 48 * register + i] = bytes1(uint8(0xa0 + register));
            }
        }
        for (uint256 i = 0; i < 64; ++i) {
            signed[568 + i] = bytes1(uint8(i));
        }
    }

    /// Signature and key.
    function signature(bytes memory signed) internal pure returns (bytes memory, bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(ATTESTATION_KEY, sha256(signed));
        (uint256 x, uint256 y) = vm.publicKeyP256(ATTESTATION_KEY);
        return (abi.encode(r, s), abi.encode(x, y));
    }

    /// A quoting enclave's report that vouches for the attestation key.
    function qeReport() internal view returns (bytes memory report) {
        report = Pem.slice(vm.parseJsonBytes(json, ".chips[0].quote"), 560, 944);
        (, bytes memory key) = signature("");
        put(report, 320, abi.encode(sha256(bytes.concat(key, AUTHENTICATION))));
    }

    /// The compact form.
    function quoted(bytes memory signed, bytes memory report) internal pure returns (bytes memory) {
        (bytes memory own, bytes memory key) = signature(signed);
        (bytes32 r, bytes32 s) = vm.signP256(PCK_KEY, sha256(report));
        return bytes.concat(signed, own, key, report, abi.encode(r, s), AUTHENTICATION);
    }

    function put(bytes memory data, uint256 place, bytes memory what) internal pure {
        for (uint256 i = 0; i < what.length; ++i) {
            data[place + i] = what[i];
        }
    }
}
