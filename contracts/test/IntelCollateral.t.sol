// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ModuleFacts, PckFacts, Realm, Tee} from "../src/Types.sol";
import {Certificate} from "../src/intel/Certificate.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {Der} from "../src/intel/Der.sol";
import {IntelCollateral} from "../src/intel/IntelCollateral.sol";
import {vm} from "./Cheats.sol";
import {IntelCollateralVectors} from "./IntelCollateralVectors.sol";

/// Intel's own material: what is taken, and that nothing else is.
contract IntelCollateralTest is IntelCollateralVectors {
    string private constant NEW_SGX = "sgx/sgx-606a-svr2-2026/collateral-2026-07-30-eval21.json";
    uint256 private constant NEW_SGX_AT = 1785600000;
    string private constant NEW_TDX = "tdx/tdx4-b0c0-dstack-2026/collateral-2026-08-13-eval20.json";
    uint256 private constant NEW_TDX_AT = 1787894484;

    function test_a_deployment_says_which_realm_it_is() public {
        IntelCollateral collateral = new IntelCollateral();
        assert(collateral.realm() == Realm.Production);
        assert(keccak256(bytes(collateral.name())) == keccak256("Glacier Intel collateral"));
    }

    function test_nothing_is_taken_before_the_roots_list() public withVectors {
        Case memory c = load(NEW_TDX, NEW_TDX_AT, Tee.Tdx);
        vm.warp(c.time);
        Collateral collateral = new IntelCollateral();
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, 0));
        collateral.submitAuthority(authorityDer("pck-platform-ca"));
        vm.expectRevert();
        collateral.submitCrl(c.pckCrl);
        collateral.submitCrl(c.rootCrl);
        vm.expectRevert(); // no CA
        collateral.submitCrl(c.pckCrl);
        collateral.submitAuthority(authorityDer("pck-platform-ca"));
        collateral.submitCrl(c.pckCrl);
    }

    function test_a_certificate_with_a_changed_bit_is_refused() public withVectors {
        (Collateral collateral,) = prepared(load(NEW_TDX, NEW_TDX_AT, Tee.Tdx));
        string[3] memory files = ["pck-platform-ca", "pck-processor-ca", "tcb-signing-2025"];
        for (uint256 f; f < files.length; ++f) {
            bytes memory der = authorityDer(files[f]);
            // Every byte, another bit of each.
            for (uint256 i; i < der.length; ++i) {
                refusedCertificate(collateral, flipped(der, i, (i + f) % 8));
            }
            refusedCertificate(collateral, bytes.concat(der, hex"00"));
            assert(collateral.submitAuthority(der) != 0);
        }
    }

    function test_a_list_with_a_changed_bit_is_refused() public withVectors {
        Case memory c = load(NEW_TDX, NEW_TDX_AT, Tee.Tdx);
        (Collateral collateral,) = prepared(c);
        for (uint256 i; i < c.rootCrl.length; ++i) {
            refusedList(collateral, flipped(c.rootCrl, i, i % 8));
        }
        for (uint256 i; i < c.pckCrl.length; i += i < 200 || i > c.pckCrl.length - 150 ? 1 : 13) {
            refusedList(collateral, flipped(c.pckCrl, i, i % 8));
        }
        refusedList(collateral, bytes.concat(c.pckCrl, hex"00"));
        collateral.submitCrl(c.pckCrl);
    }

    function test_a_document_with_a_changed_bit_is_refused() public withVectors {
        Case memory c = load(NEW_TDX, NEW_TDX_AT, Tee.Tdx);
        (Collateral collateral, bytes32 signer) = prepared(c);
        for (uint256 i; i < c.tcbInfo.length; i += 11) {
            refusedTcbInfo(collateral, flipped(c.tcbInfo, i, i % 8), c.tcbInfoSignature, signer);
        }
        for (uint256 i; i < c.qeIdentity.length; i += 3) {
            refusedQeIdentity(collateral, flipped(c.qeIdentity, i, i % 8), c.qeIdentitySignature, signer);
        }
        for (uint256 i; i < 64; ++i) {
            refusedTcbInfo(collateral, c.tcbInfo, flipped(c.tcbInfoSignature, i, i % 8), signer);
            refusedQeIdentity(collateral, c.qeIdentity, flipped(c.qeIdentitySignature, i, i % 8), signer);
        }
        refusedTcbInfo(collateral, bytes.concat(c.tcbInfo, " "), c.tcbInfoSignature, signer);
        refusedTcbInfo(collateral, c.tcbInfo, bytes.concat(c.tcbInfoSignature, hex"00"), signer);
        // One is not taken for the other.
        refusedTcbInfo(collateral, c.qeIdentity, c.qeIdentitySignature, signer);
        refusedQeIdentity(collateral, c.tcbInfo, c.tcbInfoSignature, signer);
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        collateral.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, signer);
    }

    function test_no_changed_bit_is_taken(uint256 which, uint256 position, uint8 bit) public withVectors {
        Case memory c = load(NEW_TDX, NEW_TDX_AT, Tee.Tdx);
        (Collateral collateral, bytes32 signer) = prepared(c);
        which %= 6;
        if (which == 0) refusedTcbInfo(collateral, anywhere(c.tcbInfo, position, bit), c.tcbInfoSignature, signer);
        if (which == 1) refusedTcbInfo(collateral, c.tcbInfo, anywhere(c.tcbInfoSignature, position, bit), signer);
        if (which == 2) {
            refusedQeIdentity(collateral, anywhere(c.qeIdentity, position, bit), c.qeIdentitySignature, signer);
        }
        if (which == 3) refusedList(collateral, anywhere(c.pckCrl, position, bit));
        if (which == 4) refusedList(collateral, anywhere(c.rootCrl, position, bit));
        if (which == 5) refusedCertificate(collateral, anywhere(authorityDer("pck-platform-ca"), position, bit));
    }

    function test_older_documents_and_lists_are_refused() public withVectors {
        // Two evaluations of one model that are both in date.
        Case memory c = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval19.json", 1749000000, Tee.Sgx);
        Case memory older = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval17.json", 1749000000, Tee.Sgx);
        (Collateral collateral, bytes32 signer) = prepared(older);
        collateral.submitTcbInfo(older.tcbInfo, older.tcbInfoSignature, signer);
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOlder.selector, 17, 19));
        collateral.submitTcbInfo(older.tcbInfo, older.tcbInfoSignature, signer);
        collateral.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, signer);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOlder.selector, 17, 19));
        collateral.submitQeIdentity(older.qeIdentity, older.qeIdentitySignature, signer);
        (uint16 evaluation,,) = collateral.tcbInfoState(Tee.Sgx, 0x00906ED50000);
        assert(evaluation == 19);

        // One evaluation, two dates of issue.
        c = load("tdx/tdx4-90c0-azure-2026/collateral-2026-03-16-eval18.json", 1774000000, Tee.Tdx);
        older = load("tdx/tdx4-90c0-nearai-gpu/collateral-2026-02-18-eval18.json", 1774000000, Tee.Tdx);
        (collateral, signer) = prepared(older);
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOlder.selector, 1771412331, 1773698769));
        collateral.submitTcbInfo(older.tcbInfo, older.tcbInfoSignature, signer);
        collateral.submitCrl(c.pckCrl);
        vm.expectRevert();
        collateral.submitCrl(older.pckCrl);
    }

    function test_nothing_is_taken_before_or_after_its_time() public withVectors {
        Case memory c = load(NEW_SGX, NEW_SGX_AT, Tee.Sgx);
        (Collateral collateral, bytes32 signer) = prepared(c);
        vm.warp(1785427875); // a second before it is issued
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralEarly.selector, 1785427876));
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        vm.warp(1788019876); // last second
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        vm.warp(1788019877);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, 1788019877));
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        // The root's list is a year old.
        vm.warp(1803647041);
        vm.expectRevert();
        collateral.submitAuthority(authorityDer("pck-platform-ca"));
        collateral = new IntelCollateral();
        vm.expectRevert();
        collateral.submitCrl(c.rootCrl);
    }

    function test_an_expired_signer_is_refused() public withVectors {
        (Collateral collateral,) = prepared(load(NEW_SGX, NEW_SGX_AT, Tee.Sgx));
        bytes memory der = authorityDer("tcb-signing-2018");
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, 1747824611));
        collateral.submitAuthority(der);
    }

    function test_judgements_end_with_what_they_stand_on() public withVectors {
        Case memory c = load(NEW_SGX, NEW_SGX_AT, Tee.Sgx);
        (Collateral collateral,) = filled(c);
        PckFacts memory pck;
        (pck.issuer, pck.issuerKeyId) = issuerOf(true);
        (pck.fmspc, pck.components, pck.pceSvn) = (0x00606A000000, bytes16(type(uint128).max), type(uint16).max);
        ModuleFacts memory module;
        uint256 until = collateral.standing(Tee.Sgx, pck, module).validUntil;
        vm.warp(until - 1);
        collateral.standing(Tee.Sgx, pck, module);
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralOver.selector, until));
        collateral.standing(Tee.Sgx, pck, module);
    }

    function test_another_signer_is_refused() public withVectors {
        Case memory c = load(NEW_SGX, NEW_SGX_AT, Tee.Sgx);
        (Collateral collateral,) = prepared(c);
        // A PCK CA is no signer of documents, and a signer that is not known is none.
        (bytes32 name, bytes20 keyId) = issuerOf(true);
        refusedTcbInfo(collateral, c.tcbInfo, c.tcbInfoSignature, collateral.authorityId(name, keyId));
        refusedTcbInfo(collateral, c.tcbInfo, c.tcbInfoSignature, collateral.rootId());
        refusedTcbInfo(collateral, c.tcbInfo, c.tcbInfoSignature, 0);
        // The root's own certificate is neither.
        refusedCertificate(collateral, authorityDer("root-ca"));
    }

    function test_chips_on_intels_list_are_revoked() public withVectors {
        Case memory c = load(NEW_TDX, NEW_TDX_AT, Tee.Tdx);
        (Collateral collateral,) = filled(c);
        (bytes32 name, bytes20 keyId) = issuerOf(true);
        uint160 serial = uint160(bytes20(hex"6fc34e5023e728923435d61aa4b83c618166ad35"));
        assert(collateral.isRevoked(name, keyId, serial));
        assert(!collateral.isRevoked(name, keyId, serial + 1));
        PckFacts memory pck;
        (pck.issuer, pck.issuerKeyId, pck.serial, pck.fmspc) = (name, keyId, serial, 0xB0C06F000000);
        ModuleFacts memory module;
        bytes32 id = collateral.authorityId(name, keyId);
        vm.expectRevert(abi.encodeWithSelector(Collateral.CollateralRevoked.selector, id, serial));
        collateral.standing(Tee.Tdx, pck, module);
        // Of another CA it is another certificate.
        (name, keyId) = issuerOf(false);
        assert(!collateral.isRevoked(name, keyId, serial));
    }

    function test_authorities_are_told_by_name_and_key() public withVectors {
        (Collateral collateral,) = prepared(load(NEW_TDX, NEW_TDX_AT, Tee.Tdx));
        (bytes32 name, bytes20 keyId) = issuerOf(true);
        (uint256 x, uint256 y) = collateral.authority(name, keyId);
        assert(x == 0x35207feeddb595748ed82bb3a71c3be1e241ef61320c6816e6b5c2b71dad5532);
        assert(y == 0xeaea12a4eb3f948916429ea47ba6c3af82a15e4b19664e52657939a2d96633de);
        vm.expectRevert();
        collateral.authority(name, bytes20(0));
        vm.expectRevert();
        collateral.authority(0, keyId);
    }

    function flipped(bytes memory data, uint256 i, uint256 bit) private pure returns (bytes memory copy) {
        copy = bytes.concat(data);
        copy[i] ^= bytes1(uint8(1 << bit));
    }

    function anywhere(bytes memory data, uint256 position, uint8 bit) private pure returns (bytes memory) {
        return flipped(data, position % data.length, bit % 8);
    }

    function refusedCertificate(Collateral collateral, bytes memory der) private {
        refused(collateral, abi.encodeCall(Collateral.submitAuthority, (der)));
    }

    function refusedList(Collateral collateral, bytes memory der) private {
        refused(collateral, abi.encodeCall(Collateral.submitCrl, (der)));
    }

    function refusedTcbInfo(Collateral collateral, bytes memory text, bytes memory signature, bytes32 signer) private {
        refused(collateral, abi.encodeCall(Collateral.submitTcbInfo, (text, signature, signer)));
    }

    function refusedQeIdentity(Collateral collateral, bytes memory text, bytes memory signature, bytes32 signer)
        private
    {
        refused(collateral, abi.encodeCall(Collateral.submitQeIdentity, (text, signature, signer)));
    }

    function refused(Collateral collateral, bytes memory call) private {
        (bool taken,) = address(collateral).call(call);
        assert(!taken);
    }
}
