// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, TcbStatus} from "../Types.sol";

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

    function realm() external view returns (Realm);

    function chip(bytes32 enclaveId) external view returns (Chip memory);

    /// Whether what this key signs is settled now: it is live, or it was replaced so recently that what it signed
    /// before may still be settled. `chipPrefix` is the Enclave ID's first 23 bytes.
    function mayEarn(address key) external view returns (bool earns, bytes23 chipPrefix);

    /// Whether this is the one live key of the chip.
    function isLive(bytes32 enclaveId, address key) external view returns (bool);

    /// Whether the key was ever registered for the chip.
    function belongs(bytes32 enclaveId, address key) external view returns (bool);

    /// Bars a chip for good. Only the ledger, when it has seen two statements that contradict each other.
    function bar(bytes32 enclaveId) external;
}
