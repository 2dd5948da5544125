// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm} from "../../src/Types.sol";

/// The one thing that a policy asks of the collateral.
contract CollateralMock {
    Realm public immutable realm;

    constructor(Realm realm_) {
        realm = realm_;
    }
}
