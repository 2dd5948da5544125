// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, TcbStatus, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {SimulatedCollateral} from "../src/intel/SimulatedCollateral.sol";
import {vm} from "./Cheats.sol";

/// From a simulated root to the verdict, through the real collateral.
contract DcapChainTest {
    string private json = vm.readFile("test/fixtures/simulated.json");
    uint256 private time = vm.parseJsonUint(json, ".now");
    bytes private quote = vm.parseJsonBytes(json, ".chips[0].quote");
    bytes private pck = vm.parseJsonBytes(json, ".chips[0].pck");
    Collateral private collateral;
    DcapVerifier private verifier;
    bytes32 private signer;

    constructor() {
        vm.warp(time);
        collateral = new SimulatedCollateral(vm.parseJsonBytes(json, ".root.der"));
        collateral.submitCrl(vm.parseJsonBytes(json, ".collateral.rootCrl"));
        collateral.submitAuthority(vm.parseJsonBytes(json, ".platformCa"));
        signer = collateral.submitAuthority(vm.parseJsonBytes(json, ".tcbSigning"));
        _submit(".collateral");
        verifier = new DcapVerifier(collateral);
    }

    function test_a_simulated_chip_is_judged_from_its_root_on() external {
        Verdict memory verdict = verifier.verify(quote, pck);
        require(verdict.platform == Platform.Simulated && verdict.status == TcbStatus.UpToDate);
        require(verdict.enclaveId == bytes32(vm.parseJsonBytes(json, ".chips[0].enclaveId")), "enclave id");
        require(verdict.validUntil == time + 30 days + 1, "until");
        require(verifier.realm() == Realm.Simulated, "realm");
        vm.warp(verdict.validUntil);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, uint256(verdict.validUntil)));
        verifier.verify(quote, pck);
    }

    function test_what_the_vendor_says_later_counts_later() external {
        bytes memory other = vm.parseJsonBytes(json, ".chips[1].pck");
        bytes memory quoteOfOther = vm.parseJsonBytes(json, ".chips[1].quote");
        verifier.verify(quoteOfOther, other);
        (, bool isRevoked) = verifier.revoked(Platform.Simulated, other);
        require(!isRevoked, "not yet");
        vm.warp(time + 1 days);
        _submit(".later");
        require(verifier.verify(quote, pck).status == TcbStatus.OutOfDate, "status");
        bytes32 id;
        (id, isRevoked) = verifier.revoked(Platform.Simulated, other);
        require(isRevoked && id == bytes32(vm.parseJsonBytes(json, ".chips[1].enclaveId")), "revoked");
        (, isRevoked) = verifier.revoked(Platform.Simulated, pck);
        require(!isRevoked, "the other one is not");
        vm.expectRevert();
        verifier.verify(quoteOfOther, other);
    }

    function _submit(string memory material) private {
        collateral.submitCrl(_bytes(material, ".pckCrl"));
        collateral.submitTcbInfo(_text(material, ".tcbInfo"), _bytes(material, ".tcbInfoSignature"), signer);
        collateral.submitQeIdentity(_text(material, ".qeIdentity"), _bytes(material, ".qeIdentitySignature"), signer);
    }

    function _bytes(string memory material, string memory name) private view returns (bytes memory) {
        return vm.parseJsonBytes(json, string.concat(material, name));
    }

    function _text(string memory material, string memory name) private view returns (bytes memory) {
        return bytes(vm.parseJsonString(json, string.concat(material, name)));
    }
}
