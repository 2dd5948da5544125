// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {PckCertificate} from "../../src/dcap/PckCertificate.sol";
import {Pem} from "./Pem.sol";

/// A quote in the compact form, with the leaf and the CA of its chain, for tests.
struct Evidence {
    bytes quote;
    bytes pck;
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
        evidence.pck = Pem.certificate(chain, 0);
        evidence.ca = Pem.certificate(chain, 1);
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

    /// The place of the bit after `bit` of every byte.
    function flipped(bytes memory data, uint256 index, uint256 bit) internal pure returns (bytes memory out) {
        out = Pem.slice(data, 0, data.length);
        out[index] ^= bytes1(uint8(1 << bit));
    }
}

/// The certificate reader, to be called from outside.
contract PckReader {
    function read(bytes calldata der) external pure returns (PckCertificate.Pck memory) {
        return PckCertificate.read(der);
    }
}
