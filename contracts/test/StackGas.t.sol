// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DeviceAnchor} from "../src/DeviceAnchor.sol";
import {EnclaveRegistry} from "../src/EnclaveRegistry.sol";
import {TcbStatus, Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {IntelCollateral} from "../src/intel/IntelCollateral.sol";
import {LogTree} from "../src/lib/LogTree.sol";
import {vm} from "./Cheats.sol";
import {GasBook} from "./GasBook.sol";
import {IntelCollateralVectors} from "./IntelCollateralVectors.sol";
import {StackFixture} from "./StackFixture.sol";
import {Evidence, Take} from "./mocks/Evidence.sol";
import {Pem} from "./mocks/Pem.sol";
import {RegistryHarness} from "./mocks/RegistryHarness.sol";
import {Tree} from "./mocks/Tree.sol";

/// Gas of whole transactions in a whole network: genuine quotes and Intel's own material, at the times at which they held.
///
/// What a renewal or a further registration costs is taken where everything changes that can: newer collateral, a later end,
/// a former key whose life is cut. Router and policy were asked on the same day, as `adopt_verifier` and `adopt_code`.
contract StackGasTest is StackFixture, IntelCollateralVectors, GasBook {
    uint256 private constant FORMER = 5_001;
    uint256 private constant MEMBERS = 1_000;
    bytes32 private constant MANIFEST = keccak256("manifest");

    bool private genuine;
    Evidence private evidence;
    Verdict private verdict;
    bytes32 private signer;

    function test_gas_of_a_network_is_what_is_committed() external withVectors {
        measureDeployment();
        genuine = true;
        measureDocuments();
        measureTdx();
        measureSgx();
        measureSettlement();
        measureRewards();
        measureEscrow();
        measureEvidence();
        compare();
    }

    function newRegistry() internal override returns (EnclaveRegistry) {
        return genuine ? new RegistryHarness(router, policy, address(this), GUARDIAN) : super.newRegistry();
    }

    function measureDeployment() private {
        Collateral fresh = new IntelCollateral();
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        deploy(fresh);
        put("deploy_all", gas + deployed);
    }

    /// The largest documents and lists that Intel is known to have signed.
    function measureDocuments() private {
        Case memory older = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval17.json", 1749000000, Tee.Sgx);
        Case memory newer = load("sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval19.json", 1749000000, Tee.Sgx);
        (Collateral c, bytes32 by) = prepared(newer);
        c.submitTcbInfo(older.tcbInfo, older.tcbInfoSignature, by);
        note("tcb_info_sgx_first");
        c.submitTcbInfo(newer.tcbInfo, newer.tcbInfoSignature, by);
        note("tcb_info_sgx_update");
        c.submitQeIdentity(older.qeIdentity, older.qeIdentitySignature, by);
        c.submitQeIdentity(newer.qeIdentity, newer.qeIdentitySignature, by);
        note("qe_identity");

        older = load("tdx/tdx4-8056-gcp-cos/collateral-2026-01-27-eval18.json", 1770000000, Tee.Tdx);
        newer = load("tdx/tdx4-8056-gcp-cos/collateral-2026-06-12-eval21.json", 1782599235, Tee.Tdx);
        (c, by) = prepared(older);
        c.submitTcbInfo(older.tcbInfo, older.tcbInfoSignature, by);
        vm.warp(newer.at);
        c.submitTcbInfo(newer.tcbInfo, newer.tcbInfoSignature, by);
        note("tcb_info_tdx_update");
        vm.warp(1786000000);
        c = new IntelCollateral();
        c.submitCrl(newer.rootCrl);
        c.submitAuthority(authorityDer("pck-platform-ca"));
        note("authority");
        by = c.submitAuthority(authorityDer("tcb-signing-2025"));
        // Of 129 serials, 57 of them stored before; then none of them new.
        c.submitCrl(read("sgx/roots/crl-pck-platform-20260716-57.der"));
        note("crl_57_new");
        bytes memory list = read("sgx/roots/crl-pck-platform-20260716-129.der");
        vm.warp(1784190000);
        c = new IntelCollateral();
        c.submitCrl(newer.rootCrl);
        c.submitAuthority(authorityDer("pck-platform-ca"));
        c.submitCrl(list);
        note("crl_first");
        c.submitCrl(list);
        note("crl");
        newer = load("tdx/tdx4-8056-gcp-cos/collateral-2026-06-12-eval21.json", 1782599235, Tee.Tdx);
        (c, by) = prepared(newer);
        c.submitTcbInfo(newer.tcbInfo, newer.tcbInfoSignature, by);
        note("tcb_info_tdx_first");
    }

    function measureTdx() private {
        string memory id = "tdx/tdx4-b0c0-dstack-2026";
        begin(id, "/collateral-2026-03-01-eval18.json", 1773198569, Tee.Tdx);
        first("register_tdx_first", "renew_kept_tdx");
        // The quoting enclave's identity is one for all models.
        Case memory next = load("tdx/tdx4-5080-debug-td/collateral-2026-03-16-eval18.json", 1773760169, Tee.Tdx);
        vm.warp(next.at);
        collateral.submitCrl(next.rootCrl);
        collateral.submitCrl(next.pckCrl);
        collateral.submitQeIdentity(next.qeIdentity, next.qeIdentitySignature, signer);
        again("register_tdx_again");
        next = load(string.concat(id, "/collateral-2026-08-13-eval20.json"), 1786700000, Tee.Tdx);
        vm.warp(next.at);
        bring(next);
        renew("renew_tdx", vm.addr(SECRET));
    }

    function measureSgx() private {
        string memory id = "sgx/sgx-606a-svr2-2026";
        begin(id, "/collateral-2025-08-15-eval17.json", 1756530546, Tee.Sgx);
        first("register_sgx_first", "renew_kept_sgx");
        Case memory next = load(string.concat(id, "/collateral-2026-07-30-eval21.json"), 1786432758, Tee.Sgx);
        vm.warp(next.at);
        bytes memory list = next.pckCrl;
        next.pckCrl = read("sgx/roots/crl-pck-platform-20260716-57.der");
        bring(next);
        renew("renew_sgx", vm.addr(FORMER));
        collateral.submitCrl(list);
        again("register_sgx_again");
    }

    /// A network three days before its first chip comes, whose code has at first two days to earn.
    function begin(string memory id, string memory material, uint256 at, Tee tee) private {
        evidence = Take.apart(read(string.concat(id, "/quote.bin")));
        Collateral c;
        (c, signer) = filled(load(string.concat(id, material), at, tee));
        verdict = new DcapVerifier(c).verify(evidence.quote, evidence.pck);
        vm.warp(at - 3 days);
        deploy(c);
        policy.announce(verdict.measurement, TcbStatus.OutOfDateConfigurationNeeded, uint40(at + 2 days));
        vm.warp(at - 1 days);
        policy.announce(verdict.measurement, TcbStatus.OutOfDateConfigurationNeeded, type(uint40).max);
        vm.warp(at);
    }

    function first(string memory registration, string memory renewal) private {
        adopt();
        address key = vm.addr(FORMER);
        registry.register(evidence.quote, evidence.pck, key, OWNER, address(0));
        note(registration);
        vm.warp(time() + 1 days);
        adopt();
        uint256 body = evidence.quote[0] == 0x03 ? 432 : 632;
        registry.renewKept(
            Pem.slice(evidence.quote, 0, body),
            Pem.slice(evidence.quote, body, body + 64),
            Pem.slice(evidence.quote, body + 64, body + 128),
            verdict.enclaveId,
            key
        );
        note(renewal);
        require(registry.keyOf(key).liveUntil == verdict.validUntil, "kept until");
    }

    function again(string memory registration) private {
        adopt();
        registry.register(evidence.quote, evidence.pck, vm.addr(SECRET), OWNER, vm.addr(FORMER));
        note(registration);
        require(registry.isLive(verdict.enclaveId, vm.addr(SECRET)), "live");
        require(registry.keyOf(vm.addr(FORMER)).liveUntil == time() + 1 days, "former");
    }

    function renew(string memory name, address key) private {
        adopt();
        uint256 before = registry.keyOf(key).liveUntil;
        registry.renew(evidence.quote, evidence.pck, key);
        note(name);
        require(registry.keyOf(key).liveUntil > before, "renewed");
    }

    function adopt() private {
        registry.adoptVerifier(uint8(evidence.quote[0]));
        note("adopt_verifier");
        registry.adoptCode(verdict.measurement);
        note("adopt_code");
    }

    function bring(Case memory next) private {
        collateral.submitCrl(next.rootCrl);
        collateral.submitCrl(next.pckCrl);
        collateral.submitTcbInfo(next.tcbInfo, next.tcbInfoSignature, signer);
        collateral.submitQeIdentity(next.qeIdentity, next.qeIdentitySignature, signer);
    }

    /// A hundred keys of one chip: all but the newest are in the day after they were replaced, in which they settle. What a head
    /// costs does not depend on whether its chip is another's.
    function measureSettlement() private {
        uint256 former = SECRET;
        for (uint256 i; i < 101; ++i) {
            registry.register(evidence.quote, evidence.pck, vm.addr(MEMBERS + i), OWNER, vm.addr(former));
            former = MEMBERS + i;
        }
        require(ledger.submitCheckpoints(batch(9_000)) == 100, "batch");
        note("checkpoint_batch_100_first");
        require(ledger.submitCheckpoints(batch(19_000)) == 100, "batch");
        note("checkpoint_batch_100");
        settle(MEMBERS + 100, head(MEMBERS + 100, 9_000, keccak256("one")));
        note("checkpoint_first");
        settle(MEMBERS + 100, head(MEMBERS + 100, 19_000, keccak256("two")));
        note("checkpoint_again");

        bytes32[] memory frontier = new bytes32[](0);
        ledger.submitProof(packed(SECRET, proof(SECRET, 0), 1, frontier));
        note("work_proof_first");
        frontier = new bytes32[](1);
        frontier[0] = LogTree.leaf(ledger.hashOf(proof(SECRET, 0)));
        ledger.submitProof(packed(SECRET, proof(SECRET, 1), 1, frontier));
        note("work_proof_again");
        // A log of 1,023 proofs is ten perfect trees.
        frontier = path(10, 7);
        bytes32 root = frontier[9];
        for (uint256 i = 9; i != 0;) {
            root = LogTree.node(frontier[--i], root);
        }
        settle(SECRET, head(SECRET, 1_023, root));
        ledger.submitProof(packed(SECRET, proof(SECRET, 1_023), 1, frontier));
        note("work_proof_10_peaks");
    }

    function measureRewards() private {
        accept(Tree.leaf(STRANGER, 1e18), 1e18);
        vault.claim(STRANGER, 1e18, new bytes32[](0));
        uint88 cumulative;
        for (uint256 i; i < 2; ++i) {
            cumulative += 1_234_567_890_123_456_789_012;
            bytes32[] memory siblings = path(14, i);
            vm.warp(time() + 1 days);
            bytes32 root = Tree.above(Tree.leaf(OWNER, cumulative), siblings);
            uint32 epoch = uint32(vault.epochNow() - 1);
            vault.propose(epoch, root, 3 * cumulative);
            note("epoch_root");
            vm.warp(time() + vault.challengeWindow());
            vault.claim(OWNER, cumulative, siblings);
            note(i == 0 ? "claim_first" : "claim_again");
        }
    }

    function measureEscrow() private {
        vm.startPrank(OWNER);
        token.approve(address(escrow), type(uint256).max);
        uint40 expiry = uint40(time() + 30 days);
        escrow.deposit(keccak256("another"), OWNER, 25_000, 1, expiry, 0);
        escrow.deposit(MANIFEST, OWNER, 25_000, 3, expiry, 0);
        note("escrow_deposit");
        vm.stopPrank();
        for (uint64 i; i < 2; ++i) {
            WorkProof memory done = proof(MEMBERS + 100, i);
            (bytes32 r, bytes32 vs) = sign(MEMBERS + 100, ledger.hashOf(done));
            escrow.release(done, OWNER, r, vs);
            note("escrow_release");
        }
    }

    function measureEvidence() private {
        address key = vm.addr(MEMBERS + 100);
        for (uint64 i; i < 2; ++i) {
            DeviceAnchor.Batch memory data =
                DeviceAnchor.Batch(verdict.enclaveId, key, i, keccak256(abi.encode("data", i)), 1_000);
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(MEMBERS + 100, anchor.hashOf(data));
            anchor.anchor(data, abi.encodePacked(r, s, v));
            note("anchor_root");
        }
        vm.startPrank(OWNER);
        token.approve(address(vault), 100e18);
        vault.bond(verdict.enclaveId, 100e18);
        vm.stopPrank();
        WorkProof memory other = proof(MEMBERS + 100, 5);
        other.output = keccak256("another output");
        address[] memory none = new address[](0);
        ledger.proveTwoProofs(signed(MEMBERS + 100, proof(MEMBERS + 100, 5)), signed(MEMBERS + 100, other), none);
        note("equivocation");
        require(vault.poolOf(verdict.enclaveId).slashed && registry.chip(verdict.enclaveId).barred, "slashed");
    }

    function proof(uint256 secret, uint64 sequence) private view returns (WorkProof memory) {
        return proofOf(vm.addr(secret), verdict.enclaveId, verdict.measurement, "sgx", sequence);
    }

    function head(uint256 secret, uint64 size, bytes32 root) private view returns (Checkpoint memory) {
        return Checkpoint(verdict.enclaveId, vm.addr(secret), size, root, size * 7_654_321);
    }

    function batch(uint64 size) private view returns (bytes memory heads) {
        for (uint256 i; i < 100; ++i) {
            heads = bytes.concat(heads, packed(MEMBERS + i, head(MEMBERS + i, size, keccak256(abi.encode(size, i)))));
        }
    }

    function path(uint256 length, uint256 salt) private pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](length);
        for (uint256 i; i < length; ++i) {
            hashes[i] = keccak256(abi.encode(salt, i));
        }
    }
}
