// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm} from "../Types.sol";
import {IEnclaveRegistry} from "./IEnclaveRegistry.sol";

/// The statement of one job (core/proof, `WorkProof`). `platform` and `work` are keccak256 of the words that are signed.
struct WorkProof {
    bytes32 enclaveId;
    address enclaveKey;
    bytes32 measurement;
    bytes32 platform;
    bytes32 work;
    bytes32 manifest;
    bytes32 model;
    bytes32 input;
    bytes32 output;
    uint64 units;
    uint64 sequence;
    bytes32 previous;
    address payer;
    uint64 price;
}

/// The head of one key's log: an RFC 6962 tree, Keccak-256 in place of SHA-256, whose leaf `i` is the hash of Work Proof `i`.
/// One signature settles all proofs that were not settled before it.
struct Checkpoint {
    bytes32 enclaveId;
    address enclaveKey;
    /// Leaves.
    uint64 size;
    bytes32 root;
    /// Multiply-accumulates of all proofs of the log that count at this ledger.
    uint64 units;
}

/// Settles Work Proofs.
interface IWorkLedger {
    function realm() external view returns (Realm);

    function registry() external view returns (IEnclaveRegistry);

    /// EIP-712 digest of a proof in this ledger's domain.
    function hashOf(WorkProof calldata proof) external view returns (bytes32);

    /// Size and the first 24 bytes of the root that are settled for a key.
    function settled(address key) external view returns (uint64 size, bytes24 root);

    /// Whether the proof with this digest is leaf `sequence` of the settled log of `key`. `path` is the RFC 6962 audit path to the
    /// settled root.
    function isSettled(address key, bytes32 digest, uint64 sequence, bytes32[] calldata path)
        external
        view
        returns (bool);
}
