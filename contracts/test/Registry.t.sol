// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EnclaveRegistry} from "../src/EnclaveRegistry.sol";
import {Platform, Realm, TcbStatus, Verdict} from "../src/Types.sol";
import {IEnclaveRegistry} from "../src/interfaces/IEnclaveRegistry.sol";
import {Admission} from "../src/lib/Admission.sol";
import {vm} from "./Cheats.sol";
import {RegistryFixture} from "./RegistryFixture.sol";

contract RegistryTest is RegistryFixture {
    function test_a_registered_key_is_live_until_material_or_policy_is_over() external {
        _register(CHIP, key, address(0));
        IEnclaveRegistry.Chip memory chip = registry.chip(CHIP);
        require(chip.owner == OWNER && chip.registrations == 1 && chip.code == 1 && !chip.barred);
        require(chip.platform == Platform.Tdx && chip.status == TcbStatus.UpToDate);
        require(registry.keyOf(key).liveUntil == VALID_UNTIL && registry.belongs(CHIP, key));
        _requireEarns(key, true);
        vm.warp(VALID_UNTIL - 1);
        _requireEarns(key, true);
        vm.warp(VALID_UNTIL);
        _requireEarns(key, false);
        require(!registry.isLive(CHIP, key) && registry.belongs(CHIP, key));
    }

    function test_the_end_of_the_policys_entry_ends_the_key() external {
        bytes32 code = keccak256("short");
        policy.announce(code, TcbStatus.UpToDate, uint40(START + 1 days));
        Verdict memory verdict = _verdict(CHIP, key, OWNER, 0);
        verdict.measurement = code;
        registry.register(_quote(verdict), "", key, OWNER, address(0));
        require(registry.keyOf(key).liveUntil == START + 1 days);
    }

    function test_a_quote_registers_once() external {
        bytes memory quote = _quote(_verdict(CHIP, key, OWNER, 0));
        registry.register(quote, "", key, OWNER, address(0));
        vm.expectRevert();
        registry.register(quote, "", key, OWNER, key);
        _register(CHIP, otherKey, key);
        vm.expectRevert();
        registry.register(quote, "", key, OWNER, otherKey);
    }

    function test_a_quote_registers_no_other_key_and_no_other_owner() external {
        bytes memory quote = _quote(_verdict(CHIP, key, OWNER, 0));
        bytes32 found = registry.registrationDigest(key, OWNER, 0);
        bytes32 expected = registry.registrationDigest(otherKey, OWNER, 0);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ReportData.selector, found, expected));
        registry.register(quote, "", otherKey, OWNER, address(0));
        expected = registry.registrationDigest(key, STRANGER, 0);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ReportData.selector, found, expected));
        registry.register(quote, "", key, STRANGER, address(0));
    }

    function test_a_quote_for_another_purpose_or_chain_registers_nothing() external {
        Verdict memory verdict = _verdict(CHIP, key, OWNER, 0);
        verdict.reportTag = "glacier/channel/v1";
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ReportTag.selector, verdict.reportTag));
        registry.register(_quote(verdict), "", key, OWNER, address(0));
        bytes memory quote = _quote(_verdict(CHIP, key, OWNER, 0));
        vm.chainId(1);
        vm.expectRevert();
        registry.register(quote, "", key, OWNER, address(0));
    }

    function test_a_second_registration_moves_the_key_and_leaves_the_former_a_day() external {
        _register(CHIP, key, address(0));
        _register(CHIP, otherKey, key);
        require(registry.isLive(CHIP, otherKey) && !registry.isLive(CHIP, key));
        _requireEarns(key, true);
        vm.warp(START + 1 days);
        _requireEarns(key, false);
        _requireEarns(otherKey, true);
        require(registry.chip(CHIP).registrations == 2);
    }

    function test_a_second_registration_names_the_current_key_and_no_other() external {
        bytes memory first = _quote(_verdict(CHIP, key, OWNER, 0));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotCurrent.selector, CHIP, otherKey));
        registry.register(first, "", key, OWNER, otherKey);
        _register(CHIP, key, address(0));
        _register(OTHER_CHIP, otherKey, address(0));
        address third = vm.addr(3);
        bytes memory quote = _quote(_verdict(CHIP, third, OWNER, 1));
        address[3] memory wrong = [address(0), otherKey, third];
        for (uint256 i; i < wrong.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotCurrent.selector, CHIP, wrong[i]));
            registry.register(quote, "", third, OWNER, wrong[i]);
        }
    }

    function test_a_key_is_registered_for_one_chip_once() external {
        _register(CHIP, key, address(0));
        bytes memory quote = _quote(_verdict(OTHER_CHIP, key, OWNER, 0));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.KeyKnown.selector, key));
        registry.register(quote, "", key, OWNER, address(0));
    }

    function test_a_renewal_prolongs_and_its_quote_is_spent() external {
        _register(CHIP, key, address(0));
        Verdict memory verdict = _verdict(CHIP, key, OWNER, uint32(VALID_UNTIL));
        verdict.validUntil += 5 days;
        verdict.status = TcbStatus.SWHardeningNeeded;
        registry.renew(_quote(verdict), "", key);
        require(registry.keyOf(key).liveUntil == VALID_UNTIL + 5 days);
        require(registry.chip(CHIP).status == TcbStatus.SWHardeningNeeded && registry.chip(CHIP).owner == OWNER);
        verdict.validUntil += 5 days;
        vm.expectRevert();
        registry.renew(_quote(verdict), "", key);
        verdict.reportData = registry.registrationDigest(key, OWNER, uint32(VALID_UNTIL + 5 days));
        registry.renewKept(_quote(verdict), "", "", CHIP, key);
        require(registry.isLive(CHIP, key) && registry.keyOf(key).liveUntil == VALID_UNTIL + 10 days);
    }

    function test_a_renewal_never_shortens_and_never_changes_the_code() external {
        _register(CHIP, key, address(0));
        Verdict memory verdict = _verdict(CHIP, key, OWNER, uint32(VALID_UNTIL));
        verdict.validUntil -= 1;
        vm.expectRevert(
            abi.encodeWithSelector(EnclaveRegistry.NotLater.selector, uint256(VALID_UNTIL - 1), uint256(VALID_UNTIL))
        );
        registry.renew(_quote(verdict), "", key);
        bytes32 other = keccak256("other code");
        policy.announce(other, TcbStatus.UpToDate, type(uint40).max);
        verdict.validUntil += 10;
        verdict.measurement = other;
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.CodeChanged.selector, uint256(1), uint256(2)));
        registry.renew(_quote(verdict), "", key);
    }

    function test_a_replaced_key_is_not_renewed() external {
        _register(CHIP, key, address(0));
        _register(CHIP, otherKey, key);
        uint32 until = registry.keyOf(key).liveUntil;
        bytes memory quote = _quote(_verdict(CHIP, key, OWNER, until));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotCurrent.selector, CHIP, key));
        registry.renew(quote, "", key);
    }

    function test_an_owner_ends_a_key_for_good_and_may_register_another() external {
        _register(CHIP, key, address(0));
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotOwner.selector, STRANGER, OWNER));
        registry.revoke(CHIP, key);
        vm.prank(OWNER);
        registry.revoke(CHIP, key);
        _requireEarns(key, false);
        bytes memory quote = _quote(_verdict(CHIP, key, OWNER, 0));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.KeyEnded.selector, key));
        registry.renew(quote, "", key);
        _register(CHIP, otherKey, key);
        _requireEarns(key, false);
        _requireEarns(otherKey, true);
    }

    function test_a_chip_that_the_vendor_revoked_is_barred_and_its_keys_end() external {
        _register(CHIP, key, address(0));
        _register(OTHER_CHIP, otherKey, address(0));
        vm.expectRevert(Admission.NotRevoked.selector);
        registry.evict(4, Platform.Tdx, abi.encode(CHIP, false), _list(key));
        address[] memory keys = new address[](2);
        (keys[0], keys[1]) = (otherKey, key);
        vm.prank(STRANGER);
        registry.evict(4, Platform.Tdx, abi.encode(CHIP, true), keys);
        require(registry.chip(CHIP).barred && !registry.isLive(CHIP, key));
        _requireEarns(key, false);
        _requireEarns(otherKey, true);
        address third = vm.addr(3);
        bytes memory quote = _quote(_verdict(CHIP, third, OWNER, 1));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ChipBarred.selector, CHIP));
        registry.register(quote, "", third, OWNER, key);
    }

    function test_anybody_ends_what_is_left_of_a_barred_chip_and_nothing_else() external {
        _register(CHIP, key, address(0));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotOver.selector, key));
        registry.end(CHIP, key);
        registry.evict(4, Platform.Tdx, abi.encode(CHIP, true), new address[](0));
        Verdict memory verdict = _verdict(CHIP, key, OWNER, uint32(VALID_UNTIL));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.ChipBarred.selector, CHIP));
        registry.renew(_quote(verdict), "", key);
        _register(OTHER_CHIP, otherKey, address(0));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotOver.selector, otherKey));
        registry.end(CHIP, otherKey);
        vm.prank(STRANGER);
        registry.end(CHIP, key);
        _requireEarns(key, false);
    }

    function test_only_the_ledger_bars() external {
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotLedger.selector, address(this)));
        registry.bar(CHIP, _list(key));
    }

    function test_revoked_code_earns_nothing_from_that_transaction_on() external {
        _register(CHIP, key, address(0));
        _register(OTHER_CHIP, otherKey, address(0));
        vm.expectRevert(Admission.NotRevoked.selector);
        registry.stop(1);
        vm.prank(GUARDIAN);
        policy.revoke(CODE);
        require(registry.isStopped(1) && !registry.isLive(CHIP, key));
        _requireEarns(key, false);
        _requireEarns(otherKey, false);
        bytes memory quote = _quote(_verdict(keccak256("third"), vm.addr(3), OWNER, 0));
        vm.expectRevert();
        registry.register(quote, "", vm.addr(3), OWNER, address(0));
        vm.expectRevert();
        registry.adoptVerifier(2);
    }

    function test_other_code_is_not_stopped_with_it_even_beyond_one_word() external {
        bytes32 code;
        for (uint256 i = 2; i <= 300; ++i) {
            code = keccak256(abi.encode(i));
            policy.announce(code, TcbStatus.UpToDate, type(uint40).max);
        }
        Verdict memory verdict = _verdict(CHIP, key, OWNER, 0);
        verdict.measurement = code;
        registry.register(_quote(verdict), "", key, OWNER, address(0));
        require(registry.keyOf(key).code == 300);
        policy.revoke(keccak256(abi.encode(uint256(300 - 256))));
        _requireEarns(key, true);
        policy.revoke(code);
        _requireEarns(key, false);
        require(registry.isStopped(300) && registry.isStopped(44) && !registry.isStopped(299));
    }

    function test_terms_announced_later_are_known_when_they_come_into_force() external {
        _deploy(Realm.Production, 2 days);
        policy.announce(CODE, TcbStatus.SWHardeningNeeded, type(uint40).max);
        vm.warp(START + 2 days);
        _register(CHIP, key, address(0));
        policy.announce(CODE, TcbStatus.UpToDate, type(uint40).max);
        vm.warp(START + 4 days);
        Verdict memory verdict = _verdict(OTHER_CHIP, otherKey, OWNER, 0);
        verdict.status = TcbStatus.SWHardeningNeeded;
        vm.expectRevert(
            abi.encodeWithSelector(Admission.StatusBelowFloor.selector, TcbStatus.SWHardeningNeeded, TcbStatus.UpToDate)
        );
        registry.register(_quote(verdict), "", otherKey, OWNER, address(0));
    }

    function test_a_pause_stops_registration_renewal_and_earning_until_the_owner_ends_it() external {
        _register(CHIP, key, address(0));
        bytes memory quote = _quote(_verdict(OTHER_CHIP, otherKey, OWNER, 0));
        vm.prank(GUARDIAN);
        registry.pause();
        _requireEarns(key, false);
        vm.expectRevert(Admission.Paused.selector);
        registry.register(quote, "", otherKey, OWNER, address(0));
        vm.expectRevert(Admission.Paused.selector);
        registry.renew(quote, "", key);
        vm.expectRevert(Admission.Paused.selector);
        registry.renewKept(quote, "", "", CHIP, key);
        registry.adoptVerifier(4);
        vm.expectRevert(Admission.Paused.selector);
        registry.register(quote, "", otherKey, OWNER, address(0));
        vm.prank(GUARDIAN);
        vm.expectRevert();
        registry.unpause();
        registry.unpause();
        _requireEarns(key, true);
        registry.register(quote, "", otherKey, OWNER, address(0));
    }

    function test_a_production_registry_takes_no_simulated_platform() external {
        _deploy(Realm.Production, 2 days);
        policy.announce(CODE, TcbStatus.UpToDate, type(uint40).max);
        vm.warp(START + 2 days);
        Verdict memory verdict = _verdict(CHIP, key, OWNER, 0);
        verdict.platform = Platform.Simulated;
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.PlatformRefused.selector, Platform.Simulated));
        registry.register(_quote(verdict), "", key, OWNER, address(0));
    }

    function test_what_is_over_already_registers_nothing() external {
        Verdict memory verdict = _verdict(CHIP, key, OWNER, 0);
        verdict.validUntil = uint40(START);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.Over.selector, START));
        registry.register(_quote(verdict), "", key, OWNER, address(0));
    }

    function test_a_device_is_attached_to_one_chip_at_a_time() external {
        bytes32 device = keccak256("device");
        _register(CHIP, key, address(0));
        _register(OTHER_CHIP, otherKey, address(0));
        _attach(device, CHIP, SECRET, 0);
        (bytes32 r, bytes32 vs) = _sign(OTHER_SECRET, registry.attachmentDigest(device, OTHER_CHIP, otherKey, 1));
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.DeviceElsewhere.selector, device, key));
        registry.attachDevice(device, OTHER_CHIP, otherKey, r, vs);
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotOwner.selector, STRANGER, OWNER));
        registry.detachDevice(device, CHIP);
        vm.prank(OWNER);
        registry.detachDevice(device, CHIP);
        require(registry.deviceOf(device).enclaveKey == address(0));
        _attach(device, OTHER_CHIP, OTHER_SECRET, 2);
        require(registry.deviceOf(device).enclaveKey == otherKey);
    }

    function test_an_attachment_is_used_once_and_only_by_a_live_key() external {
        bytes32 device = keccak256("device");
        _register(CHIP, key, address(0));
        (bytes32 r, bytes32 vs) = _sign(SECRET, registry.attachmentDigest(device, CHIP, key, 0));
        registry.attachDevice(device, CHIP, key, r, vs);
        vm.expectRevert();
        registry.attachDevice(device, CHIP, key, r, vs);
        vm.warp(VALID_UNTIL);
        vm.expectRevert(abi.encodeWithSelector(EnclaveRegistry.NotCurrent.selector, CHIP, key));
        registry.attachDevice(device, CHIP, key, r, vs);
        vm.prank(STRANGER);
        registry.detachDevice(device, CHIP);
    }

    function _attach(bytes32 device, bytes32 chip, uint256 secret, uint32 number) private {
        (bytes32 r, bytes32 vs) = _sign(secret, registry.attachmentDigest(device, chip, vm.addr(secret), number));
        registry.attachDevice(device, chip, vm.addr(secret), r, vs);
    }

    function _requireEarns(address who, bool expected) private view {
        (bool earns, bytes23 prefix) = registry.mayEarn(who);
        require(earns == expected && (registry.chipOfEarner(who) != 0) == expected);
        require(prefix == registry.keyOf(who).chipPrefix && prefix != 0);
    }
}
