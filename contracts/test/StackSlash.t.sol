// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {WorkLedger} from "../src/WorkLedger.sol";
import {WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {vm} from "./Cheats.sol";
import {SimulatedStack} from "./SimulatedStack.sol";

/// Sends with so much gas and no more.
contract Sparing {
    function send(address to, bytes calldata data, uint256 gas_) external returns (bool ok, bytes memory answer) {
        return to.call{gas: gas_}(data);
    }
}

/// A culprit that reports itself loses its bond as by anybody else.
contract StackSlashTest is SimulatedStack {
    bytes32 private chip;
    bytes private report;
    Sparing private sparing = new Sparing();

    function setUp() public override {
        super.setUp();
        chip = register(".chips[0]", key, address(0));
        earn(1_000e18);
        vm.startPrank(OWNER);
        token.approve(address(vault), 1_000e18);
        vault.bond(chip, 1_000e18);
        vm.stopPrank();
        WorkProof memory other = proofOf(key, chip, MEASUREMENT, "simulated", 5);
        other.output = keccak256("another output");
        WorkLedger.SignedProof memory one = signed(SECRET, proofOf(key, chip, MEASUREMENT, "simulated", 5));
        report = abi.encodeCall(ledger.proveTwoProofs, (one, signed(SECRET, other), new address[](0)));
    }

    function test_no_amount_of_gas_bars_a_chip_and_saves_its_bond() external {
        bool ok;
        uint256 gas_ = 40_000;
        for (; !ok; gas_ += 1_777) {
            (ok,) = sparing.send(address(ledger), report, gas_);
            require(registry.chip(chip).barred == ok, "barred by half");
            require(vault.poolOf(chip).slashed == ok, "saved");
        }
        require(gas_ < 700_000, "not even by honest gas");
    }

    function test_so_much_gas_bars_and_slashes_or_does_nothing(uint256 gas_) external {
        (bool ok,) = sparing.send(address(ledger), report, 40_000 + gas_ % 600_000);
        require(registry.chip(chip).barred == ok && vault.poolOf(chip).slashed == ok);
    }

    function test_a_slash_that_failed_is_tried_again_by_the_same_evidence() external {
        bytes memory code = address(vault).code;
        vm.etch(address(vault), hex"fe");
        (bool ok,) = address(ledger).call(report);
        require(ok && registry.chip(chip).barred, "barred all the same");
        vm.etch(address(vault), code);
        require(!vault.poolOf(chip).slashed, "failed");
        uint256 supply = token.totalSupply();
        vm.prank(STRANGER);
        (ok,) = address(ledger).call(report);
        require(ok && vault.poolOf(chip).slashed, "again");
        require(token.balanceOf(STRANGER) == 250e18 && token.totalSupply() == supply - 750e18, "to whoever tried again");
    }

    function test_a_third_report_takes_nothing_more() external {
        (bool ok,) = address(ledger).call(report);
        require(ok);
        uint256 supply = token.totalSupply();
        (ok,) = address(ledger).call(report);
        require(ok && token.totalSupply() == supply);
    }
}
