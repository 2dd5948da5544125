// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Standing, TcbStatus, Tee} from "../src/Types.sol";
import {Json} from "../src/intel/Json.sol";
import {Level} from "../src/intel/Level.sol";
import {QeIdentity} from "../src/intel/QeIdentity.sol";
import {SimulatedCollateral} from "../src/intel/SimulatedCollateral.sol";
import {TcbInfo} from "../src/intel/TcbInfo.sol";
import {vm} from "./Cheats.sol";
import {SimulatedVendor} from "./SimulatedVendor.sol";

/// What documents say, under a root of the test's own: levels, modules, identities, and texts that are not read.
contract IntelCollateralDocumentsTest is SimulatedVendor {
    SimulatedCollateral private collateral;
    bytes32 private signerId;

    string private constant MODULE =
        '{"mrsigner":"000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000","attributes":"0000000000000000","attributesMask":"FFFFFFFFFFFFFFFF"';
    string private constant LATER =
        '","mrsigner":"112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00","attributes":"00000000000000F0","attributesMask":"FFFFFFFFFFFFFFF0","tcbLevels":[';

    function setUp() public {
        vm.warp(NOW);
        collateral = new SimulatedCollateral(root());
        collateral.submitCrl(list(ROOT_NAME, ROOT, none()));
        collateral.submitAuthority(platform());
        signerId = collateral.submitAuthority(signer());
        collateral.submitCrl(list(PLATFORM_NAME, PLATFORM, none()));
    }

    function test_the_first_level_that_a_chip_reaches_is_its_own() public {
        bytes16 top = 0x05050505050505050505050505050505;
        bytes16 low = 0x05050505050505050505050505050501;
        take(
            sgx(
                string.concat(
                    level(top, 13, "UpToDate"),
                    ",",
                    level(top, 5, "OutOfDate"),
                    ",",
                    level(low, 13, "ConfigurationAndSWHardeningNeeded"),
                    ",",
                    level(low, 5, "OutOfDateConfigurationNeeded"),
                    ",",
                    level(0, 0, "Revoked")
                )
            )
        );
        assert(ask(top, 13) == TcbStatus.UpToDate);
        assert(ask(bytes16(type(uint128).max), 65535) == TcbStatus.UpToDate);
        assert(ask(top, 12) == TcbStatus.OutOfDate);
        assert(ask(low, 13) == TcbStatus.ConfigurationAndSWHardeningNeeded);
        assert(ask(low, 5) == TcbStatus.OutOfDateConfigurationNeeded);
        vm.expectRevert(TcbInfo.TcbInfoLevelRevoked.selector);
        ask(top, 4);
        vm.expectRevert(TcbInfo.TcbInfoLevelRevoked.selector);
        ask(0xff04ffffffffffffffffffffffffffff, 13);
    }

    function test_a_chip_below_every_level_is_refused() public {
        take(sgx(level(0x00000000000000000000000000000001, 1, "UpToDate")));
        vm.expectRevert(TcbInfo.TcbInfoNoLevel.selector);
        ask(0xffffffffffffffffffffffffffffff00, 1);
        vm.expectRevert(TcbInfo.TcbInfoNoLevel.selector);
        ask(bytes16(type(uint128).max), 0);
    }

    function test_a_level_is_reached_in_every_component(bytes16 has, bytes16 asks, bool near) public {
        // Random components all but never reach each other: take most from one another.
        if (near) has |= asks;
        take(sgx(level(asks, 0, "UpToDate")));
        bool reaches = true;
        for (uint256 i; i < 16; ++i) {
            reaches = reaches && uint8(has[i]) >= uint8(asks[i]);
        }
        if (!reaches) vm.expectRevert(TcbInfo.TcbInfoNoLevel.selector);
        ask(has, 0);
    }

    function test_a_chip_of_another_pce_or_model_is_refused() public {
        take(sgx(level(0, 0, "UpToDate")));
        PckFacts memory pck = chip(0, 0);
        ModuleFacts memory module;
        pck.pceId = 0x0001;
        vm.expectRevert(abi.encodeWithSelector(TcbInfo.TcbInfoPceId.selector, bytes2(0), bytes2(0x0001)));
        collateral.standing(Tee.Sgx, pck, module);
        pck.pceId = 0;
        pck.fmspc = 0x00A0B0C0D0E1;
        vm.expectRevert();
        collateral.standing(Tee.Sgx, pck, module);
        // SGX says nothing of TDX.
        pck.fmspc = 0x00A0B0C0D0E0;
        vm.expectRevert();
        collateral.standing(Tee.Tdx, pck, module);
    }

    function test_a_module_of_version_0_is_judged_by_the_platforms_levels() public {
        take(
            tdx(
                string.concat(',"tdxModule":', MODULE, "}"), level(0, 0, 0x03000400000000000000000000000000, "UpToDate")
            )
        );
        ModuleFacts memory module;
        module.teeTcbSvn = 0x03000400000000000000000000000000;
        assert(askTdx(module) == TcbStatus.UpToDate);
        module.teeTcbSvn = 0x02000400000000000000000000000000;
        vm.expectRevert(TcbInfo.TcbInfoNoLevel.selector);
        askTdx(module);
        module.teeTcbSvn = 0x03000300000000000000000000000000;
        vm.expectRevert(TcbInfo.TcbInfoNoLevel.selector);
        askTdx(module);
        module.teeTcbSvn = 0x03010400000000000000000000000000;
        vm.expectRevert(abi.encodeWithSelector(TcbInfo.TcbInfoModuleVersion.selector, 1));
        askTdx(module);
        module.teeTcbSvn = 0x03000400000000000000000000000000;
        module.mrSignerSeamLow = bytes16(uint128(1));
        vm.expectRevert(TcbInfo.TcbInfoModule.selector);
        askTdx(module);
        module.mrSignerSeamLow = 0;
        module.mrSignerSeamHigh = bytes32(uint256(1));
        vm.expectRevert(TcbInfo.TcbInfoModule.selector);
        askTdx(module);
        module.mrSignerSeamHigh = 0;
        module.seamAttributes = 0x0000000000000001;
        vm.expectRevert(TcbInfo.TcbInfoModule.selector);
        askTdx(module);
    }

    function test_a_later_module_has_levels_of_its_own() public {
        takeLater("SWHardeningNeeded");
        ModuleFacts memory module = later(0x05010400000000000000000000000000);
        assert(askTdx(module) == TcbStatus.SWHardeningNeeded);
        // Above the platform level's own number for the module, which does not count.
        module.teeTcbSvn = 0x04010400000000000000000000000000;
        assert(askTdx(module) == TcbStatus.OutOfDate);
        module.teeTcbSvn = 0x02010400000000000000000000000000;
        vm.expectRevert(TcbInfo.TcbInfoLevelRevoked.selector);
        askTdx(module);
        module.teeTcbSvn = 0x01010400000000000000000000000000;
        vm.expectRevert(TcbInfo.TcbInfoModuleNoLevel.selector);
        askTdx(module);
        // What is under the module counts.
        module.teeTcbSvn = 0x05010300000000000000000000000000;
        vm.expectRevert(TcbInfo.TcbInfoNoLevel.selector);
        askTdx(module);
        // The second identity, of version 3, in another order of signers.
        module.teeTcbSvn = 0x00030400000000000000000000000000;
        assert(askTdx(module) == TcbStatus.SWHardeningNeeded);
        module.teeTcbSvn = 0x05020400000000000000000000000000;
        vm.expectRevert(abi.encodeWithSelector(TcbInfo.TcbInfoModuleVersion.selector, 2));
        askTdx(module);
        module = later(0x05010400000000000000000000000000);
        module.seamAttributes = 0x00000000000000f1; // a bit outside the mask
        vm.expectRevert(TcbInfo.TcbInfoModule.selector);
        askTdx(module);
        module.seamAttributes = 0x00000000000000e0;
        vm.expectRevert(TcbInfo.TcbInfoModule.selector);
        askTdx(module);
        ModuleFacts memory first;
        first.teeTcbSvn = 0x05010400000000000000000000000000;
        vm.expectRevert(TcbInfo.TcbInfoModule.selector);
        askTdx(first);
    }

    function test_a_part_that_is_behind_makes_the_whole_behind() public pure {
        TcbStatus[6] memory want = [
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDateConfigurationNeeded
        ];
        for (uint256 i; i < 6; ++i) {
            assert(Level.folded(TcbStatus(i), TcbStatus.UpToDate) == TcbStatus(i));
            assert(Level.folded(TcbStatus(i), TcbStatus.OutOfDate) == want[i]);
            assert(Level.folded(TcbStatus(i), TcbStatus.Revoked) == TcbStatus.Revoked);
        }
    }

    function test_a_quoting_enclave_is_the_identitys_in_every_field() public {
        string memory text = qeIdentity(
            "QE",
            "17",
            string.concat(partLevel(258, "UpToDate"), ",", partLevel(5, "OutOfDate"), ",", partLevel(1, "Revoked"))
        );
        collateral.submitQeIdentity(bytes(text), sign(text, SIGNER), signerId);
        assert(askQe(0, 0, 258) == TcbStatus.UpToDate);
        assert(askQe(0, 0, 259) == TcbStatus.UpToDate);
        assert(askQe(0, 0, 257) == TcbStatus.OutOfDate);
        // Masked attributes may be anything.
        assert(askQe(48, 0x04, 257) == TcbStatus.OutOfDate);
        assert(askQe(56, 0xff, 257) == TcbStatus.OutOfDate);
        vm.expectRevert(QeIdentity.QeIdentityLevelRevoked.selector);
        askQe(0, 0, 4);
        vm.expectRevert(abi.encodeWithSelector(QeIdentity.QeIdentityNoLevel.selector, 0));
        askQe(0, 0, 0);
        vm.expectRevert(QeIdentity.QeIdentityAttributes.selector);
        askQe(48, 0x02, 258); // debug, which the mask counts
        vm.expectRevert(QeIdentity.QeIdentityAttributes.selector);
        askQe(55, 0x80, 258);
        vm.expectRevert(QeIdentity.QeIdentityAttributes.selector);
        askQe(19, 0x01, 258);
        vm.expectRevert();
        askQe(128, 0x80, 258);
        vm.expectRevert();
        askQe(159, 0x01, 258);
        vm.expectRevert(abi.encodeWithSelector(QeIdentity.QeIdentityProduct.selector, 1, 257));
        askQe(257, 0x01, 258);
        vm.expectRevert(abi.encodeWithSelector(QeIdentity.QeIdentityReportLength.selector, 383));
        collateral.quotingEnclave(Tee.Sgx, new bytes(383));
        // It is not the other one's.
        vm.expectRevert();
        collateral.quotingEnclave(Tee.Tdx, new bytes(384));
    }

    function test_texts_outside_the_grammar_are_refused() public {
        string memory good = level(0, 0, "UpToDate");
        take(sgx(good));
        refused(sgx(""));
        refused(sgx(string.concat(good, ",")));
        refused(sgx(string.concat(good, " ")));
        refused(sgx(level(0, 65536, "UpToDate")));
        refused(sgx(level(0, 0, "uptodate")));
        refused(sgx(level(0, 0, "TDRelaunchAdvised")));
        refused(sgx(level(0, 0, "ConfigurationAndSWHardeningNeedex")));
        refused(sgx(level(0, 0, 0, "UpToDate"))); // of TDX
        refused(tcbInfo("SNP", "17", "", good));
        refused(tcbInfo("SGX", "65536", "", good));
        refused(tcbInfo("SGX", "017", "", good));
        refused(tcbInfo("SGX", "", "", good));
        refused(tcbInfo("SGX", "-1", "", good));
        refused(tcbInfo("SGX", "17", ',"more":1', good));
        refused(tdx("", level(0, 0, 0, "UpToDate"))); // no module
        refused(tdx(string.concat(',"tdxModule":', MODULE, "}"), good));
        // Levels that are not best first.
        refused(sgx(string.concat(good, ",", level(0, 1, "UpToDate"))));
        refused(sgx(string.concat(good, ",", level(bytes16(uint128(1)), 0, "UpToDate"))));
    }

    function test_numbers_and_digits_have_one_form() public {
        string memory text = sgx(level(0, 0, "UpToDate"));
        refused(replaced(text, '"version":3', '"version":2'));
        refused(replaced(text, '"tcbType":0', '"tcbType":1'));
        refused(replaced(text, "00A0B0C0D0E0", "00A0B0C0D0G0"));
        refused(replaced(text, "00A0B0C0D0E0", "00A0B0C0D0/0"));
        refused(replaced(text, "00A0B0C0D0E0", "00A0B0C0D0o0"));
        refused(replaced(text, "2025-05-31T", "2025-05-32T"));
        refused(replaced(text, "2025-05-31T", "2025-05-31 "));
        refused(replaced(text, '{"svn":0}', '{"svn":00'));
        refused(replaced(text, '"pcesvn":0', '"pcesvn":"'));
        take(replaced(text, "00A0B0C0D0E0", "00a0b0c0d0e0"));
    }

    function take(string memory text) private {
        collateral.submitTcbInfo(bytes(text), sign(text, SIGNER), signerId);
    }

    function refused(string memory text) private {
        (bool taken,) = address(collateral)
            .call(abi.encodeCall(collateral.submitTcbInfo, (bytes(text), sign(text, SIGNER), signerId)));
        assert(!taken);
    }

    function takeLater(string memory status) private {
        take(
            tdx(
                string.concat(
                    string.concat(',"tdxModule":', MODULE, '},"tdxModuleIdentities":[{"id":"TDX_03', LATER),
                    string.concat(partLevel(0, "UpToDate"), ']},{"id":"TDX_01', LATER, partLevel(5, "UpToDate")),
                    string.concat(",", partLevel(3, "OutOfDate"), ",", partLevel(2, "Revoked"), "]}]")
                ),
                level(0, 0, 0x09000400000000000000000000000000, status)
            )
        );
    }

    function later(bytes16 svn) private pure returns (ModuleFacts memory) {
        return ModuleFacts(
            svn,
            0x112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00,
            0x112233445566778899aabbccddeeff00,
            0x00000000000000f0
        );
    }

    function chip(bytes16 svns, uint16 pceSvn) private pure returns (PckFacts memory pck) {
        (pck.issuer, pck.issuerKeyId, pck.serial) = (keccak256(name(PLATFORM_NAME)), keyId(PLATFORM), 7);
        (pck.fmspc, pck.components, pck.pceSvn) = (0x00A0B0C0D0E0, svns, pceSvn);
    }

    function ask(bytes16 svns, uint16 pceSvn) private view returns (TcbStatus) {
        ModuleFacts memory module;
        return collateral.standing(Tee.Sgx, chip(svns, pceSvn), module).status;
    }

    function askTdx(ModuleFacts memory module) private view returns (TcbStatus) {
        return collateral.standing(Tee.Tdx, chip(0, 0), module).status;
    }

    /// The report of the right quoting enclave with one byte changed.
    function askQe(uint256 index, uint8 change, uint16 svn) private view returns (TcbStatus status) {
        bytes memory report = abi.encodePacked(
            new bytes(48),
            hex"1100000000000000",
            new bytes(72),
            hex"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            new bytes(96),
            hex"0100",
            uint8(svn),
            uint8(svn >> 8),
            new bytes(124)
        );
        report[index] ^= bytes1(change);
        (status,) = collateral.quotingEnclave(Tee.Sgx, report);
    }

    function replaced(string memory text, string memory from, string memory to) private pure returns (string memory) {
        bytes memory copy = bytes.concat(bytes(text));
        for (uint256 i; i + bytes(from).length <= copy.length; ++i) {
            uint256 j;
            while (j < bytes(from).length && copy[i + j] == bytes(from)[j]) ++j;
            if (j < bytes(from).length) continue;
            for (j = 0; j < bytes(to).length; ++j) {
                copy[i + j] = bytes(to)[j];
            }
            return string(copy);
        }
        revert(from);
    }
}
