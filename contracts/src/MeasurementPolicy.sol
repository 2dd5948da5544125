// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm, TcbStatus} from "./Types.sol";
import {IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";
import {IIntelCollateral} from "./interfaces/IIntelCollateral.sol";
import {IMeasurementPolicy} from "./interfaces/IMeasurementPolicy.sol";
import {Governed} from "./lib/Governed.sol";

/// Which code may earn, from when, until when, and on hardware of which standing.
///
/// What the owner announces comes into force after a delay that nobody can change, so that everybody who relies on the list
/// sees a new entry before it counts. What is taken away is gone at once and for good: revoked code can be
/// accepted again only as another build, which has another measurement.
contract MeasurementPolicy is IMeasurementPolicy, Governed {
    /// The delay of a production deployment must be at least `least` seconds.
    error DelayTooShort(uint40 delay, uint40 least);
    /// Zero is no measurement.
    error NoMeasurement();
    /// An entry that would be over before it is in force.
    error OverBeforeInForce(uint40 from, uint40 until);
    /// `Revoked` is no floor.
    error NoFloor();
    error UnknownMeasurement(bytes32 measurement);
    error MeasurementRevoked(bytes32 measurement);
    /// `from` is zero while nothing is announced.
    error NotInForce(bytes32 measurement, uint40 from, uint40 until);
    error StatusBelowFloor(TcbStatus status, TcbStatus floor);
    error RegistrySet(address registry);
    error ForeignRegistry(address registry);

    /// In force from `from`; the terms before it hold until then.
    event MeasurementAnnounced(
        bytes32 indexed measurement, uint32 indexed index, TcbStatus floor, uint40 from, uint40 until, Realm realm
    );
    event MeasurementWithdrawn(bytes32 indexed measurement, uint32 indexed index, address by, Realm realm);
    event RegistryNamed(address indexed registry, Realm realm);

    /// Seconds that a production deployment gives everybody to see a new entry.
    uint40 public constant LEAST_DELAY = 2 days;

    /// One storage slot: the terms in force, and those announced after them.
    struct Entry {
        uint32 index;
        bool revoked;
        uint40 from;
        uint40 until;
        TcbStatus floor;
        uint40 nextFrom;
        uint40 nextUntil;
        TcbStatus nextFloor;
    }

    /// Seconds between announcement and force.
    uint40 public immutable delay;
    /// Told of revocations, so that they end every key of the code in the same transaction.
    IEnclaveRegistry public registry;
    mapping(bytes32 measurement => Entry) private _entries;
    bytes32[] private _measurements;

    /// `delay_` in seconds; a simulated deployment may have none.
    constructor(IIntelCollateral collateral, address owner_, address guardian_, uint40 delay_)
        Governed(collateral.realm(), owner_, guardian_)
    {
        if (realm() == Realm.Production && delay_ < LEAST_DELAY) revert DelayTooShort(delay_, LEAST_DELAY);
        delay = delay_;
    }

    /// @inheritdoc IMeasurementPolicy
    function realm() public view override(IMeasurementPolicy, Governed) returns (Realm) {
        return Governed.realm();
    }

    /// For people. Begins with "SIMULATED " where it is.
    function name() external view returns (string memory) {
        return _named("Glacier Measurement Policy");
    }

    /// Announces code, or other terms for announced code: the worst standing it may run on, and until when it earns
    /// (exclusive, seconds since 1970). Terms in force hold until the new ones come into force; an announcement that
    /// is not yet in force is replaced, and its delay begins anew. Only the owner.
    function announce(bytes32 measurement, TcbStatus floor, uint40 until) external onlyOwner returns (uint32 index) {
        if (measurement == 0) revert NoMeasurement();
        if (floor >= TcbStatus.Revoked) revert NoFloor();
        uint40 from = uint40(block.timestamp) + delay;
        if (until <= from) revert OverBeforeInForce(from, until);
        Entry memory entry = _entries[measurement];
        if (entry.revoked) revert MeasurementRevoked(measurement);
        if (entry.index == 0) {
            _measurements.push(measurement);
            entry.index = uint32(_measurements.length);
        }
        if (entry.nextFrom != 0 && entry.nextFrom <= block.timestamp) {
            (entry.from, entry.until, entry.floor) = (entry.nextFrom, entry.nextUntil, entry.nextFloor);
        }
        (entry.nextFrom, entry.nextUntil, entry.nextFloor) = (from, until, floor);
        _entries[measurement] = entry;
        emit MeasurementAnnounced(measurement, entry.index, floor, from, until, realm());
        return entry.index;
    }

    /// Takes code off the list at once and for good; announced terms go with it. Only guardian or owner.
    function revoke(bytes32 measurement) external onlyGuardian {
        Entry storage entry = _entries[measurement];
        if (entry.index == 0) revert UnknownMeasurement(measurement);
        if (entry.revoked) revert MeasurementRevoked(measurement);
        entry.revoked = true;
        emit MeasurementWithdrawn(measurement, entry.index, msg.sender, realm());
        // The revocation stands whatever the registry answers; anybody can tell it again.
        if (address(registry) != address(0)) try registry.stop(entry.index) {} catch {}
    }

    /// Names the registry that is told of revocations. Once; only the owner.
    function setRegistry(IEnclaveRegistry registry_) external onlyOwner {
        if (address(registry) != address(0)) revert RegistrySet(address(registry));
        if (address(registry_.policy()) != address(this)) revert ForeignRegistry(address(registry_));
        registry = registry_;
        emit RegistryNamed(address(registry_), realm());
    }

    /// @inheritdoc IMeasurementPolicy
    function judge(bytes32 measurement, TcbStatus status) external view returns (uint32 index, uint40 until) {
        TcbStatus floor;
        (index, until,, floor) = termsOf(measurement);
        if (status > floor) revert StatusBelowFloor(status, floor);
    }

    /// @inheritdoc IMeasurementPolicy
    function termsOf(bytes32 measurement)
        public
        view
        returns (uint32 index, uint40 until, uint40 firm, TcbStatus floor)
    {
        Entry memory entry = _entries[measurement];
        if (entry.index == 0) revert UnknownMeasurement(measurement);
        if (entry.revoked) revert MeasurementRevoked(measurement);
        bool inForce;
        uint40 from;
        (inForce, from, until, floor) = _terms(entry);
        if (!inForce) revert NotInForce(measurement, from, until);
        firm = entry.nextFrom > block.timestamp && entry.nextFrom < until ? entry.nextFrom : until;
        index = entry.index;
    }

    /// @inheritdoc IMeasurementPolicy
    function earns(uint32 index) external view returns (bool inForce) {
        Entry memory entry = _entries[measurementOf(index)];
        if (entry.index == 0 || entry.revoked) return false;
        (inForce,,,) = _terms(entry);
    }

    /// @inheritdoc IMeasurementPolicy
    function isRevoked(uint32 index) external view returns (bool) {
        return _entries[measurementOf(index)].revoked;
    }

    /// @inheritdoc IMeasurementPolicy
    function measurementOf(uint32 index) public view returns (bytes32) {
        return index == 0 || index > _measurements.length ? bytes32(0) : _measurements[index - 1];
    }

    /// What was announced for a measurement; all zero if nothing was.
    function entryOf(bytes32 measurement) external view returns (Entry memory) {
        return _entries[measurement];
    }

    /// How many measurements were ever announced: the highest number.
    function count() external view returns (uint256) {
        return _measurements.length;
    }

    function _terms(Entry memory entry)
        private
        view
        returns (bool inForce, uint40 from, uint40 until, TcbStatus floor)
    {
        (from, until, floor) = entry.nextFrom <= block.timestamp
            ? (entry.nextFrom, entry.nextUntil, entry.nextFloor)
            : (entry.from, entry.until, entry.floor);
        inForce = from != 0 && block.timestamp < until;
    }
}
