// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Realm} from "./Types.sol";
import {LogTree} from "./lib/LogTree.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";

/// @title Data signed by an enclave or a device, anchored as roots.
/// @notice A signer keeps one series of batches. Batch n is the root of an RFC 6962 tree, with Keccak-256 in place of SHA-256, over
/// `count` leaves `keccak256(0x00 ‖ keccak256(data))` in their order. Batches are anchored by anybody, in order and without a
/// gap, so that a signer can neither leave one out unseen nor put a second one in its place.
///
/// A signer is the live key of an Enclave ID, or a device that such a key vouches for: the enclave has checked the device by
/// whatever way it has (its application says which) and both have signed. What a device measured is as true as its
/// sensor; what is proven here is who signed it, in what order, and that it was there at that time.
contract DeviceAnchor is EIP712 {
    /// A batch as its signer signs it (EIP-712 `Batch`).
    struct Batch {
        bytes32 enclaveId;
        address signer;
        /// From 0, each one more than the last.
        uint64 sequence;
        bytes32 root;
        /// Leaves, not 0.
        uint64 count;
    }

    /// What an enclave says of a device (EIP-712 `Device`); the device signs the same.
    struct Device {
        bytes32 enclaveId;
        address enclaveKey;
        address device;
        /// Until when the device's batches are taken, seconds since 1970, exclusive.
        uint40 until;
    }

    /// One slot a device.
    struct Enrolment {
        /// First 23 bytes of the Enclave ID, as the registry keeps it for keys.
        bytes23 chipPrefix;
        uint40 until;
        /// A retired device stays retired: the signatures that enrolled it can be shown again by anybody.
        bool retired;
    }

    bytes32 public constant BATCH_TYPEHASH =
        keccak256("Batch(bytes32 enclaveId,address signer,uint64 sequence,bytes32 root,uint64 count)");
    bytes32 public constant DEVICE_TYPEHASH =
        keccak256("Device(bytes32 enclaveId,address enclaveKey,address device,uint40 until)");
    /// @notice Longest time that one enrolment can hold.
    uint256 public constant LONGEST_ENROLMENT = 366 days;

    IEnclaveRegistry public immutable registry;
    Realm public immutable realm;

    mapping(address device => Enrolment) private _devices;
    /// One slot a batch: keccak256(root ‖ count).
    mapping(address signer => mapping(uint64 sequence => bytes32)) private _batches;

    event Anchored(
        bytes32 indexed enclaveId,
        address indexed signer,
        uint64 indexed sequence,
        bytes32 root,
        uint64 count,
        Realm realm
    );
    event DeviceEnrolled(
        bytes32 indexed enclaveId, address indexed device, address indexed enclaveKey, uint256 until, Realm realm
    );
    event DeviceRetired(bytes32 indexed enclaveId, address indexed device, address by, Realm realm);

    error AnchorEmptyBatch();
    /// The sequence is taken, or the one before it is missing.
    error AnchorOutOfOrder(address signer, uint64 sequence);
    error AnchorWrongSigner(address recovered, address expected);
    /// Neither the chip's live key nor a device that is enrolled for it.
    error AnchorNotEntitled(bytes32 enclaveId, address signer);
    error AnchorKeyNotLive(bytes32 enclaveId, address key);
    error AnchorBadUntil(uint256 until, uint256 earliest, uint256 latest);
    error AnchorDeviceRetired(address device);
    error AnchorMayNotRetire(address caller, address device);

    constructor(IEnclaveRegistry registry_) EIP712("Glacier", "1") {
        registry = registry_;
        realm = registry_.realm();
    }

    /// @notice "Glacier DeviceAnchor", with "SIMULATED " in front where that is true.
    function name() external view returns (string memory) {
        return realm == Realm.Production ? "Glacier DeviceAnchor" : "SIMULATED Glacier DeviceAnchor";
    }

    /// @notice Anchors the next batch of a signer. Anybody may carry it here.
    /// @param signature 65 bytes r ‖ s ‖ v over the batch, low s.
    /// Reverts if the signature is another's, if the signer is not entitled at this moment, or if the batch is not the next.
    function anchor(Batch calldata batch, bytes calldata signature) external {
        if (batch.count == 0) revert AnchorEmptyBatch();
        mapping(uint64 => bytes32) storage series = _batches[batch.signer];
        if (series[batch.sequence] != 0 || (batch.sequence != 0 && series[batch.sequence - 1] == 0)) {
            revert AnchorOutOfOrder(batch.signer, batch.sequence);
        }
        _checkSigner(hashOf(batch), signature, batch.signer);
        if (!registry.isLive(batch.enclaveId, batch.signer) && !isEnrolled(batch.enclaveId, batch.signer)) {
            revert AnchorNotEntitled(batch.enclaveId, batch.signer);
        }

        series[batch.sequence] = _commitment(batch.root, batch.count);
        emit Anchored(batch.enclaveId, batch.signer, batch.sequence, batch.root, batch.count, realm);
    }

    /// @notice Lets a device sign batches for a chip until `device.until`. Later enrolments of a device reach further; one with
    /// another chip moves it there, which is why the device signs as well.
    /// @param enclaveSignature 65 bytes over `device` by the chip's live key.
    /// @param deviceSignature 65 bytes over the same by the device.
    function enrol(Device calldata device, bytes calldata enclaveSignature, bytes calldata deviceSignature) external {
        Enrolment storage enrolment = _devices[device.device];
        if (enrolment.retired) revert AnchorDeviceRetired(device.device);
        uint256 earliest = (enrolment.until > block.timestamp ? enrolment.until : block.timestamp) + 1;
        uint256 latest = block.timestamp + LONGEST_ENROLMENT;
        if (device.until < earliest || device.until > latest) revert AnchorBadUntil(device.until, earliest, latest);
        if (!registry.isLive(device.enclaveId, device.enclaveKey)) {
            revert AnchorKeyNotLive(device.enclaveId, device.enclaveKey);
        }
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(DEVICE_TYPEHASH, device.enclaveId, device.enclaveKey, device.device, device.until))
        );
        _checkSigner(digest, enclaveSignature, device.enclaveKey);
        _checkSigner(digest, deviceSignature, device.device);

        _devices[device.device] = Enrolment(bytes23(device.enclaveId), device.until, false);
        emit DeviceEnrolled(device.enclaveId, device.device, device.enclaveKey, device.until, realm);
    }

    /// @notice Ends a device's enrolment for good. By the device itself or the owner of the chip it is enrolled for.
    function retire(bytes32 enclaveId, address device) external {
        Enrolment storage enrolment = _devices[device];
        if (enrolment.retired) revert AnchorDeviceRetired(device);
        bool known = enrolment.chipPrefix == bytes23(enclaveId);
        if (!known || (msg.sender != device && msg.sender != registry.chip(enclaveId).owner)) {
            revert AnchorMayNotRetire(msg.sender, device);
        }

        enrolment.retired = true;
        emit DeviceRetired(enclaveId, device, msg.sender, realm);
    }

    /// @notice Whether the data whose Keccak-256 is `dataHash` is leaf `index` of a batch that was anchored.
    /// @param count Leaves of the batch, as it was anchored.
    /// @param path RFC 6962 audit path, from the leaf's sibling up.
    function isAnchored(
        address signer,
        uint64 sequence,
        bytes32 dataHash,
        uint64 index,
        uint64 count,
        bytes32[] calldata path
    ) external view returns (bool) {
        (bool fits, bytes32 root) = LogTree.rootFrom(LogTree.leaf(dataHash), index, count, path);
        return fits && _batches[signer][sequence] == _commitment(root, count);
    }

    /// @notice Whether this very root of so many leaves is a signer's batch.
    function isBatch(address signer, uint64 sequence, bytes32 root, uint64 count) external view returns (bool) {
        return _batches[signer][sequence] == _commitment(root, count);
    }

    /// @notice Whether a signer's batch of this sequence was anchored. The next one to anchor is the first that was not.
    function has(address signer, uint64 sequence) external view returns (bool) {
        return _batches[signer][sequence] != 0;
    }

    /// @notice What is known of a device; all zero if it was never enrolled.
    function deviceOf(address device) external view returns (Enrolment memory) {
        return _devices[device];
    }

    /// @notice Whether a device's batches are taken for a chip now: enrolled, in time, not retired, the chip not barred.
    function isEnrolled(bytes32 enclaveId, address device) public view returns (bool) {
        Enrolment memory enrolment = _devices[device];
        return enrolment.chipPrefix == bytes23(enclaveId) && block.timestamp < enrolment.until && !enrolment.retired
            && !registry.chip(enclaveId).barred;
    }

    /// @notice What a signer signs for a batch.
    function hashOf(Batch calldata batch) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(BATCH_TYPEHASH, batch.enclaveId, batch.signer, batch.sequence, batch.root, batch.count)
            )
        );
    }

    function _commitment(bytes32 root, uint64 count) private pure returns (bytes32) {
        return keccak256(abi.encode(root, count));
    }

    function _checkSigner(bytes32 digest, bytes calldata signature, address signer) private pure {
        address recovered = ECDSA.recoverCalldata(digest, signature);
        if (recovered != signer) revert AnchorWrongSigner(recovered, signer);
    }
}
