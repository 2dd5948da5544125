// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm} from "../Types.sol";
import {Collateral} from "./Collateral.sol";

/// @title Collateral under a root that somebody made for tests
/// @notice Says so in its name and, as its realm, in each event.
contract SimulatedCollateral is Collateral {
    /// @param root The one root, for good.
    constructor(Root memory root) Collateral(root, Realm.Simulated) {}

    /// @inheritdoc Collateral
    function name() external pure override returns (string memory) {
        return "SIMULATED Glacier Intel collateral";
    }
}
