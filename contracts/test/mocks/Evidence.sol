// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {PckCertificate} from "../../src/dcap/PckCertificate.sol";
import {Pem} from "./Pem.sol";

/// A quote in the compact form, with the leaf and the CA of its chain, for tests.
struct Evidence {
    bytes quote;
    /// Lean.
    bytes pck;
    /// DER.
    bytes der;
    bytes ca;
}

/// Takes quotes and certificates apart, for tests, by other code than what is tested.
library Take {
    /// Splits a full quote of version 3 or 4.
    function apart(bytes memory full) internal pure returns (Evidence memory evidence) {
        bool isSgx = full[0] == 0x03;
        (uint256 signed, uint256 outer) = isSgx ? (uint256(432), uint256(0)) : (uint256(632), uint256(6));
        uint256 qe = signed + 4 + 128 + outer;
        evidence.quote = bytes.concat(
            Pem.slice(full, 0, signed),
            Pem.slice(full, signed + 4, signed + 132),
            Pem.slice(full, qe, qe + 448),
            Pem.slice(full, qe + 450, qe + 482)
        );
        bytes memory chain = Pem.slice(full, qe + 488, full.length);
        evidence.der = Pem.certificate(chain, 0);
        evidence.pck = lean(evidence.der);
        evidence.ca = Pem.certificate(chain, 1);
    }

    /// A PCK certificate in the lean form. Reads what is where it should be; what is not that, the form cannot say.
    function lean(bytes memory der) internal pure returns (bytes memory) {
        uint256 end = 8 + (uint256(uint8(der[6])) << 8 | uint8(der[7]));
        uint256 p = 15 + uint8(der[14]);
        bytes memory numbers = bytes.concat(signature(der, end + 12), new bytes(64), right(der, 15, p, 20));
        bytes memory issuer_ = element(der, p += 12);
        p += issuer_.length;
        bytes memory dates = Pem.slice(der, p + 4, p + 32);
        p += 32 + element(der, p + 32).length;
        for (uint256 i = 0; i < 64; ++i) {
            numbers[64 + i] = der[p + 27 + i];
        }
        p += 99;
        bytes memory points = element(der, p + 33);
        bytes memory ids = bytes.concat(
            Pem.slice(der, p + 13, p + 33), Pem.slice(der, p + points.length + 44, p + points.length + 64)
        );
        p += 33 + points.length + 84;
        ids = bytes.concat(ids, Pem.slice(der, p + 16, p + 32));
        p += 52;
        for (uint256 i = 0; i < 16; ++i) {
            p += element(der, p).length;
            ids = bytes.concat(ids, der[p - 1]);
        }
        bytes memory pceSvn = element(der, p);
        p += pceSvn.length;
        pceSvn = right(der, p - pceSvn.length + 17, p, 2);
        ids = bytes.concat(ids, Pem.slice(der, p + 17, p + 33), pceSvn, Pem.slice(der, p + 49, p + 51));
        ids = bytes.concat(ids, Pem.slice(der, p + 67, p + 73), dates);
        return bytes.concat(numbers, ids, issuer_, points, Pem.slice(der, p + 73, end));
    }

    /// r and s of the BIT STRING at a place.
    function signature(bytes memory der, uint256 place) internal pure returns (bytes memory) {
        uint256 s = place + 7 + uint8(der[place + 6]);
        return bytes.concat(right(der, place + 7, s, 32), right(der, s + 2, s + 2 + uint8(der[s + 1]), 32));
    }

    /// An element with a length of one byte.
    function element(bytes memory der, uint256 place) internal pure returns (bytes memory) {
        return Pem.slice(der, place, place + 2 + uint8(der[place + 1]));
    }

    /// A number as so many bytes.
    function right(bytes memory der, uint256 from, uint256 to, uint256 count) internal pure returns (bytes memory) {
        if (to - from > count) return Pem.slice(der, to - count, to);
        return bytes.concat(new bytes(count - (to - from)), Pem.slice(der, from, to));
    }

    /// The point of a certificate's subject.
    function key(bytes memory certificate) internal pure returns (uint256 x, uint256 y) {
        // BIT STRING of 66 bytes: no unused bits, uncompressed.
        uint256 place = find(certificate, hex"03420004") + 4;
        return (uint256(Pem.word(certificate, place)), uint256(Pem.word(certificate, place + 32)));
    }

    /// keccak256 of the issuer's Name, which follows the algorithm, and the authority key identifier.
    function issuer(bytes memory certificate) internal pure returns (bytes32 name, bytes20 keyId) {
        uint256 place = find(certificate, hex"04030230") + 3;
        name = keccak256(Pem.slice(certificate, place, place + 2 + uint8(certificate[place + 1])));
        keyId = bytes20(Pem.word(certificate, find(certificate, hex"30168014") + 4));
    }

    function find(bytes memory data, bytes4 what) internal pure returns (uint256 place) {
        while (bytes4(Pem.word(data, place)) != what) ++place;
    }

    /// The same bytes but for one bit.
    function flipped(bytes memory data, uint256 index, uint256 bit) internal pure returns (bytes memory out) {
        out = Pem.slice(data, 0, data.length);
        out[index] ^= bytes1(uint8(1 << bit));
    }
}

/// The certificate reader, to be called from outside.
contract PckReader {
    function read(bytes calldata lean, bool isSimulated) external pure returns (PckCertificate.Pck memory) {
        return PckCertificate.read(lean, isSimulated);
    }

    function leanOf(bytes calldata der) external pure returns (bytes memory) {
        return Take.lean(der);
    }
}
