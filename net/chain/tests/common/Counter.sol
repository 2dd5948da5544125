// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Counts how often each item was added, so that a test can tell once from twice.
contract Counter {
    event Added(address indexed by, uint256 indexed item, uint256 total);

    error Refused(uint256 item);

    uint256 public total;
    mapping(uint256 item => uint256) public times;

    function add(uint256 item) external payable {
        times[item]++;
        total++;
        emit Added(msg.sender, item, total);
    }

    /// Reverts once the item is there, and else adds it.
    function addOnce(uint256 item) external {
        if (times[item] != 0) revert Refused(item);
        times[item]++;
        total++;
        emit Added(msg.sender, item, total);
    }

    function refuse(uint256 item) external pure {
        revert Refused(item);
    }

    function refuseInWords() external pure {
        revert("not today");
    }

    function p256(bytes calldata input) external view returns (bytes memory output) {
        (, output) = address(0x100).staticcall(input);
    }

    function surroundings() external view returns (uint256 chain, uint256 number, uint256 time, bytes32 parent) {
        return (block.chainid, block.number, block.timestamp, blockhash(block.number - 1));
    }
}
