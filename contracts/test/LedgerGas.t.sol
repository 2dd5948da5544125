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
        ledger.submitHeads(_batch(nodes, 9_000));
        emit Measured("checkpoint in a batch of 100, first", vm.lastCallGas().gasTotalUsed / nodes);
        ledger.submitHeads(_batch(nodes, 19_000));
        uint256 gas = vm.lastCallGas().gasTotalUsed / nodes;
        emit Measured("checkpoint in a batch of 100, again", gas);
        require(gas <= 20_000, vm.toString(gas));
    }

    function test_a_single_proof_costs_at_most_45000() external {
        bytes32[] memory frontier;
        _settleProof(0, frontier);
        _atMost("single proof, first", 65_000);
        frontier = new bytes32[](1);
        frontier[0] = LogTree.leaf(ledger.hashOf(_proof(0)));
        _settleProof(1, frontier);
        _atMost("single proof, again, one peak", 45_000);
        frontier[0] = LogTree.node(frontier[0], LogTree.leaf(ledger.hashOf(_proof(1))));
        _settleProof(2, frontier);
        _atMost("single proof, again, one peak", 45_000);
        bytes32[] memory two = new bytes32[](2);
        (two[0], two[1]) = (frontier[0], LogTree.leaf(ledger.hashOf(_proof(2))));
        _settleProof(3, two);
        _atMost("single proof, again, two peaks", 45_500);
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
