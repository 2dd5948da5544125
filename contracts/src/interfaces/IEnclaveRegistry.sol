// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, TcbStatus} from "../Types.sol";
import {IMeasurementPolicy} from "./IMeasurementPolicy.sol";

/// Enclave IDs and the keys that speak for them.
interface IEnclaveRegistry {
    /// A chip: one storage slot.
    struct Chip {
        address owner;
        /// How often a key was registered for it; the next registration names this number.
        uint32 registrations;
        /// Of the measurement in the policy.
        uint32 code;
        Platform platform;
        TcbStatus status;
        /// Revoked by the vendor, or caught in a fork. Never cleared.
        bool barred;
    }

    /// A key: one storage slot.
    struct Key {
        /// The Enclave ID's first 23 bytes; zero for a key that was never registered.
        bytes23 chipPrefix;
        /// Seconds since 1970, exclusive; zero for a key that was ended.
        uint32 liveUntil;
        /// Which registration of the chip this was, from 1. The newest is the chip's current key.
        uint24 registration;
        /// Of the measurement in the policy, under which the key was registered.
        uint16 code;
    }

    function realm() external view returns (Realm);

    function policy() external view returns (IMeasurementPolicy);

    /// Whether registration and settlement are paused.
    function paused() external view returns (bool);

    function chip(bytes32 enclaveId) external view returns (Chip memory);

    function keyOf(address key) external view returns (Key memory);

    /// Whether what this key signs is settled now: it is live, or it was replaced so recently that what it signed
    /// before may still be settled; its code is not revoked; nothing is paused. `chipPrefix` is the Enclave ID's
    /// first 23 bytes.
    function mayEarn(address key) external view returns (bool earns, bytes23 chipPrefix);

    /// The first 23 bytes of the Enclave ID that this key earns for now, zero if it may not earn: `mayEarn` in one word, for
    /// the ledger. Its selector is the lowest of the contract, which saves its caller the walk through all others.
    function chipOfEarner(address key) external view returns (bytes23);

    /// Whether this is the one live key of the chip.
    function isLive(bytes32 enclaveId, address key) external view returns (bool);

    /// Whether the key was ever registered for the chip.
    function belongs(bytes32 enclaveId, address key) external view returns (bool);

    /// Bars a chip for good, and ends those of `keys` that are its own. Only the ledger, when it has seen two
    /// statements that contradict each other. Any key of a barred chip that is not named here can be ended by anyone.
    function bar(bytes32 enclaveId, address[] calldata keys) external;

    /// Ends all keys of revoked code at once. Anyone; reverts unless the policy has revoked it.
    function stop(uint32 code) external;
}
