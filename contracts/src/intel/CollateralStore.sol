// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Tee} from "../Types.sol";

/// Authorities and documents as they are kept: one slot each, what is longer in a blob beside it.
abstract contract CollateralStore {
    /// What a certificate under the root may do.
    enum Role {
        None,
        /// Issues PCK certificates and the list of those revoked.
        PckAuthority,
        /// Signs TCB info and QE identities.
        DocumentSigner,
        /// Its certificate was revoked; another one may take its place.
        Revoked
    }

    /// One slot, packed as the members come. Its certificate's key (x 32, y 32), end (5) and serial (20) are in the blob.
    struct Authority {
        address blob;
        /// PCK CAs: certificate, revocation list and root's revocation list all hold until then (exclusive). 0: no list yet.
        uint40 until;
        /// thisUpdate of the revocation list.
        uint40 listed;
        uint8 generation;
        Role role;
    }

    /// TCB info or QE identity: one slot, packed as the members come; levels in the blob.
    struct Document {
        address blob;
        /// Document and signer hold until then (exclusive).
        uint40 until;
        uint32 issued;
        uint16 evaluation;
        uint8 generation;
    }

    mapping(bytes32 id => uint256) private authorities;
    /// See `modelKey` and `identityKey`.
    mapping(bytes32 key => uint256) private documents;

    // Slots are taken apart by hand: the compiler reads a packed slot once for each member.

    function authorityWord(bytes32 id) internal view returns (uint256) {
        return authorities[id];
    }

    function documentWord(bytes32 key) internal view returns (uint256) {
        return documents[key];
    }

    function blobIn(uint256 word) internal pure returns (address) {
        return address(uint160(word >> 96));
    }

    function untilIn(uint256 word) internal pure returns (uint256) {
        return uint40(word >> 56);
    }

    function roleIn(uint256 word) internal pure returns (Role) {
        return Role(word & 0xff);
    }

    function authorityAt(bytes32 id) internal view returns (Authority memory) {
        uint256 word = authorityWord(id);
        return Authority(blobIn(word), uint40(untilIn(word)), uint40(word >> 16), uint8(word >> 8), roleIn(word));
    }

    function store(bytes32 id, Authority memory a) internal {
        authorities[id] = uint256(uint160(a.blob)) << 96 | uint256(a.until) << 56 | uint256(a.listed) << 16
            | uint256(a.generation) << 8 | uint256(a.role);
    }

    function documentAt(bytes32 key) internal view returns (Document memory) {
        uint256 word = documentWord(key);
        return Document(blobIn(word), uint40(untilIn(word)), uint32(word >> 24), uint16(word >> 8), uint8(word));
    }

    function store(bytes32 key, Document memory d) internal {
        documents[key] = uint256(uint160(d.blob)) << 96 | uint256(d.until) << 56 | uint256(d.issued) << 24
            | uint256(d.evaluation) << 8 | d.generation;
    }

    /// Where the TCB info of a model is.
    function modelKey(Tee tee, bytes6 fmspc) internal pure returns (bytes32) {
        return bytes32(fmspc) | bytes32(uint256(tee));
    }

    /// Where a QE identity is: no model has this key.
    function identityKey(Tee tee) internal pure returns (bytes32) {
        return bytes32(0x100 | uint256(tee));
    }
}
