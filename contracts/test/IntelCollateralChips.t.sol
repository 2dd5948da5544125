// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Standing, TcbStatus, Tee} from "../src/Types.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {Level} from "../src/intel/Level.sol";
import {TcbInfo} from "../src/intel/TcbInfo.sol";
import {vm} from "./Cheats.sol";
import {IntelCollateralVectors} from "./IntelCollateralVectors.sol";

/// What the contract says of real chips under Intel's own collateral, against recorded verdicts of another verifier.
contract IntelCollateralChipsTest is IntelCollateralVectors {
    uint256 private judged;
    uint256 private refused;

    function test_sgx_chips_have_the_recorded_status() public withVectors {
        walk("sgx/", Tee.Sgx);
        assert(judged == 20 && refused == 0);
    }

    function test_tdx_chips_have_the_recorded_status() public withVectors {
        walk("tdx/", Tee.Tdx);
        assert(judged == 30 && refused == 2);
    }

    function walk(string memory folder, Tee tee) private {
        string memory manifest = vm.readFile(string.concat(VECTORS, folder, "manifest.json"));
        for (uint256 e;; ++e) {
            string memory entry = string.concat(".entries[", vm.toString(e), "]");
            if (!vm.keyExistsJson(manifest, entry)) break;
            for (uint256 n;; ++n) {
                string memory one = string.concat(entry, ".cases[", vm.toString(n), "]");
                if (!vm.keyExistsJson(manifest, one)) break;
                judge(folder, tee, manifest, entry, one);
            }
        }
    }

    function judge(string memory folder, Tee tee, string memory manifest, string memory entry, string memory one)
        private
    {
        Case memory c = load(
            string.concat(folder, vm.parseJsonString(manifest, string.concat(one, ".collateral"))),
            vm.parseJsonUint(manifest, string.concat(one, ".eval_time")),
            tee
        );
        (Collateral collateral,) = filled(c);
        PckFacts memory pck = facts(manifest, entry);
        ModuleFacts memory module;
        if (tee == Tee.Tdx) {
            module.teeTcbSvn = bytes16(unhex(manifest, string.concat(entry, ".tee_tcb_svn")));
        }
        string memory status = string.concat(one, ".expected.platform_status");
        if (!vm.keyExistsJson(manifest, status)) {
            string memory why = vm.parseJsonString(manifest, string.concat(one, ".expected.dcap_qvl_error"));
            // Attributes of the guest are not the collateral's to judge.
            if (keccak256(bytes(why)) != keccak256("No matching TCB level found")) return;
            vm.expectRevert(TcbInfo.TcbInfoNoLevel.selector);
            collateral.standing(tee, pck, module);
            ++refused;
            return;
        }
        Standing memory found = collateral.standing(tee, pck, module);
        assert(found.status == statusOf(vm.parseJsonString(manifest, status)));
        // Everything used is current at the recorded end, and not a second later.
        assert(found.validUntil > c.time);
        bytes memory quote = read(string.concat(folder, vm.parseJsonString(manifest, string.concat(entry, ".file"))));
        (TcbStatus qe, uint40 until) = collateral.quotingEnclave(tee, qeReport(quote));
        assert(qe == statusOf(vm.parseJsonString(manifest, string.concat(one, ".expected.qe_status"))));
        uint256 ends = vm.parseJsonUint(manifest, string.concat(one, ".valid_to"));
        assert((found.validUntil < until ? found.validUntil : until) == ends + 1);
        string memory whole = vm.parseJsonString(manifest, string.concat(one, ".expected.tcb_status"));
        if (keccak256(bytes(whole)) != keccak256("TDRelaunchAdvised")) {
            assert(Level.folded(found.status, qe) == statusOf(whole));
        }
        ++judged;
    }

    function facts(string memory manifest, string memory entry) private pure returns (PckFacts memory pck) {
        bool platform = keccak256(bytes(vm.parseJsonString(manifest, string.concat(entry, ".pck_issuer"))))
            == keccak256("platform");
        (pck.issuer, pck.issuerKeyId) = issuerOf(platform);
        pck.serial = 1;
        pck.fmspc = bytes6(unhex(manifest, string.concat(entry, ".fmspc")));
        pck.components = bytes16(unhex(manifest, string.concat(entry, ".pck_tcb.cpusvn")));
        pck.pceSvn = uint16(vm.parseJsonUint(manifest, string.concat(entry, ".pck_tcb.pcesvn")));
    }

    function qeReport(bytes memory quote) private pure returns (bytes memory report) {
        uint256 from = uint8(quote[0]) == 3 ? 564 : uint8(quote[0]) == 4 ? 770 : 0;
        if (from == 0) {
            // Version 5: the body's size is at 50.
            from = 54 + uint8(quote[50]) + 256 * uint256(uint8(quote[51])) + 4 + 134;
        }
        report = new bytes(384);
        for (uint256 i; i < 384; ++i) {
            report[i] = quote[from + i];
        }
    }

    function statusOf(string memory text) private pure returns (TcbStatus) {
        bytes32 hash = keccak256(bytes(text));
        if (hash == keccak256("UpToDate")) return TcbStatus.UpToDate;
        if (hash == keccak256("SWHardeningNeeded")) return TcbStatus.SWHardeningNeeded;
        if (hash == keccak256("ConfigurationNeeded")) return TcbStatus.ConfigurationNeeded;
        if (hash == keccak256("ConfigurationAndSWHardeningNeeded")) return TcbStatus.ConfigurationAndSWHardeningNeeded;
        if (hash == keccak256("OutOfDate")) return TcbStatus.OutOfDate;
        if (hash == keccak256("OutOfDateConfigurationNeeded")) return TcbStatus.OutOfDateConfigurationNeeded;
        revert(text);
    }
}
