// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Tee} from "../src/Types.sol";
import {IIntelCollateral} from "../src/interfaces/IIntelCollateral.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {vm} from "./Cheats.sol";
import {IntelCollateralVectors} from "./IntelCollateralVectors.sol";

/// Asks as a verifier would, in one transaction, and says what each question cost: the collateral is cold for the first.
contract Asker {
    function ask(
        IIntelCollateral collateral,
        Tee tee,
        PckFacts calldata pck,
        ModuleFacts calldata module,
        bytes calldata report
    ) external view returns (uint256 standing, uint256 quotingEnclave) {
        uint256 before = gasleft();
        collateral.standing(tee, pck, module);
        standing = before - gasleft();
        before = gasleft();
        collateral.quotingEnclave(tee, report);
        quotingEnclave = before - gasleft();
    }
}

/// Whole transactions on Intel's own material, the largest there is.
contract IntelCollateralGasTest is IntelCollateralVectors {
    event log_named_uint(string key, uint256 val);

    function test_an_sgx_tcb_info_of_21_levels_is_taken_for_a_million() public withVectors {
        Case memory c = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval19.json", 1749000000, Tee.Sgx);
        Case memory older = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval17.json", 1749000000, Tee.Sgx);
        (Collateral collateral, bytes32 signer) = prepared(c);
        collateral.submitTcbInfo(older.tcbInfo, older.tcbInfoSignature, signer);
        report("SGX TCB info, 19 levels, first", 1_000_000);
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        report("SGX TCB info, 21 levels, update", 1_000_000);
        collateral.submitQeIdentity(older.qeIdentity, older.qeIdentitySignature, signer);
        report("QE identity, first", 200_000);
        collateral.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, signer);
        report("QE identity, update", 200_000);
    }

    function test_a_tdx_tcb_info_is_taken_for_a_million() public withVectors {
        Case memory c = load("tdx/tdx4-8056-gcp-cos/collateral-2026-06-12-eval21.json", 1782599235, Tee.Tdx);
        (Collateral collateral, bytes32 signer) = prepared(c);
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        report("TDX TCB info, first", 1_000_000);
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        report("TDX TCB info, update", 1_000_000);
        collateral.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, signer);
        report("TD QE identity, first", 200_000);
    }

    function test_what_is_submitted_rarely() public withVectors {
        Case memory c = load("tdx/tdx4-8056-gcp-cos/collateral-2026-06-12-eval21.json", 1782599235, Tee.Tdx);
        (Collateral collateral,) = prepared(c);
        collateral.submitCrl(c.pckCrl);
        report("PCK CRL again", 1_000_000);
        collateral.submitAuthority(authorityDer("pck-platform-ca"));
        report("PCK CA again", 150_000);
        collateral.submitCrl(c.rootCrl);
        report("root CRL again", 150_000);
    }

    function test_judging_is_cheap() public withVectors {
        Asker asker = new Asker();
        Case memory c = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval19.json", 1749000000, Tee.Sgx);
        (Collateral collateral,) = filled(c);
        (PckFacts memory pck, ModuleFacts memory module) = (best(false, 0x00906ED50000), noModule());
        bytes memory qe = qeReport(0x8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF, 1, 8);
        (uint256 standing, uint256 quotingEnclave) = asker.ask(collateral, Tee.Sgx, pck, module, qe);
        emit log_named_uint("SGX standing, first level, cold", standing);
        emit log_named_uint("SGX quoting enclave", quotingEnclave);
        assert(standing <= 20_000 && quotingEnclave <= 8_000);

        c = load("tdx/tdx4-8056-gcp-cos/collateral-2026-06-12-eval21.json", 1782599235, Tee.Tdx);
        (collateral,) = filled(c);
        pck = best(true, 0x00806F050000);
        module.teeTcbSvn = 0xff01ff00000000000000000000000000;
        qe = qeReport(0xDC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5, 2, 4);
        (standing, quotingEnclave) = asker.ask(collateral, Tee.Tdx, pck, module, qe);
        emit log_named_uint("TDX standing, first level, cold", standing);
        emit log_named_uint("TDX quoting enclave", quotingEnclave);
        assert(standing <= 20_000 && quotingEnclave <= 8_000);
    }

    function report(string memory what, uint256 limit) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        emit log_named_uint(what, gas);
        assert(gas <= limit);
    }

    function noModule() private pure returns (ModuleFacts memory module) {}

    /// A chip above every level.
    function best(bool platform, bytes6 fmspc) private pure returns (PckFacts memory pck) {
        (pck.issuer, pck.issuerKeyId) = issuerOf(platform);
        (pck.fmspc, pck.components, pck.pceSvn) = (fmspc, bytes16(type(uint128).max), type(uint16).max);
        pck.serial = 1;
    }

    function qeReport(uint256 signer, uint8 product, uint8 svn) private pure returns (bytes memory) {
        return abi.encodePacked(
            new bytes(48),
            hex"1100000000000000",
            new bytes(72),
            signer,
            new bytes(96),
            product,
            uint8(0),
            svn,
            new bytes(125)
        );
    }
}
