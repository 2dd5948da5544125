// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EnclaveRegistry} from "../src/EnclaveRegistry.sol";
import {WorkLedger} from "../src/WorkLedger.sol";
import {Platform, Realm, TcbStatus} from "../src/Types.sol";
import {Quote} from "../src/dcap/Quote.sol";
import {Checkpoint, WorkProof} from "../src/interfaces/IWorkLedger.sol";
import {Admission} from "../src/lib/Admission.sol";
import {vm} from "./Cheats.sol";
import {SimulatedStack} from "./SimulatedStack.sol";
import {RfcTree} from "./mocks/RfcTree.sol";

/// The contracts of a network together: from the vendor's signatures to what is paid.
contract StackTest is SimulatedStack {
    function test_a_chip_registers_by_a_quote_that_binds_key_owner_and_number() external {
        bytes32 enclaveId = idOf(".chips[0]");
        bytes memory pck = field(".chips[0].pck");
        bytes memory quote = quoteFor(".chips[0]", key, OWNER, 0);
        bytes32 found = registry.registrationDigest(key, OWNER, 0);
        bytes32 expected = registry.registrationDigest(otherKey, OWNER, 0);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ReportData.selector, found, expected));
        registry.register(quote, pck, otherKey, OWNER, address(0));
        expected = registry.registrationDigest(key, STRANGER, 0);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ReportData.selector, found, expected));
        registry.register(quote, pck, key, STRANGER, address(0));
        require(registry.register(quote, pck, key, OWNER, address(0)) == enclaveId);
        require(registry.isLive(enclaveId, key) && registry.chip(enclaveId).platform == Platform.Simulated);
        // A quote registers once.
        expected = registry.registrationDigest(key, OWNER, 1);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ReportData.selector, found, expected));
        registry.register(quote, pck, key, OWNER, key);
    }

    function test_a_quote_made_for_something_else_registers_nothing() external {
        bytes memory quote = field(".chips[0].quote");
        bytes memory pck = field(".chips[0].pck");
        vm.expectRevert();
        registry.register(quote, pck, key, OWNER, address(0));
        bytes32 digest = registry.registrationDigest(key, OWNER, 0);
        quote = quoteOf(".chips[0]", digest, "glacier/channel/v1");
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ReportTag.selector, bytes32("glacier/channel/v1")));
        registry.register(quote, pck, key, OWNER, address(0));
    }

    function test_a_debug_enclave_registers_nothing() external {
        bytes memory quote = field(".chips[0].debug");
        bytes memory pck = field(".chips[0].pck");
        vm.expectRevert(Quote.Debug.selector);
        registry.register(quote, pck, key, OWNER, address(0));
    }

    function test_a_chip_has_one_live_key_and_its_former_one_settles_for_a_day() external {
        bytes32 enclaveId = register(".chips[0]", key, address(0));
        register(".chips[0]", otherKey, key);
        require(!registry.isLive(enclaveId, key) && registry.isLive(enclaveId, otherKey), "one");
        settle(SECRET, Checkpoint(enclaveId, key, 5, keccak256("five"), 5));
        vm.warp(time() + 1 days);
        Checkpoint memory late = Checkpoint(enclaveId, key, 6, keccak256("six"), 6);
        (bytes32 r, bytes32 vs) = sign(SECRET, ledger.hashOf(late));
        bytes32 whose = bytes32(abi.encodePacked(key, bytes9(enclaveId << 184)));
        vm.expectRevert(
            abi.encodeWithSelector(WorkLedger.Refused.selector, key, uint64(6), WorkLedger.Refusal.NotEarning)
        );
        ledger.submitCheckpoint(whose, uint256(6) << 64 | 6, keccak256("six"), r, vs);
    }

    function test_work_is_settled_paid_from_escrow_and_rewarded() external {
        bytes32 enclaveId = register(".chips[0]", key, address(0));
        earn(1_000e18);
        WorkProof memory done = proofOf(key, enclaveId, MEASUREMENT, "simulated", 1);
        bytes32[] memory hashes = new bytes32[](3);
        hashes[0] = ledger.hashOf(proofOf(key, enclaveId, MEASUREMENT, "simulated", 0));
        hashes[1] = ledger.hashOf(done);
        hashes[2] = ledger.hashOf(proofOf(key, enclaveId, MEASUREMENT, "simulated", 2));
        settle(SECRET, Checkpoint(enclaveId, key, 3, RfcTree.rootOf(hashes), 3 * done.units));
        bytes32[] memory path = RfcTree.pathOf(hashes, 1);
        require(ledger.isSettled(key, hashes[1], 1, path) && !ledger.isSettled(key, hashes[2], 1, path), "settled");

        vm.startPrank(OWNER);
        token.approve(address(escrow), 50_000);
        escrow.deposit(done.manifest, OWNER, done.price, 2, uint40(time() + 9 days), enclaveId);
        uint256 before = token.balanceOf(OWNER);
        escrow.releaseSettled(done, OWNER, path);
        require(escrow.withdraw(OWNER) == done.price && token.balanceOf(OWNER) == before + done.price, "paid");
        vm.stopPrank();
        bytes32[] memory frontier = new bytes32[](2);
        frontier[0] = keccak256(bytes.concat(hex"01", RfcTree.leaf(hashes[0]), RfcTree.leaf(hashes[1])));
        frontier[1] = RfcTree.leaf(hashes[2]);
        ledger.submitProof(packed(SECRET, proofOf(key, enclaveId, MEASUREMENT, "simulated", 3), 3, frontier));
        (uint64 size,) = ledger.settled(key);
        require(size == 4, "alone");
    }

    function test_a_pause_stops_registration_and_settlement_and_no_withdrawal() external {
        bytes32 enclaveId = register(".chips[0]", key, address(0));
        earn(1_000e18);
        vm.startPrank(OWNER);
        token.approve(address(escrow), 50_000);
        token.approve(address(vault), 10e18);
        vault.bond(enclaveId, 10e18);
        escrow.deposit(keccak256("manifest"), OWNER, 25_000, 2, uint40(time() + 1), 0);
        vm.stopPrank();
        vm.prank(GUARDIAN);
        registry.pause();
        bytes memory quote = quoteFor(".chips[1]", otherKey, OWNER, 0);
        bytes memory pck = field(".chips[1].pck");
        vm.expectRevert(Admission.Paused.selector);
        registry.register(quote, pck, otherKey, OWNER, address(0));
        bytes memory batch = packed(SECRET, Checkpoint(enclaveId, key, 5, keccak256("five"), 5));
        vm.expectRevert(abi.encodeWithSelector(WorkLedger.NothingSettled.selector, 1));
        ledger.submitCheckpoints(batch);
        vm.warp(time() + 1);
        escrow.refund(keccak256("manifest"), OWNER);
        vm.startPrank(OWNER);
        require(escrow.withdraw(OWNER) == 50_000, "escrow");
        vault.unbond(enclaveId, 10e18);
        vault.withdraw(enclaveId);
        require(token.balanceOf(OWNER) == 1_000e18, "bond");
        vm.stopPrank();
    }

    function test_newer_material_bars_a_revoked_chip_and_refuses_one_that_fell_behind() external {
        bytes32 first = register(".chips[0]", key, address(0));
        bytes32 second = register(".chips[1]", otherKey, address(0));
        address[] memory keys = new address[](1);
        keys[0] = otherKey;
        bytes memory pck = field(".chips[1].pck");
        vm.expectRevert(Admission.NotRevoked.selector);
        registry.evict(3, Platform.Simulated, pck, keys);
        vm.warp(time() + 1 days);
        bring(".later");
        registry.evict(3, Platform.Simulated, pck, keys);
        require(registry.chip(second).barred && registry.chipOfEarner(otherKey) == 0, "revoked");
        require(registry.isLive(first, key), "until its material is over");
        bytes memory quote = quoteFor(".chips[0]", vm.addr(7), OWNER, 1);
        pck = field(".chips[0].pck");
        vm.expectRevert(
            abi.encodeWithSelector(
                Admission.StatusBelowFloor.selector, TcbStatus.OutOfDate, TcbStatus.SWHardeningNeeded
            )
        );
        registry.register(quote, pck, vm.addr(7), OWNER, key);
        vm.warp(registry.keyOf(key).liveUntil);
        require(!registry.isLive(first, key) && registry.chipOfEarner(key) == 0, "over");
    }

    function test_a_renewal_under_newer_material_lives_longer_and_a_kept_key_not_longer_than_its_proof() external {
        policy.announce(MEASUREMENT, TcbStatus.OutOfDate, type(uint40).max);
        register(".chips[0]", key, address(0));
        uint32 until = registry.keyOf(key).liveUntil;
        bytes32 enclaveId = idOf(".chips[0]");
        vm.warp(time() + 1 days);
        bring(".later");
        bytes memory quote = quoteFor(".chips[0]", key, OWNER, until);
        registry.renewKept(slice(quote, 0, 432), slice(quote, 432, 496), slice(quote, 496, 560), enclaveId, key);
        require(registry.keyOf(key).liveUntil == until, "kept");
        registry.renew(quote, field(".chips[0].pck"), key);
        require(registry.keyOf(key).liveUntil == until + 1 days, "full");
        require(registry.chip(enclaveId).status == TcbStatus.OutOfDate, "status");
    }

    function test_revoked_code_ends_every_key_at_once() external {
        bytes32 enclaveId = register(".chips[0]", key, address(0));
        vm.prank(GUARDIAN);
        policy.revoke(MEASUREMENT);
        require(!registry.isLive(enclaveId, key) && registry.chipOfEarner(key) == 0);
    }

    function test_every_contract_of_a_simulated_network_says_so() external view {
        string[8] memory names = [
            collateral.name(),
            verifier.name(),
            router.name(),
            policy.name(),
            registry.name(),
            ledger.name(),
            vault.name(),
            escrow.name()
        ];
        for (uint256 i; i < names.length; ++i) {
            require(bytes10(bytes(names[i])) == "SIMULATED ", names[i]);
        }
        require(bytes10(bytes(token.name())) == "SIMULATED " && ledger.realm() == Realm.Simulated);
    }

    function slice(bytes memory data, uint256 start, uint256 end) private pure returns (bytes memory out) {
        out = new bytes(end - start);
        for (uint256 i; i < out.length; ++i) {
            out[i] = data[start + i];
        }
    }
}
