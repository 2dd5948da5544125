// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Realm, Tee} from "../src/Types.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {SimulatedCollateral} from "../src/intel/SimulatedCollateral.sol";
import {Cheats, vm} from "./Cheats.sol";
import {SimulatedVendor} from "./SimulatedVendor.sol";

/// Revocation and order of lists, under a root of the test's own.
contract IntelCollateralRevocationTest is SimulatedVendor {
    SimulatedCollateral private collateral;
    bytes32 private signerId;
    bytes32 private platformId;
    uint160 private constant CHIP = uint160(bytes20(hex"1122334455667788990011223344556677889900"));

    function setUp() public {
        vm.warp(NOW);
        collateral = new SimulatedCollateral(root());
        collateral.submitCrl(list(ROOT_NAME, ROOT, none()));
        platformId = collateral.submitAuthority(platform());
        collateral.submitAuthority(processor());
        signerId = collateral.submitAuthority(signer());
        collateral.submitCrl(list(PLATFORM_NAME, PLATFORM, none()));
        collateral.submitCrl(list(PROCESSOR_NAME, PROCESSOR, none()));
        fill(signerId, SIGNER);
    }

    function test_a_simulated_deployment_says_so_in_its_name_and_in_each_event() public {
        assert(collateral.realm() == Realm.Simulated);
        assert(bytes10(bytes(collateral.name())) == bytes10("SIMULATED "));
        vm.recordLogs();
        uint160[] memory serials = new uint160[](2);
        (serials[0], serials[1]) = (uint160(keyId(PLATFORM)), CHIP);
        collateral.submitCrl(list(ROOT_NAME, ROOT, serials));
        collateral.submitAuthority(signer());
        fill(signerId, SIGNER);
        Cheats.Log[] memory logs = vm.getRecordedLogs();
        // Two certificates, an authority, a list; an authority; a TCB info and an identity.
        assert(logs.length == 7);
        for (uint256 i; i < logs.length; ++i) {
            bytes memory data = logs[i].data;
            assert(uint8(data[data.length - 1]) == uint8(Realm.Simulated));
        }
    }

    function test_a_chip_is_revoked_by_its_authority_and_stays_revoked() public {
        assert(stands(PLATFORM_NAME, PLATFORM));
        collateral.submitCrl(list(PLATFORM_NAME, PLATFORM, one(CHIP)));
        assert(collateral.isRevoked(keccak256(name(PLATFORM_NAME)), keyId(PLATFORM), CHIP));
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralRevoked.selector, platformId, CHIP));
        ask(PLATFORM_NAME, PLATFORM);
        // The other CA's chip of this number is another one.
        assert(stands(PROCESSOR_NAME, PROCESSOR));
        // A later list without it changes nothing.
        collateral.submitCrl(list(PLATFORM_NAME, PLATFORM, "250531000001Z", MONTH_AFTER, none(), ""));
        assert(!stands(PLATFORM_NAME, PLATFORM));
    }

    function test_lists_go_forward_in_time() public {
        bytes memory first = list(PLATFORM_NAME, PLATFORM, none());
        collateral.submitCrl(list(PLATFORM_NAME, PLATFORM, "250531000001Z", MONTH_AFTER, none(), ""));
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOlder.selector, NOW - 86400, NOW - 86399));
        collateral.submitCrl(first);
        bytes memory early = list(PLATFORM_NAME, PLATFORM, "250601000001Z", MONTH_AFTER, none(), "");
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralEarly.selector, NOW + 1));
        collateral.submitCrl(early);
        bytes memory over = list(PLATFORM_NAME, PLATFORM, "250531000001Z", "250531235959Z", none(), "");
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, NOW));
        collateral.submitCrl(over);
    }

    function test_without_a_current_list_nothing_stands() public {
        vm.warp(NOW + 29 days + 1); // documents are over, lists are not
        assert(!stands(PLATFORM_NAME, PLATFORM));
        vm.warp(NOW);
        // A CA that has no list yet.
        collateral = new SimulatedCollateral(root());
        collateral.submitCrl(list(ROOT_NAME, ROOT, none()));
        collateral.submitAuthority(platform());
        signerId = collateral.submitAuthority(signer());
        fill(signerId, SIGNER);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, 0));
        ask(PLATFORM_NAME, PLATFORM);
    }

    function test_the_end_of_the_roots_list_is_the_end_for_all() public {
        collateral.submitCrl(list(ROOT_NAME, ROOT, "250531000001Z", "250602000000Z", none(), ""));
        collateral.submitCrl(list(PLATFORM_NAME, PLATFORM, none()));
        fill(signerId, SIGNER);
        (,, uint40 until) = collateral.authorityState(platformId);
        assert(until == NOW + 86401);
        (,, until) = collateral.tcbInfoState(Tee.Sgx, 0x00A0B0C0D0E0);
        assert(until == NOW + 86401);
        vm.warp(NOW + 86401);
        assert(!stands(PLATFORM_NAME, PLATFORM));
        // Renewed, and told to the CA by its list, and to the documents by themselves.
        collateral.submitCrl(list(ROOT_NAME, ROOT, "250602000000Z", MONTH_AFTER, none(), ""));
        collateral.submitCrl(list(PLATFORM_NAME, PLATFORM, none()));
        assert(!stands(PLATFORM_NAME, PLATFORM));
        fill(signerId, SIGNER);
        assert(stands(PLATFORM_NAME, PLATFORM));
    }

    function test_the_root_revokes_an_authority() public {
        collateral.submitCrl(list(ROOT_NAME, ROOT, one(uint160(keyId(PLATFORM)))));
        assert(!stands(PLATFORM_NAME, PLATFORM));
        assert(stands(PROCESSOR_NAME, PROCESSOR));
        vm.expectRevert();
        collateral.authority(keccak256(name(PLATFORM_NAME)), keyId(PLATFORM));
        bytes memory certificate_ = platform();
        vm.expectRevert(
            abi.encodeWithSelector(Collateral.CollateralRevoked.selector, collateral.rootId(), uint160(keyId(PLATFORM)))
        );
        collateral.submitAuthority(certificate_);
        bytes memory crl = list(PLATFORM_NAME, PLATFORM, none());
        vm.expectRevert();
        collateral.submitCrl(crl);
    }

    function test_the_root_revokes_a_signer_and_with_it_what_was_signed() public {
        (, bytes memory qe) = reportOf();
        collateral.quotingEnclave(Tee.Sgx, qe);
        collateral.submitCrl(list(ROOT_NAME, ROOT, one(uint160(keyId(SIGNER)))));
        vm.expectRevert(Collateral.CollateralGeneration.selector);
        ask(PLATFORM_NAME, PLATFORM);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, 0));
        collateral.quotingEnclave(Tee.Sgx, qe);
        string memory text = sgx(level(bytes16(0), 0, "UpToDate"));
        bytes memory signature = sign(text, SIGNER);
        vm.expectRevert();
        collateral.submitTcbInfo(bytes(text), signature, signerId);
        // A CA that comes later does not bring the old documents back.
        bytes memory later = certificate(authorityPaper("SIMULATED PCK Platform CA 2", 0xe55));
        collateral.submitAuthority(later);
        collateral.submitCrl(list("SIMULATED PCK Platform CA 2", 0xe55, none()));
        assert(!stands("SIMULATED PCK Platform CA 2", 0xe55));
        // A new signer does, by signing again.
        bytes32 next = collateral.submitAuthority(certificate(signerPaper(SIGNER_NAME, 0xf66)));
        fill(next, 0xf66);
        assert(stands(PLATFORM_NAME, PLATFORM) && stands("SIMULATED PCK Platform CA 2", 0xe55));
        collateral.quotingEnclave(Tee.Sgx, qe);
    }

    function test_a_root_that_revokes_itself_takes_everything_with_it() public {
        collateral.submitCrl(list(ROOT_NAME, ROOT, one(uint160(keyId(ROOT)))));
        assert(!stands(PLATFORM_NAME, PLATFORM) && !stands(PROCESSOR_NAME, PROCESSOR));
        (, bytes memory qe) = reportOf();
        vm.expectRevert();
        collateral.quotingEnclave(Tee.Sgx, qe);
        bytes memory crl = list(ROOT_NAME, ROOT, "250531000001Z", MONTH_AFTER, none(), "");
        vm.expectRevert();
        collateral.submitCrl(crl);
        bytes memory certificate_ = certificate(signerPaper(SIGNER_NAME, 0xf66));
        vm.expectRevert();
        collateral.submitAuthority(certificate_);
    }

    function test_a_long_list_can_be_taken_in_parts() public {
        uint160[] memory serials = new uint160[](10);
        for (uint160 i; i < 10; ++i) {
            serials[i] = CHIP + i;
        }
        bytes memory crl = list(PLATFORM_NAME, PLATFORM, "250531000001Z", MONTH_AFTER, serials, "");
        collateral.submitRevocations(crl, 2, 3);
        for (uint160 i; i < 10; ++i) {
            assert(collateral.isRevoked(keccak256(name(PLATFORM_NAME)), keyId(PLATFORM), CHIP + i) == (i >= 2 && i < 5));
        }
        // The list is not the current one by that.
        (, uint40 listed,) = collateral.authorityState(platformId);
        assert(listed == NOW - 86400);
        collateral.submitRevocations(crl, 20, 20);
        collateral.submitCrl(crl);
        for (uint160 i; i < 10; ++i) {
            assert(collateral.isRevoked(keccak256(name(PLATFORM_NAME)), keyId(PLATFORM), CHIP + i));
        }
        bytes memory foreign = list(PLATFORM_NAME, PLATFORM, "250531000001Z", MONTH_AFTER, serials, "");
        foreign[foreign.length - 1] ^= 0x01;
        vm.expectRevert();
        collateral.submitRevocations(foreign, 0, 1);
    }

    function test_lists_outside_the_profile_are_refused() public {
        // Without end.
        bytes memory crl = list(PLATFORM_NAME, PLATFORM, DAY_BEFORE, "", none(), "");
        vm.expectRevert();
        collateral.submitCrl(crl);
        // With a critical extension: a list of changes.
        crl = list(PLATFORM_NAME, PLATFORM, DAY_BEFORE, MONTH_AFTER, none(), extension(hex"551d1b", true, hex"020101"));
        vm.expectRevert();
        collateral.submitCrl(crl);
        // By a CA in another's name, by a signer of documents, by nobody.
        crl = list(PLATFORM_NAME, PROCESSOR, none());
        vm.expectRevert();
        collateral.submitCrl(crl);
        crl = list(SIGNER_NAME, SIGNER, none());
        vm.expectRevert();
        collateral.submitCrl(crl);
        crl = list(ROOT_NAME, PLATFORM, none());
        vm.expectRevert();
        collateral.submitCrl(crl);
    }

    function fill(bytes32 id, uint256 key) private {
        string memory text = sgx(level(bytes16(0), 0, "UpToDate"));
        collateral.submitTcbInfo(bytes(text), sign(text, key), id);
        text = qeIdentity("QE", "17", partLevel(0, "UpToDate"));
        collateral.submitQeIdentity(bytes(text), sign(text, key), id);
    }

    function ask(string memory issuer, uint256 key) public view {
        PckFacts memory pck;
        (pck.issuer, pck.issuerKeyId, pck.serial) = (keccak256(name(issuer)), keyId(key), CHIP);
        pck.fmspc = 0x00A0B0C0D0E0;
        ModuleFacts memory module;
        collateral.standing(Tee.Sgx, pck, module);
    }

    function stands(string memory issuer, uint256 key) private view returns (bool) {
        try this.ask(issuer, key) {
            return true;
        } catch {
            return false;
        }
    }

    function reportOf() private pure returns (bytes32, bytes memory) {
        bytes32 mrsigner = hex"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        bytes memory report = abi.encodePacked(
            new bytes(48), hex"1100000000000000", new bytes(72), mrsigner, new bytes(96), hex"01000000", new bytes(124)
        );
        return (mrsigner, report);
    }
}
