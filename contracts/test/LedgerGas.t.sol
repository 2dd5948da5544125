// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Checkpoint} from "../src/interfaces/IWorkLedger.sol";
import {LogTree} from "../src/lib/LogTree.sol";
import {vm} from "./Cheats.sol";
import {LedgerFixture} from "./LedgerFixture.sol";

/// Whole transactions, base and calldata included.
contract LedgerGasTest is LedgerFixture {
    function test_a_checkpoint_costs_at_most_42000() external {
        _settle(SECRET, _head(9_000, keccak256("one"), 123_456_789_012));
        _atMost("checkpoint, first", 62_000);
        _settle(SECRET, _head(19_000, keccak256("two"), 323_456_789_012));
        _atMost("checkpoint, again", 42_000);
    }

    function test_a_checkpoint_in_a_batch_of_100_costs_at_most_20000() external {
        uint256 nodes = 100;
        for (uint256 i; i < nodes; ++i) {
            _register(_chip(i), vm.addr(1_000 + i), address(0));
        }
        require(ledger.submitCheckpoints(_batch(nodes, 9_000)) == nodes);
        emit Measured("checkpoint in a batch of 100, first", vm.lastCallGas().gasTotalUsed / nodes);
        require(ledger.submitCheckpoints(_batch(nodes, 19_000)) == nodes);
        uint256 gas = vm.lastCallGas().gasTotalUsed / nodes;
        emit Measured("checkpoint in a batch of 100, again", gas);
        require(gas <= 20_000, vm.toString(gas));
    }

    function test_a_single_proof_settled_by_its_head_costs_at_most_42000() external {
        _settle(SECRET, _head(9_000, keccak256("one"), 123_456_789_012));
        _settle(SECRET, _head(9_001, keccak256("two"), 123_457_789_012));
        _atMost("single proof by its head, again", 42_000);
    }

    /// More than a head costs: all members are calldata, and the peaks of the log with them.
    function test_a_single_proof_without_a_head_costs_at_most_47500() external {
        bytes32[] memory frontier;
        _settleProof(0, frontier);
        _atMost("single proof without a head, first", 63_000);
        frontier = new bytes32[](1);
        frontier[0] = LogTree.leaf(ledger.hashOf(_proof(0)));
        _settleProof(1, frontier);
        _atMost("single proof without a head, again, one peak", 47_500);
        frontier[0] = LogTree.node(frontier[0], LogTree.leaf(ledger.hashOf(_proof(1))));
        _settleProof(2, frontier);
        _atMost("single proof without a head, again, one peak", 47_500);
    }

    function _settleProof(uint64 sequence, bytes32[] memory frontier) private {
        ledger.submitProof(_packed(_proof(sequence), SECRET, frontier));
    }

    function _batch(uint256 nodes, uint64 size) private view returns (bytes memory batch) {
        for (uint256 i; i < nodes; ++i) {
            Checkpoint memory head = Checkpoint({
                enclaveId: _chip(i),
                enclaveKey: vm.addr(1_000 + i),
                size: size,
                root: keccak256(abi.encode(size, i)),
                units: size * 7_654_321
            });
            batch = bytes.concat(batch, _packed(head, 1_000 + i));
        }
    }

    function _chip(uint256 i) private pure returns (bytes32) {
        return keccak256(abi.encode("chip", i));
    }

    function _atMost(string memory what, uint256 limit) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        emit Measured(what, gas);
        require(gas <= limit, string.concat(what, ": ", vm.toString(gas)));
    }
}
