// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Platform, Realm, TcbStatus, Verdict} from "./Types.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";
import {IMeasurementPolicy} from "./interfaces/IMeasurementPolicy.sol";
import {IQuoteRouter} from "./interfaces/IQuoteRouter.sol";
import {IWorkLedger} from "./interfaces/IWorkLedger.sol";
import {Admission} from "./lib/Admission.sol";
import {Governed} from "./lib/Governed.sol";
import {Signatures} from "./lib/Signatures.sol";

/// Chips, the keys that live in attested code on them, and the devices that this code has appraised.
///
/// A key comes in by a quote that the vendor's signatures prove, whose report data bind key, owner, chain, this contract
/// and a number that is used once. It lives until the vendor's material or the policy's entry runs out, or until its
/// owner ends it, its code is revoked, or its chip is barred. A chip has one live key: a new registration cuts
/// the life of the former one to a day, in which heads of its log that it had signed can still be settled.
contract EnclaveRegistry is IEnclaveRegistry, Admission, EIP712 {
    error NoKey();
    error NoOwner();
    error KeyKnown(address key);
    /// The key is not the chip's current one. The first registration of a chip names no former key.
    error NotCurrent(bytes32 enclaveId, address key);
    error KeyEnded(address key);
    /// report_data[0..32] of the quote.
    error ReportData(bytes32 found, bytes32 expected);
    /// report_data[32..64] of the quote.
    error ReportTag(bytes32 found);
    error PlatformRefused(Platform platform);
    error ChipBarred(bytes32 enclaveId);
    /// What the quote proves is over already.
    error Over(uint256 until);
    /// A renewal that would shorten the life it renews.
    error NotLater(uint256 until, uint256 now_);
    error CodeChanged(uint256 from, uint256 to);
    error TooManyRegistrations(bytes32 enclaveId);
    error NotOwner(address caller, address owner);
    error NotLedger(address caller);
    error LedgerSet(address ledger);
    error ForeignLedger(address ledger);
    error NotOver(address key);
    error QuoteTooShort(uint256 length);
    /// The device is attached to a chip whose key is live.
    error DeviceElsewhere(bytes32 device, address enclaveKey);
    error NotAttached(bytes32 device);
    error NotSigner(address found, address expected);

    /// A key came in. `number` is which registration of the chip it was.
    event Registered(
        bytes32 indexed enclaveId,
        address indexed enclaveKey,
        address indexed owner,
        uint32 number,
        uint32 code,
        Platform platform,
        TcbStatus status,
        uint40 liveUntil,
        Realm realm
    );
    event Renewed(
        bytes32 indexed enclaveId, address indexed enclaveKey, TcbStatus status, uint40 liveUntil, Realm realm
    );
    /// A newer registration of the chip took its place; heads that it had signed are settled until then.
    event Replaced(bytes32 indexed enclaveId, address indexed enclaveKey, uint40 liveUntil, Realm realm);
    /// It never earns again.
    event Ended(bytes32 indexed enclaveId, address indexed enclaveKey, Realm realm);
    /// No key of the chip is ever registered again.
    event Barred(bytes32 indexed enclaveId, address by, Realm realm);
    event DeviceAttached(
        bytes32 indexed device, bytes32 indexed enclaveId, address indexed enclaveKey, uint32 number, Realm realm
    );
    event DeviceDetached(bytes32 indexed device, address indexed enclaveKey, uint32 number, Realm realm);
    event LedgerNamed(address indexed ledger, Realm realm);

    /// A device, one storage slot. It is attached while `enclaveKey` is not zero.
    struct Device {
        address enclaveKey;
        /// What the next attachment names.
        uint32 number;
    }

    /// How long heads of a replaced key are still settled.
    uint40 public constant GRACE = 1 days;
    /// report_data[32..64].
    bytes32 public constant REPORT_TAG = "glacier/registration/v1";
    bytes32 private constant REGISTRATION = keccak256("Registration(address enclaveKey,address owner,uint32 number)");
    bytes32 private constant ATTACHMENT =
        keccak256("DeviceAttachment(bytes32 device,bytes32 enclaveId,address enclaveKey,uint32 number)");

    /// May bar chips.
    address public ledger;

    /// Packed: owner, registrations << 160, code << 192, platform << 224, status << 232, barred << 240.
    mapping(bytes32 enclaveId => uint256) private _chips;
    /// Packed: code, registration << 16, liveUntil << 40, chipPrefix << 72.
    mapping(address key => uint256) private _keys;
    mapping(bytes32 device => Device) private _devices;

    constructor(IQuoteRouter router_, IMeasurementPolicy policy_, address owner_, address guardian_)
        Governed(router_.realm(), owner_, guardian_)
        Admission(router_, policy_)
        EIP712("Glacier", "1")
    {}

    /// Registers `enclaveKey` for the chip that made the quote. Anybody may send it: the quote names the owner. `quote` and
    /// `pck` are as IQuoteVerifier takes them; `formerKey` is the chip's current key, zero if it never had one. The
    /// quote's report data are the digest of `Registration(enclaveKey, owner, number)` and REPORT_TAG, `number` being
    /// the chip's `registrations`: a quote registers once.
    function register(bytes calldata quote, bytes calldata pck, address enclaveKey, address owner_, address formerKey)
        external
        returns (bytes32 enclaveId)
    {
        if (enclaveKey == address(0)) revert NoKey();
        if (owner_ == address(0)) revert NoOwner();
        Verdict memory verdict = _verifier(_version(quote)).verify(quote, pck);
        enclaveId = verdict.enclaveId;
        uint256 packed = _chips[enclaveId];
        if (_isBarred(packed)) revert ChipBarred(enclaveId);
        uint32 number = uint32(packed >> 160);
        _checkReport(verdict, enclaveKey, owner_, number);
        if (_keys[enclaveKey] != 0) revert KeyKnown(enclaveKey);
        (uint256 code, uint256 until) = _life(verdict);
        if (number == type(uint24).max) revert TooManyRegistrations(enclaveId);
        _replace(enclaveId, formerKey, number);
        ++number;
        _chips[enclaveId] = uint256(uint160(owner_)) | uint256(number) << 160 | code << 192 | uint256(verdict.platform)
            << 224 | uint256(verdict.status) << 232;
        _keys[enclaveKey] = uint256(bytes32(bytes23(enclaveId))) | until << 40 | uint256(number) << 16 | code;
        emit Registered(
            enclaveId,
            enclaveKey,
            owner_,
            number,
            uint32(code),
            verdict.platform,
            verdict.status,
            uint40(until),
            realm()
        );
    }

    /// Proves the chip's standing and its current key anew, with full verification, and prolongs the key's life.
    /// The quote's report data are as in `register`, `number` being the key's `liveUntil`: a quote that
    /// prolonged a life has no use afterwards.
    function renew(bytes calldata quote, bytes calldata pck, address enclaveKey) external {
        _renew(_verifier(_version(quote)).verify(quote, pck), enclaveKey);
    }

    /// Like `renew`, with an attestation key that the verifier keeps: `quote` is header and body alone, `signature` r ‖ s,
    /// `attestationKey` x ‖ y.
    function renewKept(
        bytes calldata quote,
        bytes calldata signature,
        bytes calldata attestationKey,
        bytes32 enclaveId,
        address enclaveKey
    ) external {
        _renew(_verifier(_version(quote)).verifyKept(quote, signature, attestationKey, enclaveId), enclaveKey);
    }

    /// Ends a key of the caller's chip at once. The chip can be registered again, with another key.
    function revoke(bytes32 enclaveId, address enclaveKey) external {
        address owner_ = address(uint160(_chips[enclaveId]));
        if (msg.sender != owner_) revert NotOwner(msg.sender, owner_);
        if (!belongs(enclaveId, enclaveKey)) revert NotCurrent(enclaveId, enclaveKey);
        _end(enclaveId, enclaveKey);
    }

    /// Bars a chip that the vendor has revoked, and ends those of `keys` that are its own. Anybody; `pck` is the chip's PCK
    /// certificate in DER, `version` the quote version whose verifier is asked, `platform` what the chip is registered as.
    function evict(uint16 version, Platform platform, bytes calldata pck, address[] calldata keys) external {
        (bytes32 enclaveId, bool isRevoked) = router.verifier(version).revoked(platform, pck);
        if (!isRevoked) revert NotRevoked();
        _bar(enclaveId, keys);
    }

    /// @inheritdoc IEnclaveRegistry
    function bar(bytes32 enclaveId, address[] calldata keys) external {
        if (msg.sender != ledger) revert NotLedger(msg.sender);
        _bar(enclaveId, keys);
    }

    /// Ends a key of a barred chip. Anybody.
    function end(bytes32 enclaveId, address enclaveKey) external {
        if (!_isBarred(_chips[enclaveId]) || !belongs(enclaveId, enclaveKey)) revert NotOver(enclaveKey);
        _end(enclaveId, enclaveKey);
    }

    /// Attaches a device to the chip of a live key: that key's code has appraised the device, and says so by its signature
    /// (EIP-2098) over `DeviceAttachment(device, enclaveId, enclaveKey, number)`, `number` being the device's. The
    /// vendor's P-384 signatures cannot be checked here: what stands behind an attachment is the accepted code
    /// alone. A device is attached to one chip at a time; it is free once detached, or once the key that attached it
    /// is no longer live.
    function attachDevice(bytes32 device, bytes32 enclaveId, address enclaveKey, bytes32 r, bytes32 vs) external {
        if (!isLive(enclaveId, enclaveKey)) revert NotCurrent(enclaveId, enclaveKey);
        if (chipOfEarner(enclaveKey) == 0) revert KeyEnded(enclaveKey);
        Device memory held = _devices[device];
        uint256 holder = _keys[held.enclaveKey];
        if (bytes23(bytes32(holder)) != bytes23(enclaveId) && _untilOf(holder) > block.timestamp) {
            revert DeviceElsewhere(device, held.enclaveKey);
        }
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(ATTACHMENT, device, enclaveId, enclaveKey, held.number)));
        address signer = Signatures.signer(digest, r, vs);
        if (signer != enclaveKey) revert NotSigner(signer, enclaveKey);
        _devices[device] = Device(enclaveKey, held.number + 1);
        emit DeviceAttached(device, enclaveId, enclaveKey, held.number, realm());
    }

    /// Frees a device. The owner of the chip that it is attached to, or anybody once the key that attached it is not live;
    /// `enclaveId` is that chip. Attachments that were signed but not sent are void after it.
    function detachDevice(bytes32 device, bytes32 enclaveId) external {
        Device memory held = _devices[device];
        if (held.enclaveKey == address(0) || !belongs(enclaveId, held.enclaveKey)) revert NotAttached(device);
        address owner_ = address(uint160(_chips[enclaveId]));
        if (msg.sender != owner_ && _untilOf(_keys[held.enclaveKey]) > block.timestamp) {
            revert NotOwner(msg.sender, owner_);
        }
        _devices[device] = Device(address(0), held.number + 1);
        emit DeviceDetached(device, held.enclaveKey, held.number, realm());
    }

    /// Names the ledger that may bar chips. Once; only the owner.
    function setLedger(IWorkLedger ledger_) external onlyOwner {
        if (ledger != address(0)) revert LedgerSet(ledger);
        if (address(ledger_.registry()) != address(this)) revert ForeignLedger(address(ledger_));
        ledger = address(ledger_);
        emit LedgerNamed(address(ledger_), realm());
    }

    /// For people. Begins with "SIMULATED " where it is.
    function name() external view returns (string memory) {
        return _named("Glacier Enclave Registry");
    }

    /// @inheritdoc IEnclaveRegistry
    function realm() public view override(IEnclaveRegistry, Governed) returns (Realm) {
        return Governed.realm();
    }

    /// @inheritdoc IEnclaveRegistry
    function policy() external view returns (IMeasurementPolicy) {
        return POLICY;
    }

    /// @inheritdoc IEnclaveRegistry
    function stop(uint32 code) public override(IEnclaveRegistry, Admission) {
        Admission.stop(code);
    }

    /// @inheritdoc IEnclaveRegistry
    function paused() public view override(IEnclaveRegistry, Admission) returns (bool) {
        return Admission.paused();
    }

    /// @inheritdoc IEnclaveRegistry
    function chip(bytes32 enclaveId) external view returns (Chip memory) {
        uint256 packed = _chips[enclaveId];
        return Chip({
            owner: address(uint160(packed)),
            registrations: uint32(packed >> 160),
            code: uint32(packed >> 192),
            platform: Platform(uint8(packed >> 224)),
            status: TcbStatus(uint8(packed >> 232)),
            barred: _isBarred(packed)
        });
    }

    /// @inheritdoc IEnclaveRegistry
    function keyOf(address key) external view returns (Key memory) {
        uint256 packed = _keys[key];
        return Key({
            chipPrefix: bytes23(bytes32(packed)),
            liveUntil: _untilOf(packed),
            registration: _numberOf(packed),
            code: uint16(packed)
        });
    }

    /// @inheritdoc IEnclaveRegistry
    function chipOfEarner(address key) public view returns (bytes23) {
        uint256 packed = _keys[key];
        if (_untilOf(packed) <= block.timestamp || !_earns(uint16(packed))) return 0;
        return bytes23(bytes32(packed));
    }

    /// @inheritdoc IEnclaveRegistry
    function mayEarn(address key) external view returns (bool earns, bytes23 chipPrefix) {
        return (chipOfEarner(key) != 0, bytes23(bytes32(_keys[key])));
    }

    /// @inheritdoc IEnclaveRegistry
    function isLive(bytes32 enclaveId, address key) public view returns (bool) {
        uint256 packed = _chips[enclaveId];
        return !_isBarred(packed) && _isCurrent(enclaveId, _keys[key], uint32(packed >> 160))
            && _untilOf(_keys[key]) > block.timestamp && !isStopped(uint16(_keys[key]));
    }

    /// @inheritdoc IEnclaveRegistry
    function belongs(bytes32 enclaveId, address key) public view returns (bool) {
        uint256 packed = _keys[key];
        return packed != 0 && bytes23(bytes32(packed)) == bytes23(enclaveId);
    }

    /// Which key attached a device, zero if none, and the number that its next attachment names.
    function deviceOf(bytes32 device) external view returns (Device memory) {
        return _devices[device];
    }

    /// report_data[0..32] of the quote that registers (`number`: the chip's registrations) or renews (the key's liveUntil).
    function registrationDigest(address enclaveKey, address owner_, uint32 number) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(REGISTRATION, enclaveKey, owner_, number)));
    }

    /// The digest that an enclave key signs to attach a device.
    function attachmentDigest(bytes32 device, bytes32 enclaveId, address enclaveKey, uint32 number)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(ATTACHMENT, device, enclaveId, enclaveKey, number)));
    }

    /// What the quote binds is this registration. Virtual for tests on genuine quotes alone, which bind something else.
    function _checkBinding(bytes32 found, bytes32 tag, bytes32 expected) internal pure virtual {
        if (tag != REPORT_TAG) revert ReportTag(tag);
        if (found != expected) revert ReportData(found, expected);
    }

    function _checkReport(Verdict memory verdict, address enclaveKey, address owner_, uint32 number) private view {
        _checkBinding(verdict.reportData, verdict.reportTag, registrationDigest(enclaveKey, owner_, number));
        // A production deployment has no simulated root; that it takes no simulated platform either is said twice.
        bool simulated = verdict.platform == Platform.Simulated && realm() == Realm.Production;
        if (simulated || verdict.platform == Platform.None) revert PlatformRefused(verdict.platform);
    }

    function _version(bytes calldata quote) private pure returns (uint16) {
        if (quote.length < 2) revert QuoteTooShort(quote.length);
        return uint16(uint8(quote[0])) | uint16(uint8(quote[1])) << 8;
    }

    /// The code's number, and the earlier of the ends of material and policy.
    function _life(Verdict memory verdict) private returns (uint256 code, uint256 until) {
        (code, until) = _judge(verdict.measurement, verdict.status);
        if (verdict.validUntil < until) until = verdict.validUntil;
        if (until > type(uint32).max) until = type(uint32).max;
        if (until <= block.timestamp) revert Over(until);
    }

    function _replace(bytes32 enclaveId, address formerKey, uint32 number) private {
        if (number == 0 && formerKey == address(0)) return;
        uint256 former = _keys[formerKey];
        if (number == 0 || !_isCurrent(enclaveId, former, number)) revert NotCurrent(enclaveId, formerKey);
        uint256 until = block.timestamp + GRACE;
        if (_untilOf(former) <= until) return;
        _keys[formerKey] = _withUntil(former, until);
        emit Replaced(enclaveId, formerKey, uint40(until), realm());
    }

    function _renew(Verdict memory verdict, address enclaveKey) private {
        bytes32 enclaveId = verdict.enclaveId;
        uint256 packed = _chips[enclaveId];
        if (_isBarred(packed)) revert ChipBarred(enclaveId);
        uint256 key = _keys[enclaveKey];
        if (!_isCurrent(enclaveId, key, uint32(packed >> 160))) revert NotCurrent(enclaveId, enclaveKey);
        uint32 current = _untilOf(key);
        if (current == 0) revert KeyEnded(enclaveKey);
        _checkReport(verdict, enclaveKey, address(uint160(packed)), current);
        (uint256 code, uint256 until) = _life(verdict);
        if (code != uint16(key)) revert CodeChanged(uint16(key), code);
        if (until < current) revert NotLater(until, current);
        if (uint8(packed >> 232) != uint8(verdict.status)) {
            _chips[enclaveId] = packed & ~(uint256(0xff) << 232) | uint256(verdict.status) << 232;
        }
        _keys[enclaveKey] = _withUntil(key, until);
        emit Renewed(enclaveId, enclaveKey, verdict.status, uint40(until), realm());
    }

    function _bar(bytes32 enclaveId, address[] calldata keys) private {
        uint256 packed = _chips[enclaveId];
        if (!_isBarred(packed)) {
            _chips[enclaveId] = packed | uint256(1) << 240;
            emit Barred(enclaveId, msg.sender, realm());
        }
        // A key of another chip is passed over, and none is asked for: whoever is to be barred must not be able to stop it
        // by registering once more.
        for (uint256 i; i < keys.length; ++i) {
            if (belongs(enclaveId, keys[i])) _end(enclaveId, keys[i]);
        }
    }

    function _end(bytes32 enclaveId, address enclaveKey) private {
        uint256 packed = _keys[enclaveKey];
        if (_untilOf(packed) == 0) return;
        _keys[enclaveKey] = _withUntil(packed, 0);
        emit Ended(enclaveId, enclaveKey, realm());
    }

    function _isCurrent(bytes32 enclaveId, uint256 key, uint32 number) private pure returns (bool) {
        return key != 0 && bytes23(bytes32(key)) == bytes23(enclaveId) && _numberOf(key) == number;
    }

    function _isBarred(uint256 chip_) private pure returns (bool) {
        return chip_ >> 240 & 1 == 1;
    }

    function _untilOf(uint256 key) private pure returns (uint32) {
        return uint32(key >> 40);
    }

    function _numberOf(uint256 key) private pure returns (uint24) {
        return uint24(key >> 16);
    }

    function _withUntil(uint256 key, uint256 until) private pure returns (uint256) {
        return key & ~(uint256(type(uint32).max) << 40) | until << 40;
    }
}
