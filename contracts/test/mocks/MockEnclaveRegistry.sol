// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, TcbStatus} from "../../src/Types.sol";
import {IEnclaveRegistry} from "../../src/interfaces/IEnclaveRegistry.sol";

/// A registry that is told what it says.
contract MockEnclaveRegistry is IEnclaveRegistry {
    Realm public immutable realm;
    mapping(bytes32 => Chip) private _chips;
    mapping(bytes32 => address) public liveKey;
    mapping(bytes32 => mapping(address => bool)) public belongs;

    constructor(Realm realm_) {
        realm = realm_;
    }

    function put(bytes32 enclaveId, address owner, address key) external {
        Chip storage c = _chips[enclaveId];
        c.owner = owner;
        c.registrations += 1;
        c.code = 1;
        c.platform = realm == Realm.Production ? Platform.Sgx : Platform.Simulated;
        c.status = TcbStatus.UpToDate;
        liveKey[enclaveId] = key;
        belongs[enclaveId][key] = true;
    }

    function expire(bytes32 enclaveId) external {
        liveKey[enclaveId] = address(0);
    }

    function bar(bytes32 enclaveId) external {
        _chips[enclaveId].barred = true;
        liveKey[enclaveId] = address(0);
    }

    function chip(bytes32 enclaveId) external view returns (Chip memory) {
        return _chips[enclaveId];
    }

    function mayEarn(address) external pure returns (bool, bytes23) {
        return (false, 0);
    }

    function isLive(bytes32 enclaveId, address key) external view returns (bool) {
        return key != address(0) && liveKey[enclaveId] == key;
    }
}
