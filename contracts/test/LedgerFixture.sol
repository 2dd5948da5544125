// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {WorkLedger} from "../src/WorkLedger.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {vm} from "./Cheats.sol";
import {RegistryFixture} from "./RegistryFixture.sol";

/// A ledger, and a chip whose key is live.
abstract contract LedgerFixture is RegistryFixture {
    WorkLedger internal ledger;

    function setUp() public virtual override {
        super.setUp();
        ledger = new WorkLedger(registry);
        registry.setLedger(ledger);
        _register(CHIP, key, address(0));
    }

    function _head(uint64 size, bytes32 root, uint64 units) internal view returns (Checkpoint memory) {
        return Checkpoint({enclaveId: CHIP, enclaveKey: key, size: size, root: root, units: units});
    }

    function _settle(uint256 secret, Checkpoint memory head) internal {
        (bytes32 r, bytes32 vs) = _sign(secret, ledger.hashOf(head));
        bytes32 whose = bytes32(abi.encodePacked(head.enclaveKey, bytes9(head.enclaveId << 184)));
        ledger.submitCheckpoint(whose, uint256(head.size) << 64 | head.units, head.root, r, vs);
    }

    function _proof(uint64 sequence) internal view returns (WorkProof memory) {
        return WorkProof({
            enclaveId: CHIP,
            enclaveKey: key,
            measurement: CODE,
            platform: keccak256("tdx"),
            work: keccak256("inference"),
            manifest: keccak256("manifest"),
            model: keccak256("model"),
            input: keccak256("input"),
            output: keccak256(abi.encode("output", sequence)),
            units: 1_234_567,
            sequence: sequence,
            previous: sequence == 0 ? bytes32(0) : keccak256(abi.encode("previous", sequence)),
            payer: address(0xbead),
            price: 25_000
        });
    }

    function _packed(Checkpoint memory head, uint256 secret) internal view returns (bytes memory) {
        (bytes32 r, bytes32 vs) = _sign(secret, ledger.hashOf(head));
        return abi.encodePacked(head.enclaveKey, bytes9(head.enclaveId << 184), head.size, head.units, head.root, r, vs);
    }

    /// A proof on TDX of work 0 (inference), with the frontier of the log before it.
    function _packed(WorkProof memory proof, uint256 secret, bytes32[] memory frontier)
        internal
        view
        returns (bytes memory)
    {
        (bytes32 r, bytes32 vs) = _sign(secret, ledger.hashOf(proof));
        bytes memory start = abi.encodePacked(
            proof.enclaveKey, bytes9(proof.enclaveId << 184), uint8(2), uint8(0), proof.units, proof.price, proof.payer
        );
        bytes memory words = abi.encodePacked(
            proof.measurement, proof.manifest, proof.model, proof.input, proof.output, proof.previous, r, vs
        );
        return bytes.concat(start, words, abi.encodePacked(frontier));
    }
}
