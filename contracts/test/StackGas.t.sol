// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Tee} from "../src/Types.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {vm} from "./Cheats.sol";
import {GenuineFixture} from "./GenuineFixture.sol";

/// Gas of deployment, collateral and registration: whole transactions in a whole network.
contract StackGasTest is GenuineFixture {
    function test_gas_of_deployment() external {
        collateral = Collateral(make("IntelCollateral", ""));
        deploy(collateral);
        put("deploy_all", deployed);
        close();
    }

    /// The largest SGX documents that Intel is known to have signed.
    function test_gas_of_sgx_documents() external withVectors {
        Case memory c = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval17.json", 1749000000, Tee.Sgx);
        (collateral, signer) = empty(c);
        tcbInfo(c, "tcb_info_sgx_first");
        collateral.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, signer);
        c = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval19.json", 1749000000, Tee.Sgx);
        tcbInfo(c, "tcb_info_sgx_update");
        collateral.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, signer);
        note("qe_identity");
        close();
    }

    /// The largest TDX documents.
    function test_gas_of_tdx_documents() external withVectors {
        Case memory c = load("tdx/tdx4-8056-gcp-cos/collateral-2026-01-27-eval18.json", 1770000000, Tee.Tdx);
        (collateral, signer) = empty(c);
        tcbInfo(c, "");
        c = load("tdx/tdx4-8056-gcp-cos/collateral-2026-06-12-eval21.json", 1782599235, Tee.Tdx);
        vm.warp(c.time);
        collateral.submitCrl(c.rootCrl);
        tcbInfo(c, "tcb_info_tdx_update");
        (collateral, signer) = empty(c);
        tcbInfo(c, "tcb_info_tdx_first");
        close();
    }

    /// A list of 129 serials, none of them stored; then all of them.
    function test_gas_of_revocation_lists() external withVectors {
        Case memory c = load("tdx/tdx4-8056-gcp-cos/collateral-2026-06-12-eval21.json", 1784190000, Tee.Tdx);
        vm.warp(c.time);
        collateral = Collateral(make("IntelCollateral", ""));
        collateral.submitCrl(c.rootCrl);
        collateral.submitAuthority(authorityDer("pck-platform-ca"));
        note("authority");
        bytes memory list = read("sgx/roots/crl-pck-platform-20260716-129.der");
        collateral.submitCrl(list);
        note("crl_first");
        collateral.submitCrl(list);
        note("crl");
        close();
    }

    function tcbInfo(Case memory c, string memory name) private {
        collateral.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, signer);
        if (bytes(name).length != 0) note(name);
    }

    function test_gas_of_tdx_registrations() external withVectors {
        string memory id = "tdx/tdx4-b0c0-dstack-2026";
        begin(id, "/collateral-2026-03-01-eval18.json", 1773198569, Tee.Tdx);
        first("register_tdx_first", "renew_kept_tdx");
        // The quoting enclave's identity is one for all models.
        Case memory next = load("tdx/tdx4-5080-debug-td/collateral-2026-03-16-eval18.json", 1773760169, Tee.Tdx);
        vm.warp(next.time);
        collateral.submitCrl(next.rootCrl);
        collateral.submitCrl(next.pckCrl);
        collateral.submitQeIdentity(next.qeIdentity, next.qeIdentitySignature, signer);
        again("register_tdx_again");
        next = load(string.concat(id, "/collateral-2026-08-13-eval20.json"), 1786700000, Tee.Tdx);
        vm.warp(next.time);
        bring(next);
        renew("renew_tdx", vm.addr(SECRET));
        close();
    }

    function test_gas_of_sgx_registrations() external withVectors {
        string memory id = "sgx/sgx-606a-svr2-2026";
        begin(id, "/collateral-2025-08-15-eval17.json", 1756530546, Tee.Sgx);
        first("register_sgx_first", "renew_kept_sgx");
        Case memory next = load(string.concat(id, "/collateral-2026-07-30-eval21.json"), 1786432758, Tee.Sgx);
        vm.warp(next.time);
        bytes memory list = next.pckCrl;
        next.pckCrl = read("sgx/roots/crl-pck-platform-20260716-57.der");
        bring(next);
        renew("renew_sgx", vm.addr(FORMER));
        collateral.submitCrl(list);
        again("register_sgx_again");
        // The first of a day: what router and policy answered a day ago is forgotten.
        vm.warp(time() + 1 days);
        registry.register(evidence.quote, evidence.pck, vm.addr(1), OWNER, vm.addr(SECRET));
        note("register_sgx_unadopted");
        vm.warp(time() + 1 days);
        registry.adoptVerifier(3);
        note("adopt_verifier");
        registry.adoptCode(verdict.measurement);
        note("adopt_code");
        close();
    }
}
