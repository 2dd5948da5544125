// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DeviceAnchor} from "../src/DeviceAnchor.sol";
import {EnclaveRegistry} from "../src/EnclaveRegistry.sol";
import {GlacierToken} from "../src/GlacierToken.sol";
import {JobEscrow} from "../src/JobEscrow.sol";
import {MeasurementPolicy} from "../src/MeasurementPolicy.sol";
import {RewardVault} from "../src/RewardVault.sol";
import {WorkLedger} from "../src/WorkLedger.sol";
import {Realm} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {QuoteRouter} from "../src/dcap/QuoteRouter.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {IQuoteVerifier} from "../src/interfaces/IQuoteVerifier.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {vm} from "./Cheats.sol";

/// All contracts of a network as they are deployed, and nothing in their places.
abstract contract StackFixture {
    address internal constant GUARDIAN = address(0x6a);
    /// Of the chips; the claims are its.
    address internal constant OWNER = 0xA1A1a1a1A1A1A1A1A1a1a1a1a1a1A1A1a1A1a1a1;
    address internal constant STRANGER = address(0xbad);
    uint256 internal constant SECRET = 0xc0ffee;

    Collateral internal collateral;
    DcapVerifier internal verifier;
    QuoteRouter internal router;
    MeasurementPolicy internal policy;
    EnclaveRegistry internal registry;
    WorkLedger internal ledger;
    RewardVault internal vault;
    GlacierToken internal token;
    JobEscrow internal escrow;
    DeviceAnchor internal anchor;
    /// Of all contracts but the collateral, and of the calls that make them one network.
    uint256 internal deployed;
    string internal registryName = "EnclaveRegistry";

    /// The order is the one of a deployment: each contract reads its realm from the one before it.
    function deploy(Collateral collateral_) internal {
        collateral = collateral_;
        Realm realm = collateral.realm();
        uint40 delay = realm == Realm.Production ? 2 days : 0;
        verifier = DcapVerifier(make("DcapVerifier", abi.encode(collateral)));
        uint16[] memory versions = new uint16[](2);
        (versions[0], versions[1]) = (3, 4);
        IQuoteVerifier[] memory verifiers = new IQuoteVerifier[](2);
        (verifiers[0], verifiers[1]) = (verifier, verifier);
        router = QuoteRouter(make("QuoteRouter", abi.encode(realm, address(this), delay, versions, verifiers)));
        policy = MeasurementPolicy(make("MeasurementPolicy", abi.encode(collateral, address(this), GUARDIAN, delay)));
        registry = EnclaveRegistry(make(registryName, abi.encode(router, policy, address(this), GUARDIAN)));
        ledger = WorkLedger(make("WorkLedger", abi.encode(registry)));
        vault = RewardVault(make("RewardVault", abi.encode(registry, ledger, terms(realm), address(this))));
        token = vault.token();
        escrow = JobEscrow(make("JobEscrow", abi.encode(ledger, token)));
        anchor = DeviceAnchor(make("DeviceAnchor", abi.encode(registry)));
        wire();
    }

    function wire() private {
        registry.setLedger(ledger);
        count();
        policy.setRegistry(registry);
        count();
        ledger.setSlasher(vault);
        count();
        vault.grantRole(vault.PROPOSER_ROLE(), address(this));
        vault.grantRole(vault.WATCHMAN_ROLE(), address(this));
    }

    /// Makes a contract from what was compiled. (`new` would compile it again into each test.)
    function make(string memory name, bytes memory arguments) internal returns (address made) {
        bytes memory code = bytes.concat(vm.getCode(string.concat(name, ".sol:", name)), arguments);
        // The last call's gas is not told for a creation.
        uint256 before = gasleft();
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        deployed += before - gasleft();
        require(made != address(0), name);
    }

    function terms(Realm realm) private view returns (RewardVault.Terms memory) {
        bool production = realm == Realm.Production;
        return RewardVault.Terms({
            genesis: uint40(time()),
            epochLength: 1 days,
            challengeWindow: production ? 1 days : 0,
            unbondingPeriod: production ? 14 days : 0,
            initialEmission: 50_000e18,
            halvingEpochs: 1460,
            cap: 200_000_000e18
        });
    }

    function count() private {
        deployed += vm.lastCallGas().gasTotalUsed;
    }

    /// The time of this moment: the compiler reads the clock of a call once.
    function time() internal view returns (uint256) {
        return vm.getBlockTimestamp();
    }

    /// Proposes a root for the epochs so far and waits until it is in force.
    function accept(bytes32 root, uint88 total) internal {
        vm.warp(time() + 1 days);
        vault.propose(uint32(vault.epochNow() - 1), root, total);
        vm.warp(time() + vault.challengeWindow());
    }

    function sign(uint256 secret, bytes32 digest) internal pure returns (bytes32, bytes32) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(secret, digest);
        return (r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }

    /// Settles a head as its sender does.
    function settle(uint256 secret, Checkpoint memory head) internal {
        (bytes32 r, bytes32 vs) = sign(secret, ledger.hashOf(head));
        bytes32 whose = bytes32(abi.encodePacked(head.enclaveKey, bytes9(head.enclaveId << 184)));
        ledger.submitCheckpoint(whose, uint256(head.size) << 64 | head.units, head.root, r, vs);
    }

    /// A head in the form of a batch.
    function packed(uint256 secret, Checkpoint memory head) internal view returns (bytes memory) {
        (bytes32 r, bytes32 vs) = sign(secret, ledger.hashOf(head));
        return abi.encodePacked(head.enclaveKey, bytes9(head.enclaveId << 184), head.size, head.units, head.root, r, vs);
    }

    /// A proof of work 0 (inference), with the frontier of the log before it.
    function packed(uint256 secret, WorkProof memory proof, uint8 platform, bytes32[] memory frontier)
        internal
        view
        returns (bytes memory)
    {
        (bytes32 r, bytes32 vs) = sign(secret, ledger.hashOf(proof));
        bytes memory start = abi.encodePacked(
            proof.enclaveKey, bytes9(proof.enclaveId << 184), platform, uint8(0), proof.units, proof.price, proof.payer
        );
        bytes memory words = abi.encodePacked(
            proof.measurement, proof.manifest, proof.model, proof.input, proof.output, proof.previous, r, vs
        );
        return bytes.concat(start, words, abi.encodePacked(frontier));
    }

    function signed(uint256 secret, WorkProof memory proof) internal view returns (WorkLedger.SignedProof memory out) {
        out = WorkLedger.SignedProof(proof, block.chainid, address(ledger), 0, 0);
        (out.r, out.vs) = sign(secret, ledger.hashOf(proof));
    }

    function proofOf(address key, bytes32 enclaveId, bytes32 measurement, string memory platform, uint64 sequence)
        internal
        pure
        returns (WorkProof memory)
    {
        return WorkProof({
            enclaveId: enclaveId,
            enclaveKey: key,
            measurement: measurement,
            platform: keccak256(bytes(platform)),
            work: keccak256("inference"),
            manifest: keccak256("manifest"),
            model: keccak256("model"),
            input: keccak256("input"),
            output: keccak256(abi.encode("output", sequence)),
            units: 1_234_567,
            sequence: sequence,
            previous: sequence == 0 ? bytes32(0) : keccak256(abi.encode("previous", sequence)),
            payer: OWNER,
            price: 25_000
        });
    }
}
