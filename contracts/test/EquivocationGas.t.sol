// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {WorkLedger} from "../src/WorkLedger.sol";
import {WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {IBondSlasher} from "../src/interfaces/IBondSlasher.sol";
import {LedgerFixture} from "./LedgerFixture.sol";

/// Takes a bond at several times the cost of the vault: so dear that what is left of a call that failed by it (one part in
/// 64) would be enough to go on.
contract DearSlasher is IBondSlasher {
    mapping(uint256 => uint256) private _slots;
    bool public slashed;

    function slash(bytes32, address) external {
        for (uint256 i; i < 10; ++i) {
            _slots[i] = 1;
        }
        slashed = true;
    }
}

/// Sends with so much gas and no more.
contract Sparing {
    function send(address to, bytes calldata data, uint256 gas_) external returns (bool ok, bytes memory answer) {
        return to.call{gas: gas_}(data);
    }
}

contract EquivocationGasTest is LedgerFixture {
    DearSlasher private slasher = new DearSlasher();
    Sparing private sparing = new Sparing();
    bytes private report;

    function setUp() public override {
        super.setUp();
        ledger.setSlasher(slasher);
        WorkProof memory other = _proof(5);
        other.output = keccak256("another output");
        report = abi.encodeCall(ledger.proveTwoProofs, (_signed(_proof(5)), _signed(other), new address[](0)));
    }

    function test_no_amount_of_gas_bars_a_chip_without_its_slash() external {
        bool ok;
        uint256 gas_ = 40_000;
        for (; !ok; gas_ += 1_777) {
            (ok,) = sparing.send(address(ledger), report, gas_);
            require(registry.chip(CHIP).barred == ok, "barred by half");
            require(slasher.slashed() == ok, "barred without a slash");
        }
        require(gas_ < 600_000, "not even by honest gas");
    }

    function test_too_little_gas_is_said_and_nothing_is_done() external {
        (bool ok, bytes memory answer) = sparing.send(address(ledger), report, 300_000);
        require(!ok && bytes4(answer) == WorkLedger.GasForSlash.selector && !registry.chip(CHIP).barred);
    }

    function _signed(WorkProof memory proof) private view returns (WorkLedger.SignedProof memory signed) {
        signed = WorkLedger.SignedProof(proof, block.chainid, address(ledger), 0, 0);
        (signed.r, signed.vs) = _sign(SECRET, ledger.hashOf(proof));
    }
}
