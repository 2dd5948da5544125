// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DeviceAnchor} from "../src/DeviceAnchor.sol";
import {Realm} from "../src/Types.sol";
import {IEnclaveRegistry} from "../src/interfaces/IEnclaveRegistry.sol";
import {vm} from "./Cheats.sol";
import {GasReport} from "./mocks/GasReport.sol";
import {MockEnclaveRegistry} from "./mocks/MockEnclaveRegistry.sol";

contract AnchorDevicesTest is GasReport {
    uint256 private constant KEY = 0xE1;
    uint256 private constant OTHER_KEY = 0xE2;
    uint256 private constant DEVICE = 0xD1;
    address private constant OWNER = address(0x0DD);
    bytes32 private constant CHIP = keccak256("a chip");
    bytes32 private constant OTHER_CHIP = keccak256("another chip");
    uint40 private constant START = 1_800_000_000;

    MockEnclaveRegistry private registry;
    DeviceAnchor private anchors;
    address private key;
    address private device;

    function setUp() public {
        vm.warp(START);
        registry = new MockEnclaveRegistry(Realm.Production);
        key = vm.addr(KEY);
        device = vm.addr(DEVICE);
        registry.put(CHIP, OWNER, key);
        registry.put(OTHER_CHIP, OWNER, vm.addr(OTHER_KEY));
        anchors = new DeviceAnchor(IEnclaveRegistry(address(registry)));
    }

    function test_a_device_that_an_enclave_vouches_for_anchors_until_its_time_is_over() public {
        cannotAnchor(CHIP, 0);
        enrol(CHIP, KEY, START + 100);
        report("device enrolled", 90_000);
        anchor(CHIP, 0);
        report("device's anchored root", 75_000);
        assert(anchors.has(device, 0));
        registry.expire(CHIP);
        vm.warp(START + 99);
        anchor(CHIP, 1);
        cannotAnchor(OTHER_CHIP, 2);
        vm.warp(START + 100);
        assert(!anchors.isEnrolled(CHIP, device));
        cannotAnchor(CHIP, 2);
    }

    function test_devices_of_a_barred_chip_anchor_nothing() public {
        enrol(CHIP, KEY, START + 100);
        registry.bar(CHIP);
        cannotAnchor(CHIP, 0);
    }

    function test_both_must_have_signed() public {
        DeviceAnchor.Device memory d = DeviceAnchor.Device(CHIP, key, device, START + 100);
        bytes memory byKey = sign(d, KEY);
        bytes memory byDevice = sign(d, DEVICE);
        vm.expectRevert(abi.encodeWithSelector(DeviceAnchor.AnchorWrongSigner.selector, device, key));
        anchors.enrol(d, byDevice, byDevice);
        vm.expectRevert(abi.encodeWithSelector(DeviceAnchor.AnchorWrongSigner.selector, key, device));
        anchors.enrol(d, byKey, byKey);
        d.until += 1;
        vm.expectRevert();
        anchors.enrol(d, byKey, byDevice);
        d.until -= 1;
        anchors.enrol(d, byKey, byDevice);
    }

    function test_only_a_live_key_vouches() public {
        DeviceAnchor.Device memory d = DeviceAnchor.Device(CHIP, vm.addr(OTHER_KEY), device, START + 100);
        bytes memory byKey = sign(d, OTHER_KEY);
        bytes memory byDevice = sign(d, DEVICE);
        vm.expectRevert(abi.encodeWithSelector(DeviceAnchor.AnchorKeyNotLive.selector, CHIP, vm.addr(OTHER_KEY)));
        anchors.enrol(d, byKey, byDevice);
    }

    function test_an_enrolment_only_reaches_further_and_not_too_far() public {
        badUntil(START);
        badUntil(START + 366 days + 1);
        enrol(CHIP, KEY, START + 366 days);
        vm.warp(START + 10);
        badUntil(START + 366 days);
        enrol(OTHER_CHIP, OTHER_KEY, START + 366 days + 1);
        assert(anchors.isEnrolled(OTHER_CHIP, device) && !anchors.isEnrolled(CHIP, device));
        assert(anchors.deviceOf(device).until == START + 366 days + 1);
    }

    function test_a_retired_device_stays_retired() public {
        enrol(CHIP, KEY, START + 100);
        vm.prank(OWNER);
        anchors.retire(CHIP, device);
        cannotAnchor(CHIP, 0);
        DeviceAnchor.Device memory d = DeviceAnchor.Device(CHIP, key, device, START + 200);
        bytes memory byKey = sign(d, KEY);
        bytes memory byDevice = sign(d, DEVICE);
        vm.expectRevert(abi.encodeWithSelector(DeviceAnchor.AnchorDeviceRetired.selector, device));
        anchors.enrol(d, byKey, byDevice);
        vm.prank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(DeviceAnchor.AnchorDeviceRetired.selector, device));
        anchors.retire(CHIP, device);
    }

    function test_only_the_owner_or_the_device_retires_it_and_under_its_chip() public {
        enrol(CHIP, KEY, START + 100);
        bytes memory no = abi.encodeWithSelector(DeviceAnchor.AnchorMayNotRetire.selector, address(this), device);
        vm.expectRevert(no);
        anchors.retire(CHIP, device);
        vm.prank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(DeviceAnchor.AnchorMayNotRetire.selector, OWNER, device));
        anchors.retire(OTHER_CHIP, device);
        vm.prank(device);
        anchors.retire(CHIP, device);
        assert(!anchors.isEnrolled(CHIP, device) && anchors.deviceOf(device).retired);
    }

    function enrol(bytes32 chip, uint256 signer, uint40 until) private {
        DeviceAnchor.Device memory d = DeviceAnchor.Device(chip, vm.addr(signer), device, until);
        anchors.enrol(d, sign(d, signer), sign(d, DEVICE));
    }

    function badUntil(uint40 until) private {
        DeviceAnchor.Device memory d = DeviceAnchor.Device(CHIP, key, device, until);
        bytes memory byKey = sign(d, KEY);
        bytes memory byDevice = sign(d, DEVICE);
        (bool ok, bytes memory reason) = address(anchors).call(abi.encodeCall(anchors.enrol, (d, byKey, byDevice)));
        assert(!ok && bytes4(reason) == DeviceAnchor.AnchorBadUntil.selector);
    }

    function anchor(bytes32 chip, uint64 sequence) private {
        (DeviceAnchor.Batch memory b, bytes memory signature) = batch(chip, sequence);
        assert(!anchors.isBatch(device, sequence, b.root, b.count));
        anchors.anchor(b, signature);
    }

    function cannotAnchor(bytes32 chip, uint64 sequence) private {
        (DeviceAnchor.Batch memory b, bytes memory signature) = batch(chip, sequence);
        vm.expectRevert(abi.encodeWithSelector(DeviceAnchor.AnchorNotEntitled.selector, chip, device));
        anchors.anchor(b, signature);
    }

    function batch(bytes32 chip, uint64 sequence)
        private
        view
        returns (DeviceAnchor.Batch memory b, bytes memory signature)
    {
        b = DeviceAnchor.Batch(chip, device, sequence, keccak256(abi.encode(sequence)), 60);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(DEVICE, anchors.hashOf(b));
        signature = abi.encodePacked(r, s, v);
    }

    function sign(DeviceAnchor.Device memory d, uint256 signer) private view returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Device(bytes32 enclaveId,address enclaveKey,address device,uint40 until)"),
                d.enclaveId,
                d.enclaveKey,
                d.device,
                d.until
            )
        );
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Glacier"),
                keccak256("1"),
                block.chainid,
                address(anchors)
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(signer, keccak256(bytes.concat(hex"1901", domain, structHash)));
        return abi.encodePacked(r, s, v);
    }
}
