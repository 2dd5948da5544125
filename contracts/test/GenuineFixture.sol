// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TcbStatus, Tee, Verdict} from "../src/Types.sol";
import {DcapVerifier} from "../src/dcap/DcapVerifier.sol";
import {Collateral} from "../src/intel/Collateral.sol";
import {vm} from "./Cheats.sol";
import {GasBook} from "./GasBook.sol";
import {IntelCollateralVectors} from "./IntelCollateralVectors.sol";
import {StackFixture} from "./StackFixture.sol";
import {Evidence, Take} from "./mocks/Evidence.sol";
import {Pem} from "./mocks/Pem.sol";

/// A network that a genuine quote registers at, under Intel's own material, at the time at which both held.
///
/// What a renewal or a further registration costs is taken where everything changes that can: newer collateral, a later end,
/// a former key whose life is cut. Router and policy were asked on the same day, as `adopt_verifier` and `adopt_code`.
abstract contract GenuineFixture is StackFixture, IntelCollateralVectors, GasBook {
    uint256 internal constant FORMER = 5_001;

    Evidence internal evidence;
    Verdict internal verdict;
    bytes32 internal signer;

    /// A network three days before its first chip comes, whose code has at first two days to earn.
    function begin(string memory id, string memory material, uint256 moment, Tee tee) internal {
        evidence = Take.apart(read(string.concat(id, "/quote.bin")));
        Collateral c;
        (c, signer) = full(load(string.concat(id, material), moment, tee));
        // By a verifier of its own, so that the network's has not seen the quote.
        verdict = DcapVerifier(make("DcapVerifier", abi.encode(c))).verify(evidence.quote, evidence.pck);
        vm.warp(moment - 3 days);
        registryName = "RegistryHarness";
        deploy(c);
        policy.announce(verdict.measurement, TcbStatus.OutOfDateConfigurationNeeded, uint40(moment + 2 days));
        vm.warp(moment - 1 days);
        policy.announce(verdict.measurement, TcbStatus.OutOfDateConfigurationNeeded, type(uint40).max);
        vm.warp(moment);
    }

    /// Everything that Intel has signed for a case, brought at its time.
    function full(Case memory c) internal returns (Collateral made, bytes32 by) {
        (made, by) = empty(c);
        made.submitTcbInfo(c.tcbInfo, c.tcbInfoSignature, by);
        made.submitQeIdentity(c.qeIdentity, c.qeIdentitySignature, by);
    }

    /// All but the documents.
    function empty(Case memory c) internal returns (Collateral made, bytes32 by) {
        vm.warp(c.time);
        made = Collateral(make("IntelCollateral", ""));
        made.submitCrl(c.rootCrl);
        made.submitAuthority(authorityDer("pck-platform-ca"));
        made.submitAuthority(authorityDer("pck-processor-ca"));
        by = made.submitAuthority(authorityDer("tcb-signing-2025"));
        made.submitCrl(c.pckCrl);
    }

    function first(string memory registration, string memory renewal) internal {
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

    function again(string memory registration) internal {
        adopt();
        registry.register(evidence.quote, evidence.pck, vm.addr(SECRET), OWNER, vm.addr(FORMER));
        note(registration);
        require(registry.isLive(verdict.enclaveId, vm.addr(SECRET)), "live");
        require(registry.keyOf(vm.addr(FORMER)).liveUntil == time() + 1 days, "former");
    }

    function renew(string memory name, address key) internal {
        adopt();
        uint256 before = registry.keyOf(key).liveUntil;
        registry.renew(evidence.quote, evidence.pck, key);
        note(name);
        require(registry.keyOf(key).liveUntil > before, "renewed");
    }

    function adopt() internal {
        registry.adoptVerifier(uint8(evidence.quote[0]));
        registry.adoptCode(verdict.measurement);
    }

    function bring(Case memory next) internal {
        collateral.submitCrl(next.rootCrl);
        collateral.submitCrl(next.pckCrl);
        collateral.submitTcbInfo(next.tcbInfo, next.tcbInfoSignature, signer);
        collateral.submitQeIdentity(next.qeIdentity, next.qeIdentitySignature, signer);
    }
}
