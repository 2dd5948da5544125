// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, Platform, Realm, TcbStatus, Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {PckCertificate} from "../src/dcap/PckCertificate.sol";
import {Quote} from "../src/dcap/Quote.sol";
import {vm} from "./Cheats.sol";
import {ChipForge} from "./mocks/ChipForge.sol";
import {PckReader, Take} from "./mocks/Evidence.sol";
import {MockCollateral} from "./mocks/MockCollateral.sol";
import {Pem} from "./mocks/Pem.sol";

/// Evidence that is signed as it should be, and wrong in one way.
contract DcapForgedTest is ChipForge {
    MockCollateral private collateral = new MockCollateral(Realm.Simulated);
    DcapVerifier private verifier = new DcapVerifier(collateral);
    PckReader private reader = new PckReader();
    bytes private der = certified(toBeSigned());
    bytes private pck = Take.lean(der);
    bytes32 private enclaveId = bytes32(vm.parseJsonBytes(json, ".chips[0].enclaveId"));

    constructor() {
        uint256 time = vm.parseJsonUint(json, ".now");
        vm.warp(time);
        (bytes32 issuer, bytes20 keyId) = Take.issuer(der);
        (uint256 x, uint256 y) = vm.publicKeyP256(CA_KEY);
        collateral.trust(issuer, keyId, x, y);
        collateral.set(Tee.Tdx, TcbStatus.UpToDate, TcbStatus.UpToDate, uint40(time + 9 days), uint40(time + 8 days));
    }

    function test_a_simulated_tdx_quote_says_what_was_measured() external {
        bytes memory signed = domain();
        ModuleFacts memory module;
        module.teeTcbSvn = hex"06010000000000000000000000000000";
        collateral.demand("SIMUL\x00", 0, hex"0e0e100fffff01000000000000000000", 15, module);
        Verdict memory verdict = verifier.verify(quoted(signed, qeReport()), pck);
        require(verdict.platform == Platform.Simulated && verdict.enclaveId == enclaveId, "chip");
        // MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to RTMR3 are a0 to a7.
        bytes memory registers =
            bytes.concat(Pem.slice(signed, 184, 232), Pem.slice(signed, 376, 520), Pem.slice(signed, 232, 376));
        require(registers[0] == 0xa0 && registers[48] == 0xa4 && registers[143] == 0xa5 && registers[335] == 0xa3);
        require(verdict.measurement == sha256(bytes.concat("glacier/measurement/v1\x00tdx\x00", registers)), "code");
        require(
            verdict.reportData == Pem.word(signed, 568) && verdict.reportTag == Pem.word(signed, 600), "report data"
        );
    }

    function test_a_kept_key_speaks_for_the_module_that_was_judged_alone() external {
        bytes memory signed = domain();
        (bytes memory own, bytes memory key) = signature(signed);
        Verdict memory verdict = verifier.verify(quoted(signed, qeReport()), pck);
        require(verifier.verifyKept(signed, own, key, enclaveId).measurement == verdict.measurement, "kept");
        uint8[4] memory places = [48, 112, 159, 167];
        for (uint256 i = 0; i < 4; ++i) {
            bytes memory other = domain();
            other[places[i]] ^= 0x01;
            (own, key) = signature(other);
            vm.expectRevert(abi.encodeWithSelector(DcapVerifier.KeyNotKept.selector, enclaveId));
            verifier.verifyKept(other, own, key, enclaveId);
        }
        (TcbStatus status, uint40 until) =
            verifier.kept(key, enclaveId, bytes.concat(Pem.slice(signed, 48, 64), Pem.slice(signed, 112, 168)));
        require(status == TcbStatus.UpToDate && until == verdict.validUntil, "entry");
    }

    function test_a_kept_key_signs_for_itself() external {
        bytes memory signed = domain();
        (bytes memory own, bytes memory key) = signature(signed);
        verifier.verify(quoted(signed, qeReport()), pck);
        signed[570] ^= 0x01;
        vm.expectRevert(DcapVerifier.QuoteSignature.selector);
        verifier.verifyKept(signed, own, key, enclaveId);
        bytes memory longer = bytes.concat(own, hex"00");
        vm.expectRevert(abi.encodeWithSelector(Quote.QuoteLength.selector, 65, 64));
        verifier.verifyKept(signed, longer, key, enclaveId);
        longer = bytes.concat(key, hex"00");
        vm.expectRevert(abi.encodeWithSelector(Quote.QuoteLength.selector, 65, 64));
        verifier.verifyKept(signed, own, longer, enclaveId);
        longer = bytes.concat(signed, hex"00");
        vm.expectRevert(abi.encodeWithSelector(Quote.QuoteLength.selector, 633, 632));
        verifier.verifyKept(longer, own, key, enclaveId);
    }

    /// ICSSD 16, LASS 27, SEPT_VE_DISABLE 28, PKS 30, KL 31, TPA 62, PERFMON 63.
    function test_a_td_that_is_open_to_others_is_refused_and_no_other() external {
        uint64 allowed = 1 << 16 | 1 << 27 | 1 << 28 | 1 << 30 | 1 << 31 | 1 << 62 | 1 << 63;
        for (uint256 bit = 0; bit < 64; ++bit) {
            bytes memory signed = domain();
            signed[168 + bit / 8] |= bytes1(uint8(1 << (bit % 8)));
            bytes memory quote = quoted(signed, qeReport());
            if (allowed >> bit & 1 == 0) {
                vm.expectRevert(abi.encodeWithSelector(Quote.TdAttributes.selector, bytes8(Pem.word(signed, 168))));
            }
            verifier.verify(quote, pck);
        }
        bytes memory open = domain();
        open[171] = 0;
        bytes memory refused = quoted(open, qeReport());
        vm.expectRevert(abi.encodeWithSelector(Quote.TdAttributes.selector, bytes8(0)));
        verifier.verify(refused, pck);
    }

    function test_what_is_no_quote_of_the_two_kinds_is_refused_by_name() external {
        _refused(0, 0x05, abi.encodeWithSelector(Quote.QuoteVersion.selector, uint16(5)));
        _refused(1, 0x01, abi.encodeWithSelector(Quote.QuoteVersion.selector, uint16(0x104)));
        _refused(2, 0x03, abi.encodeWithSelector(Quote.AttestationKeyType.selector, uint16(3)));
        _refused(4, 0x00, abi.encodeWithSelector(Quote.TeeType.selector, bytes4(0)));
        _refused(7, 0x01, abi.encodeWithSelector(Quote.TeeType.selector, bytes4(hex"81000001")));
        _refused(0, 0x03, abi.encodeWithSelector(Quote.TeeType.selector, bytes4(hex"81000000")));
        bytes16 vendor = hex"939a7233f79c4ca9940a0db3957f0608";
        _refused(27, 0x08, abi.encodeWithSelector(Quote.QuotingVendor.selector, vendor));
    }

    function test_a_quoting_enclave_that_is_open_to_the_host_is_refused() external {
        bytes memory report = qeReport();
        report[48] |= 0x02;
        bytes memory quote = quoted(domain(), report);
        vm.expectRevert(DcapVerifier.QeDebug.selector);
        verifier.verify(quote, pck);
    }

    function test_an_attestation_key_that_nobody_vouches_for_is_refused() external {
        bytes memory report = qeReport();
        report[320] ^= 0x01;
        bytes memory quote = quoted(domain(), report);
        vm.expectRevert(DcapVerifier.AttestationKeyNotVouched.selector);
        verifier.verify(quote, pck);
        report = qeReport();
        report[383] = 0x01;
        quote = quoted(domain(), report);
        vm.expectRevert(DcapVerifier.AttestationKeyNotVouched.selector);
        verifier.verify(quote, pck);
    }

    /// An INTEGER is one to three bytes, and in its shortest form.
    function test_every_pce_svn_has_its_one_encoding() external view {
        uint16[7] memory values = [0, 1, 0x7f, 0x80, 0x7fff, 0x8000, 0xffff];
        bytes[7] memory encodings = [
            bytes(hex"020100"), hex"020101", hex"02017f", hex"02020080", hex"02027fff", hex"0203008000", hex"020300ffff"
        ];
        for (uint256 i = 0; i < 7; ++i) {
            bytes memory lean = pck;
            put(lean, 236, abi.encodePacked(values[i]));
            PckCertificate.Pck memory chip = reader.read(lean, true);
            require(chip.facts.pceSvn == values[i], "value");
            require(chip.digest == sha256(_withPceSvn(encodings[i])), "digest");
            require(i == 3 || chip.digest != sha256(_withPceSvn(hex"02020080")), "digest of another");
        }
    }

    function test_every_component_has_its_one_encoding() external view {
        // The fifth is 255, in two bytes.
        bytes memory tbs = toBeSigned();
        uint256 place = Take.find(tbs, hex"01020502") + 3;
        require(tbs[place] == 0x02 && tbs[place + 1] == 0x02 && tbs[place + 2] == 0x00 && tbs[place + 3] == 0xff);
        bytes memory lean = pck;
        require(lean[208] == 0xff, "fifth");
        for (uint256 value = 0x80; value < 0x100; ++value) {
            tbs[place + 3] = bytes1(uint8(value));
            lean[208] = bytes1(uint8(value));
            require(reader.read(lean, true).digest == sha256(tbs), "digest");
        }
        lean[208] = 0x7f;
        tbs[place + 3] = 0x7f;
        require(reader.read(lean, true).digest != sha256(tbs), "two bytes for what fits one");
    }

    function test_every_serial_number_has_its_one_encoding() external view {
        bytes memory lean = pck;
        for (uint256 bits = 1; bits <= 160; ++bits) {
            uint160 serial = uint160((1 << bits) - 1);
            put(lean, 128, abi.encodePacked(serial));
            bytes memory number = integer(bytes32(uint256(serial)));
            bytes memory tbs = toBeSigned();
            bytes memory rest = Pem.slice(tbs, 31, tbs.length);
            tbs =
                bytes.concat(hex"3082", bytes2(uint16(5 + number.length + rest.length)), hex"a003020102", number, rest);
            require(reader.read(lean, true).digest == sha256(tbs), vm.toString(bits));
        }
    }

    /// Each byte of what the CA signs, changed and signed again: what differs from chip to chip can be said, and nothing else.
    function test_another_shape_cannot_be_said_though_it_is_signed() external view {
        bytes memory tbs = toBeSigned();
        uint256 said = 0;
        for (uint256 i = 0; i < tbs.length; ++i) {
            tbs[i] ^= 0x40;
            try reader.leanOf(certified(tbs)) returns (bytes memory lean) {
                try reader.read(lean, true) returns (PckCertificate.Pck memory chip) {
                    if (chip.digest == sha256(tbs)) ++said;
                } catch {}
            } catch {}
            tbs[i] ^= 0x40;
        }
        // Serial 19 or 20, issuer 119, key 64, key identifiers 40, URI 98, PPID, components and CPUSVN 16 each, PCE SVN, PCEID
        // 2, FMSPC 6, the rest 119.
        require(said > 480 && said < 540, vm.toString(said));
    }

    function test_what_is_no_lean_certificate_is_refused() external {
        bytes memory lean = Pem.slice(pck, 0, 273);
        vm.expectRevert(abi.encodeWithSelector(PckCertificate.PckShape.selector, 273));
        reader.read(lean, true);
        lean = bytes.concat(pck, new bytes(4096));
        vm.expectRevert(abi.encodeWithSelector(PckCertificate.PckShape.selector, lean.length));
        reader.read(lean, true);
        // Issuer and points reach past the end; another tag; a long length; another extension.
        lean = Pem.slice(pck, 0, 450);
        vm.expectRevert(abi.encodeWithSelector(PckCertificate.PckShape.selector, 274));
        reader.read(lean, true);
        uint256 points = 274 + 2 + uint8(pck[275]);
        uint256[5] memory places = [uint256(274), 275, points, points + 1, points + 6];
        for (uint256 i = 0; i < 5; ++i) {
            lean = Take.flipped(pck, places[i], 7);
            vm.expectRevert(abi.encodeWithSelector(PckCertificate.PckShape.selector, 274));
            reader.read(lean, true);
        }
        // A digit that is none, in either date; a byte between them; a year after 2049.
        bytes[4] memory others = [Take.flipped(pck, 246, 6), Take.flipped(pck, 272, 3), Take.flipped(pck, 259, 0), pck];
        others[3][246] = "5";
        others[1][272] = ":";
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectRevert(abi.encodeWithSelector(PckCertificate.PckShape.selector, 246));
            reader.read(others[i], true);
        }
        require(reader.read(pck, true).digest != reader.read(pck, false).digest, "subject");
    }

    /// A chip whose certificate has Intel's subject, and our CA.
    function test_a_production_verifier_calls_a_chip_by_the_platform_that_is_asked_for() external {
        MockCollateral other = new MockCollateral(Realm.Production);
        (bytes32 issuer, bytes20 keyId) = Take.issuer(der);
        (uint256 x, uint256 y) = vm.publicKeyP256(CA_KEY);
        other.trust(issuer, keyId, x, y);
        DcapVerifier production = new DcapVerifier(other);
        bytes memory lean = pck;
        vm.expectRevert(DcapVerifier.PckSignature.selector);
        production.revoked(Platform.Sgx, lean);
        (bytes32 r, bytes32 s) = vm.signP256(CA_KEY, reader.read(lean, false).digest);
        put(lean, 0, abi.encode(r, s));
        bytes memory ppid = vm.parseJsonBytes(json, ".chips[0].ppid");
        (bytes32 sgx,) = production.revoked(Platform.Sgx, lean);
        (bytes32 tdx,) = production.revoked(Platform.Tdx, lean);
        require(sgx == sha256(bytes.concat("glacier/enclave-id/v1\x00sgx\x00", ppid)), "sgx");
        require(tdx == sha256(bytes.concat("glacier/enclave-id/v1\x00tdx\x00", ppid)), "tdx");
        vm.expectRevert(abi.encodeWithSelector(DcapVerifier.ForeignPlatform.selector, Platform.Simulated));
        production.revoked(Platform.Simulated, lean);
        vm.expectRevert(abi.encodeWithSelector(DcapVerifier.ForeignPlatform.selector, Platform.None));
        production.revoked(Platform.None, lean);
        require(keccak256(bytes(production.name())) == keccak256("Glacier DCAP Verifier"), "name");
    }

    function _refused(uint256 place, uint8 value, bytes memory why) private {
        bytes memory signed = domain();
        signed[place] = bytes1(value);
        bytes memory quote = quoted(signed, qeReport());
        vm.expectRevert(why);
        verifier.verify(quote, pck);
    }

    /// Member 17 of the TCB has this value; all lengths around it follow.
    function _withPceSvn(bytes memory value) private view returns (bytes memory out) {
        bytes memory tbs = toBeSigned();
        uint256 place = Take.find(tbs, hex"0d010211") - 11;
        require(tbs[place] == 0x30 && tbs[place + 1] == 0x10, "member");
        out = bytes.concat(
            Pem.slice(tbs, 0, place + 1),
            bytes1(uint8(13 + value.length)),
            Pem.slice(tbs, place + 2, place + 15),
            value,
            Pem.slice(tbs, place + 18, tbs.length)
        );
        (uint256 extensions, uint256 sgx) = (_extensions(tbs), _sgx(tbs));
        uint256[8] memory lengths =
            [uint256(2), extensions + 2, extensions + 6, sgx + 2, sgx + 17, sgx + 21, sgx + 57, sgx + 73];
        for (uint256 i = 0; i < 8; ++i) {
            uint256 length = _length(tbs, lengths[i]) + value.length - 3;
            put(out, lengths[i], abi.encodePacked(uint16(length)));
        }
    }

    /// [3], behind the key.
    function _extensions(bytes memory tbs) private pure returns (uint256) {
        return Take.find(tbs, hex"03420004") + 68;
    }

    /// The SGX extension.
    function _sgx(bytes memory tbs) private pure returns (uint256) {
        return Take.find(tbs, hex"06092a86") - 4;
    }

    function _length(bytes memory data, uint256 place) private pure returns (uint256) {
        return uint256(uint8(data[place])) << 8 | uint8(data[place + 1]);
    }
}
