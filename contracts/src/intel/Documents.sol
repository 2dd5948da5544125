// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Json} from "./Json.sol";
import {QeIdentity} from "./QeIdentity.sol";
import {TcbInfo} from "./TcbInfo.sol";

/// @title The reader of TCB info and QE identities
/// @notice Has no state and is trusted for nothing but reading: who signed a text is for the caller to know. It has its own
/// account because the collateral with it is above the largest code that a chain takes (EIP-170); the collateral makes it.
contract Documents {
    /// @notice Reads TCB info, version 3. Reverts on whatever is not in the grammar of `TcbInfo`.
    function tcbInfo(bytes calldata text) external pure returns (TcbInfo.Header memory header, bytes memory packed) {
        (uint256 place, uint256 end) = Json.open(text);
        return TcbInfo.read(place, end);
    }

    /// @notice Reads a QE identity, version 2. Reverts on whatever is not in the grammar of `QeIdentity`.
    function qeIdentity(bytes calldata text)
        external
        pure
        returns (QeIdentity.Header memory header, bytes memory packed)
    {
        (uint256 place, uint256 end) = Json.open(text);
        return QeIdentity.read(place, end);
    }
}
