// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, TcbStatus, Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {Quote} from "../src/dcap/Quote.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {vm} from "./Cheats.sol";
import {Evidence, Take} from "./mocks/Evidence.sol";
import {IntelCollateralVectors} from "./IntelCollateralVectors.sol";
import {Pem} from "./mocks/Pem.sol";

/// Every recorded quote of version 3 and 4, under Intel's own collateral: what the contract says of it, beside what the
/// manifest says.
contract DcapVectorsTest is IntelCollateralVectors {
    bytes8 private constant CLEAN_TD = 0x0000001000000000;

    DcapVerifier private verifier;
    uint256 private judged;
    uint256 private refused;

    function test_every_recorded_sgx_quote_is_what_the_manifest_says() external withVectors {
        _all("sgx", 18, 2);
    }

    function test_every_recorded_tdx_quote_is_what_the_manifest_says() external withVectors {
        _all("tdx", 21, 4);
    }

    function _all(string memory kind, uint256 good, uint256 bad) private {
        string memory json = vm.readFile(string.concat(VECTORS, kind, "/manifest.json"));
        for (uint256 i = 0; vm.keyExistsJson(json, _key(".entries", i, "")); ++i) {
            _entry(json, kind, _key(".entries", i, ""));
        }
        require(judged == good && refused == bad, string.concat(vm.toString(judged), " ", vm.toString(refused)));
    }

    function _entry(string memory json, string memory kind, string memory entry) private {
        uint256 version = vm.parseJsonUint(json, string.concat(entry, ".quote_version"));
        for (uint256 i = 0; vm.keyExistsJson(json, _key(string.concat(entry, ".cases"), i, "")); ++i) {
            if (version == 5) continue;
            string memory file = vm.parseJsonString(json, string.concat(entry, ".file"));
            Evidence memory evidence = Take.apart(vm.readFileBinary(string.concat(VECTORS, kind, "/", file)));
            string memory one = _key(string.concat(entry, ".cases"), i, "");
            string memory material = vm.parseJsonString(json, string.concat(one, ".collateral"));
            uint256 time = vm.parseJsonUint(json, string.concat(one, ".eval_time"));
            Tee tee = evidence.quote[0] == 0x03 ? Tee.Sgx : Tee.Tdx;
            (Collateral collateral,) = filled(load(string.concat(kind, "/", material), time, tee));
            verifier = new DcapVerifier(collateral);
            _case(json, entry, one, evidence, tee);
        }
    }

    function _case(string memory json, string memory entry, string memory cases, Evidence memory evidence, Tee tee)
        private
    {
        uint40 until = uint40(vm.parseJsonUint(json, string.concat(cases, ".valid_to"))) + 1;
        bool isGenuine = vm.keyExistsJson(json, string.concat(cases, ".expected.tcb_status"));
        if (_mayNotEarn(json, entry, tee)) {
            ++refused;
            try verifier.verify(evidence.quote, evidence.pck) returns (Verdict memory) {
                revert("debug, migratable or open to the host, and accepted");
            } catch (bytes memory reason) {
                bytes4 expected = tee == Tee.Sgx ? Quote.Debug.selector : Quote.TdAttributes.selector;
                require(bytes4(reason) == expected, "refused for another reason");
            }
            return;
        }
        require(isGenuine, "what the manifest refuses has attributes that we refuse");
        Verdict memory verdict = verifier.verify(evidence.quote, evidence.pck);
        ++judged;
        require(verdict.platform == (tee == Tee.Sgx ? Platform.Sgx : Platform.Tdx), "platform");
        require(verdict.status == _status(json, string.concat(cases, ".expected.tcb_status")), "status");
        require(verdict.validUntil == until, "until");
        bytes memory ppid = vm.parseJsonBytes(json, string.concat(entry, ".ppid"));
        bytes memory word = tee == Tee.Sgx ? bytes("sgx") : bytes("tdx");
        require(
            verdict.enclaveId == sha256(bytes.concat("glacier/enclave-id/v1\x00", word, "\x00", ppid)), "enclave id"
        );
        require(verdict.measurement == _measurement(json, entry, tee), "measurement");
        bytes memory data = vm.parseJsonBytes(json, string.concat(entry, ".report_data"));
        require(verdict.reportData == Pem.word(data, 0) && verdict.reportTag == Pem.word(data, 32), "report data");
        _again(evidence.quote, tee, verdict);
    }

    /// What was kept gives the same verdict, until it runs out.
    function _again(bytes memory quote, Tee tee, Verdict memory verdict) private {
        uint256 signed = tee == Tee.Sgx ? 432 : 632;
        bytes memory head = Pem.slice(quote, 0, signed);
        bytes memory signature = Pem.slice(quote, signed, signed + 64);
        bytes memory key = Pem.slice(quote, signed + 64, signed + 128);
        Verdict memory again = verifier.verifyKept(head, signature, key, verdict.enclaveId);
        require(keccak256(abi.encode(again)) == keccak256(abi.encode(verdict)), "kept");
        vm.warp(verdict.validUntil);
        vm.expectRevert(abi.encodeWithSelector(DcapVerifier.KeptKeyExpired.selector, verdict.validUntil));
        verifier.verifyKept(head, signature, key, verdict.enclaveId);
    }

    function _mayNotEarn(string memory json, string memory entry, Tee tee) private pure returns (bool) {
        if (tee == Tee.Sgx) return bytes(vm.parseJsonString(json, string.concat(entry, ".debug"))).length == 4;
        return bytes8(vm.parseJsonBytes(json, string.concat(entry, ".td_attributes"))) != CLEAN_TD;
    }

    function _measurement(string memory json, string memory entry, Tee tee) private pure returns (bytes32) {
        if (tee == Tee.Sgx) return bytes32(vm.parseJsonBytes(json, string.concat(entry, ".mrenclave")));
        bytes memory registers = vm.parseJsonBytes(json, string.concat(entry, ".mrtd"));
        for (uint256 i = 0; i < 3; ++i) {
            registers = bytes.concat(registers, vm.parseJsonBytes(json, _key(string.concat(entry, ".rtmr"), i, "")));
        }
        bytes memory config = vm.parseJsonBytes(json, string.concat(entry, ".mrconfigid"));
        // No recorded TD names an owner.
        return sha256(bytes.concat("glacier/measurement/v1\x00tdx\x00", registers, config, new bytes(96)));
    }

    function _status(string memory json, string memory key) private pure returns (TcbStatus) {
        bytes32 word = keccak256(bytes(vm.parseJsonString(json, key)));
        if (word == keccak256("UpToDate")) return TcbStatus.UpToDate;
        if (word == keccak256("SWHardeningNeeded")) return TcbStatus.SWHardeningNeeded;
        if (word == keccak256("ConfigurationNeeded")) return TcbStatus.ConfigurationNeeded;
        if (word == keccak256("ConfigurationAndSWHardeningNeeded")) return TcbStatus.ConfigurationAndSWHardeningNeeded;
        if (word == keccak256("OutOfDate")) return TcbStatus.OutOfDate;
        if (word == keccak256("OutOfDateConfigurationNeeded")) return TcbStatus.OutOfDateConfigurationNeeded;
        revert("status");
    }

    function _key(string memory list, uint256 index, string memory rest) private pure returns (string memory) {
        return string.concat(list, "[", vm.toString(index), "]", rest);
    }
}
