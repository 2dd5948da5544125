// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Realm} from "../Types.sol";

/// An owner who sets things up, and a guardian who can only stop them.
abstract contract Governed is Ownable2Step {
    /// Neither the guardian nor the owner.
    error NotGuardian(address caller);

    event GuardianChanged(address indexed guardian, Realm realm);

    Realm private immutable REALM;

    /// Who may stop things beside the owner.
    address public guardian;

    constructor(Realm realm_, address owner_, address guardian_) Ownable(owner_) {
        REALM = realm_;
        _setGuardian(guardian_);
    }

    modifier onlyGuardian() {
        if (msg.sender != guardian && msg.sender != owner()) revert NotGuardian(msg.sender);
        _;
    }

    /// The deployment's root: the vendor's, or a simulated one. Fixed at construction.
    function realm() public view virtual returns (Realm) {
        return REALM;
    }

    /// Names another guardian; zero for none. Only the owner.
    function setGuardian(address guardian_) external onlyOwner {
        _setGuardian(guardian_);
    }

    function _setGuardian(address guardian_) private {
        guardian = guardian_;
        emit GuardianChanged(guardian_, REALM);
    }

    /// A simulated deployment says so before anything else.
    function _named(string memory name_) internal view returns (string memory) {
        return REALM == Realm.Simulated ? string.concat("SIMULATED ", name_) : name_;
    }
}
