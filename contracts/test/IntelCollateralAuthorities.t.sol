// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Certificate} from "../src/intel/Certificate.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {CollateralStore} from "../src/intel/CollateralStore.sol";
import {Extensions} from "../src/intel/Extensions.sol";
import {SimulatedCollateral} from "../src/intel/SimulatedCollateral.sol";
import {vm} from "./Cheats.sol";
import {SimulatedVendor} from "./SimulatedVendor.sol";

/// Which certificates are taken, under a root of the test's own. Each refusal differs from what is taken in one thing.
contract IntelCollateralAuthoritiesTest is SimulatedVendor {
    SimulatedCollateral private collateral;

    function setUp() public {
        vm.warp(NOW);
        collateral = new SimulatedCollateral(root());
        collateral.submitCrl(list(ROOT_NAME, ROOT, none()));
    }

    function test_what_the_root_issued_is_taken_in_its_role() public {
        bytes32 id = collateral.submitAuthority(platform());
        (CollateralStore.Role role,,) = collateral.authorityState(id);
        assert(role == CollateralStore.Role.PckAuthority);
        id = collateral.submitAuthority(signer());
        (role,,) = collateral.authorityState(id);
        assert(role == CollateralStore.Role.DocumentSigner);
        (uint256 x, uint256 y) = collateral.authority(keccak256(name(PLATFORM_NAME)), keyId(PLATFORM));
        (uint256 wantX, uint256 wantY) = vm.publicKeyP256(PLATFORM);
        assert(x == wantX && y == wantY);
        // A signer is nobody's CA.
        vm.expectRevert();
        collateral.authority(keccak256(name(SIGNER_NAME)), keyId(SIGNER));
    }

    function test_a_root_is_one_by_every_sign() public {
        Paper memory p = rootPaper();
        p.usage = hex"03020204";
        noRoot(p);
        p = rootPaper();
        p.constraints = hex"3000";
        noRoot(p);
        p = rootPaper();
        p.issuerKey = PLATFORM;
        noRoot(p);
        p = rootPaper();
        p.issuer = PLATFORM_NAME;
        noRoot(p);
        p = rootPaper();
        p.issuerKeyId = keyId(PLATFORM);
        noRoot(p);
    }

    function test_another_root_is_nobody() public {
        Paper memory p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.issuerKey = PROCESSOR;
        refused(p, Certificate.CertificateSignature.selector);
        p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.issuer = "SIMULATED Root CB";
        refused(p, Collateral.CollateralIssuer.selector);
        p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.issuerKeyId = keyId(PROCESSOR);
        refused(p, Collateral.CollateralIssuer.selector);
    }

    function test_nothing_is_issued_below_an_authority() public {
        collateral.submitAuthority(platform());
        Paper memory p = signerPaper(SIGNER_NAME, SIGNER);
        (p.issuer, p.issuerKey, p.issuerKeyId) = (PLATFORM_NAME, PLATFORM, keyId(PLATFORM));
        refused(p, Certificate.CertificateSignature.selector);
    }

    function test_a_certificate_is_taken_in_its_time_alone() public {
        Paper memory p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.from = "250601000001Z";
        refused(p, Collateral.CollateralEarly.selector);
        p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.until = "250531235959Z";
        refused(p, Collateral.CollateralOver.selector);
        p.until = "250601000000Z";
        collateral.submitAuthority(certificate(p));
    }

    function test_an_authority_has_to_be_one_by_every_sign() public {
        Paper memory p = authorityPaper("SIMULATED Intermediate", PLATFORM);
        refused(p, Collateral.CollateralRole.selector);
        p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.constraints = hex"3000";
        refused(p, Collateral.CollateralRole.selector);
        p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.usage = hex"03020204"; // no revocation lists
        refused(p, Collateral.CollateralRole.selector);
        p.usage = hex"03020102"; // no certificates
        refused(p, Collateral.CollateralRole.selector);
    }

    function test_a_signer_has_to_be_one_by_every_sign() public {
        Paper memory p = signerPaper("SIMULATED PCK Certificate", SIGNER);
        refused(p, Collateral.CollateralRole.selector);
        p = signerPaper(SIGNER_NAME, SIGNER);
        p.constraints = hex"30060101ff020100";
        refused(p, Collateral.CollateralRole.selector);
        p = signerPaper(SIGNER_NAME, SIGNER);
        p.usage = hex"03020640"; // no signatures
        refused(p, Collateral.CollateralRole.selector);
        p.usage = hex"03020284"; // certificates too
        refused(p, Collateral.CollateralRole.selector);
    }

    function test_extensions_have_to_be_understood() public {
        Paper memory p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.more = extension(hex"551d1e", true, hex"3000"); // name constraints
        refused(p, Extensions.ExtensionCritical.selector);
        p.more = extension(hex"551d1f", false, hex"3000");
        collateral.submitAuthority(certificate(p));
        p.more = extension(hex"551d13", true, hex"3000");
        refused(p, Extensions.ExtensionTwice.selector);
        p.more = hex"300d0603551d1f0101000403020101"; // FALSE written out
        refused(p, bytes4(0));
        p.more = "";
        p.usage = hex"0302fe06"; // more unused bits than there are
        refused(p, Extensions.ExtensionValue.selector);
        p = authorityPaper(PLATFORM_NAME, PLATFORM);
        p.constraints = hex"30060101fe020100"; // no DER boolean
        refused(p, bytes4(0));
    }

    function test_of_two_certificates_of_one_key_the_later_counts() public {
        Paper memory p = signerPaper(SIGNER_NAME, SIGNER);
        bytes memory first = certificate(p);
        collateral.submitAuthority(first);
        p.until = "330531000000Z";
        collateral.submitAuthority(certificate(p));
        vm.expectRevert();
        collateral.submitAuthority(first);
    }

    function noRoot(Paper memory p) private {
        bytes memory der = certificate(p);
        try new SimulatedCollateral(der) {
            assert(false);
        } catch {}
    }

    function refused(Paper memory p, bytes4 why) private {
        bytes memory der = certificate(p);
        (bool taken, bytes memory answer) = address(collateral).call(abi.encodeCall(Collateral.submitAuthority, (der)));
        assert(!taken && (why == 0 || bytes4(answer) == why));
    }
}
