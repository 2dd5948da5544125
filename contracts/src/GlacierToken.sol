// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Realm} from "./Types.sol";

/// @title What proven work earns: an ERC-20 of 18 decimals with ERC-2612 permits and a cap.
/// @notice The contract that deploys it, a RewardVault, is its minter for good. There is no owner, no pause, no
/// allocation before the first claim: every token that exists was claimed with a proof.
contract GlacierToken is ERC20Permit, ERC20Capped {
    /// @notice Whether the work that it pays for was done on a vendor's hardware or on simulated platforms.
    Realm public immutable realm;

    /// @notice The vault. Nothing can change it.
    address public immutable minter;

    /// The caller is not the vault.
    error TokenNotMinter(address caller, address minter);

    /// @param realm_ The deployer's realm: a simulated token says so in its name, its symbol and its permit domain.
    /// @param cap_ Upper bound of the supply, in units of 10^-18.
    constructor(Realm realm_, uint256 cap_)
        ERC20(_nameIn(realm_), realm_ == Realm.Production ? "GLC" : "sGLC")
        ERC20Permit(_nameIn(realm_))
        ERC20Capped(cap_)
    {
        realm = realm_;
        minter = msg.sender;
    }

    /// @notice Makes `amount` new tokens for `to`. Reverts unless the vault calls, and above the cap.
    /// @return supply The supply afterwards, which the vault compares with what it may have emitted.
    function mint(address to, uint256 amount) external returns (uint256 supply) {
        _onlyMinter();
        _mint(to, amount);
        supply = totalSupply();
    }

    /// @notice Destroys `amount` of the vault's own tokens: slashed bonds. Reverts unless the vault calls.
    function burn(uint256 amount) external {
        _onlyMinter();
        _burn(msg.sender, amount);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) {
        super._update(from, to, value);
    }

    function _onlyMinter() private view {
        if (msg.sender != minter) revert TokenNotMinter(msg.sender, minter);
    }

    function _nameIn(Realm realm_) private pure returns (string memory) {
        return realm_ == Realm.Production ? "Glacier" : "SIMULATED Glacier";
    }
}
