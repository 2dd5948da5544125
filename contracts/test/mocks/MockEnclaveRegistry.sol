// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, TcbStatus} from "../../src/Types.sol";
import {IEnclaveRegistry} from "../../src/interfaces/IEnclaveRegistry.sol";

/// A registry that is told what it says: of the interface, what is called here.
contract MockEnclaveRegistry {
    Realm public immutable realm;
    mapping(bytes32 => IEnclaveRegistry.Chip) private _chips;
    mapping(bytes32 => address) public liveKey;

    constructor(Realm realm_) {
        realm = realm_;
    }

    function put(bytes32 enclaveId, address owner, address key) external {
        IEnclaveRegistry.Chip storage c = _chips[enclaveId];
        c.owner = owner;
        c.registrations += 1;
        c.code = 1;
        c.platform = realm == Realm.Production ? Platform.Sgx : Platform.Simulated;
        c.status = TcbStatus.UpToDate;
        liveKey[enclaveId] = key;
    }

    function expire(bytes32 enclaveId) external {
        liveKey[enclaveId] = address(0);
    }

    function bar(bytes32 enclaveId) external {
        _chips[enclaveId].barred = true;
        liveKey[enclaveId] = address(0);
    }

    function chip(bytes32 enclaveId) external view returns (IEnclaveRegistry.Chip memory) {
        return _chips[enclaveId];
    }

    function isLive(bytes32 enclaveId, address key) external view returns (bool) {
        return key != address(0) && liveKey[enclaveId] == key;
    }
}
