// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, TcbStatus, Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {PckCertificate} from "../src/dcap/PckCertificate.sol";
import {Quote} from "../src/dcap/Quote.sol";
import {P256} from "../src/intel/P256.sol";
import {vm} from "./Cheats.sol";
import {Evidence, PckReader, Take} from "./mocks/Evidence.sol";
import {MockCollateral} from "./mocks/MockCollateral.sol";
import {Pem} from "./mocks/Pem.sol";

/// Evidence under a root that was made for tests: always there, and simulated in every answer.
contract DcapSimulatedTest {
    string private json = vm.readFile("test/fixtures/simulated.json");
    uint256 private time = vm.parseJsonUint(json, ".now");
    bytes private ca = vm.parseJsonBytes(json, ".platformCa");
    bytes private quote = vm.parseJsonBytes(json, ".chips[0].quote");
    bytes private pck = vm.parseJsonBytes(json, ".chips[0].pck");
    bytes private der = vm.parseJsonBytes(json, ".chips[0].pckDer");
    bytes32 private enclaveId = bytes32(vm.parseJsonBytes(json, ".chips[0].enclaveId"));
    MockCollateral private collateral = new MockCollateral(Realm.Simulated);
    DcapVerifier private verifier = new DcapVerifier(collateral);

    constructor() {
        (bytes32 issuer, bytes20 keyId) = Take.issuer(der);
        (uint256 x, uint256 y) = Take.key(ca);
        collateral.trust(issuer, keyId, x, y);
        collateral.set(Tee.Sgx, TcbStatus.UpToDate, TcbStatus.UpToDate, uint40(time + 9 days), uint40(time + 8 days));
        vm.warp(time);
    }

    function test_a_simulated_quote_is_judged_and_called_simulated() external {
        Verdict memory verdict = verifier.verify(quote, pck);
        require(verdict.platform == Platform.Simulated && verdict.status == TcbStatus.UpToDate);
        require(verdict.enclaveId == enclaveId, "enclave id");
        require(verdict.measurement == bytes32(vm.parseJsonBytes(json, ".measurement")), "measurement");
        bytes memory data = vm.parseJsonBytes(json, ".reportData");
        require(verdict.reportData == Pem.word(data, 0) && verdict.reportTag == Pem.word(data, 32), "report data");
        require(verdict.validUntil == time + 8 days, "until");
        require(keccak256(bytes(verifier.name())) == keccak256("SIMULATED Glacier DCAP Verifier"), "name");
    }

    function test_the_compact_form_is_what_is_signed_of_the_full_one() external view {
        Evidence memory evidence = Take.apart(vm.parseJsonBytes(json, ".chips[0].full"));
        require(keccak256(evidence.quote) == keccak256(quote) && keccak256(evidence.pck) == keccak256(pck));
        require(keccak256(evidence.ca) == keccak256(ca));
    }

    function test_a_kept_key_vouches_for_other_quotes_of_the_same_chip_alone() external {
        bytes memory again = vm.parseJsonBytes(json, ".chips[0].again");
        (bytes memory head, bytes memory signature, bytes memory key) = _parts(again);
        vm.expectRevert(abi.encodeWithSelector(DcapVerifier.KeyNotKept.selector, enclaveId));
        verifier.verifyKept(head, signature, key, enclaveId);
        Verdict memory first = verifier.verify(quote, pck);
        Verdict memory verdict = verifier.verifyKept(head, signature, key, enclaveId);
        require(verdict.enclaveId == enclaveId && verdict.measurement == first.measurement);
        require(verdict.validUntil == first.validUntil && verdict.status == first.status);
        require(verdict.platform == Platform.Simulated && verdict.reportData == ~first.reportData, "report data");
        bytes32 other = bytes32(vm.parseJsonBytes(json, ".chips[1].enclaveId"));
        vm.expectRevert(abi.encodeWithSelector(DcapVerifier.KeyNotKept.selector, other));
        verifier.verifyKept(head, signature, key, other);
    }

    function test_a_kept_key_is_judged_by_the_newest_material_it_was_proven_under() external {
        verifier.verify(quote, pck);
        collateral.set(Tee.Sgx, TcbStatus.OutOfDate, TcbStatus.UpToDate, uint40(time + 20 days), uint40(time + 30 days));
        verifier.verify(quote, pck);
        (bytes memory head, bytes memory signature, bytes memory key) = _parts(quote);
        Verdict memory verdict = verifier.verifyKept(head, signature, key, enclaveId);
        require(verdict.status == TcbStatus.OutOfDate && verdict.validUntil == time + 20 days);
        (TcbStatus status, uint40 until) = verifier.kept(key, enclaveId, "");
        require(status == TcbStatus.OutOfDate && until == time + 20 days, "kept");
    }

    function test_a_repeated_proof_takes_nothing_from_a_kept_key() external {
        (,, bytes memory key) = _parts(quote);
        _answers(TcbStatus.SWHardeningNeeded, TcbStatus.UpToDate);
        verifier.verify(quote, pck);
        // Worse, and as long; better, and shorter.
        _answers(TcbStatus.OutOfDate, TcbStatus.UpToDate);
        require(verifier.verify(quote, pck).status == TcbStatus.OutOfDate, "said");
        collateral.set(
            Tee.Sgx, TcbStatus.UpToDate, TcbStatus.UpToDate, uint40(time + 8 days - 1), uint40(time + 9 days)
        );
        verifier.verify(quote, pck);
        (TcbStatus status, uint40 until) = verifier.kept(key, enclaveId, "");
        require(status == TcbStatus.SWHardeningNeeded && until == time + 8 days, "as it was");
        _answers(TcbStatus.UpToDate, TcbStatus.UpToDate);
        verifier.verify(quote, pck);
        (status, until) = verifier.kept(key, enclaveId, "");
        require(status == TcbStatus.UpToDate && until == time + 8 days, "better, and as long");
    }

    function test_no_debug_enclave_is_accepted() external {
        bytes memory debug = vm.parseJsonBytes(json, ".chips[0].debug");
        vm.expectRevert(Quote.Debug.selector);
        verifier.verify(debug, pck);
        verifier.verify(quote, pck);
        (bytes memory head, bytes memory signature, bytes memory key) = _parts(debug);
        vm.expectRevert(Quote.Debug.selector);
        verifier.verifyKept(head, signature, key, enclaveId);
    }

    function test_a_certificate_of_another_chip_is_refused() external {
        bytes memory other = vm.parseJsonBytes(json, ".chips[1].pck");
        vm.expectRevert(DcapVerifier.QeReportSignature.selector);
        verifier.verify(quote, other);
    }

    function test_the_worse_of_platform_and_quoting_enclave_counts() external {
        TcbStatus[5] memory statuses = [
            TcbStatus.UpToDate,
            TcbStatus.SWHardeningNeeded,
            TcbStatus.ConfigurationNeeded,
            TcbStatus.ConfigurationAndSWHardeningNeeded,
            TcbStatus.OutOfDate
        ];
        TcbStatus[5] memory expected = [
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDate
        ];
        for (uint256 i = 0; i < 5; ++i) {
            _answers(statuses[i], TcbStatus.OutOfDate);
            require(verifier.verify(quote, pck).status == expected[i], "behind");
            _answers(statuses[i], TcbStatus.UpToDate);
            require(verifier.verify(quote, pck).status == statuses[i], "current");
        }
        _answers(TcbStatus.Revoked, TcbStatus.UpToDate);
        vm.expectRevert(DcapVerifier.LevelRevoked.selector);
        verifier.verify(quote, pck);
        _answers(TcbStatus.UpToDate, TcbStatus.Revoked);
        vm.expectRevert(DcapVerifier.LevelRevoked.selector);
        verifier.verify(quote, pck);
    }

    function test_a_certificate_holds_from_its_first_to_its_last_second() external {
        PckCertificate.Pck memory chip = new PckReader().read(pck, true);
        require(chip.notBefore == time - 1 days && chip.notAfter == time + 7 * 365 days - 1 days, "dates");
        uint40 far = type(uint40).max;
        collateral.set(Tee.Sgx, TcbStatus.UpToDate, TcbStatus.UpToDate, far, far);
        vm.warp(chip.notBefore);
        require(verifier.verify(quote, pck).validUntil == chip.notAfter + 1);
        vm.warp(chip.notAfter);
        verifier.verify(quote, pck);
        bytes memory refused = abi.encodeWithSelector(DcapVerifier.PckNotValid.selector, chip.notBefore, chip.notAfter);
        vm.warp(chip.notAfter + 1);
        vm.expectRevert(refused);
        verifier.verify(quote, pck);
        vm.warp(chip.notBefore - 1);
        vm.expectRevert(refused);
        verifier.verify(quote, pck);
    }

    function test_a_revoked_chip_is_named_by_its_certificate() external {
        (bytes32 id, bool isRevoked) = verifier.revoked(Platform.Simulated, pck);
        require(id == enclaveId && !isRevoked);
        PckCertificate.Pck memory chip = new PckReader().read(pck, true);
        collateral.revoke(chip.facts.issuer, chip.facts.issuerKeyId, chip.facts.serial);
        (id, isRevoked) = verifier.revoked(Platform.Simulated, pck);
        require(id == enclaveId && isRevoked);
        vm.expectRevert(abi.encodeWithSelector(DcapVerifier.ForeignPlatform.selector, Platform.Sgx));
        verifier.revoked(Platform.Sgx, pck);
        bytes memory changed = Take.flipped(pck, 20, 3);
        vm.expectRevert(DcapVerifier.PckSignature.selector);
        verifier.revoked(Platform.Simulated, changed);
    }

    function test_where_the_precompile_is_missing_or_lies_nothing_is_deployed() external {
        vm.mockCall(address(0x100), "", "");
        vm.expectRevert(P256.P256Unavailable.selector);
        new DcapVerifier(collateral);
        vm.mockCall(address(0x100), "", abi.encode(1));
        vm.expectRevert(DcapVerifier.PrecompileLies.selector);
        new DcapVerifier(collateral);
    }

    function _answers(TcbStatus platform, TcbStatus qe) private {
        collateral.set(Tee.Sgx, platform, qe, uint40(time + 9 days), uint40(time + 8 days));
    }

    function _parts(bytes memory compact) private pure returns (bytes memory, bytes memory, bytes memory) {
        return (Pem.slice(compact, 0, 432), Pem.slice(compact, 432, 496), Pem.slice(compact, 496, 560));
    }
}
