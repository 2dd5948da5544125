// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm} from "../Types.sol";
import {Collateral} from "./Collateral.sol";
import {RootReader} from "./RootReader.sol";

/// @title Collateral under a root that somebody made for tests
/// @notice Says so in its name and, as its realm, in each event.
contract SimulatedCollateral is Collateral {
    /// @param root Certificate of the one root, for good: DER, self-signed.
    constructor(bytes memory root) Collateral(new RootReader().read(root), Realm.Simulated) {}

    /// @inheritdoc Collateral
    function name() external pure override returns (string memory) {
        return "SIMULATED Glacier Intel collateral";
    }
}
