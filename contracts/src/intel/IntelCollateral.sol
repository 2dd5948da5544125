// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm} from "../Types.sol";
import {Collateral} from "./Collateral.sol";

/// @title Intel's collateral, on chain
/// @notice The root is Intel SGX Root CA, as a constant of the code (SHA-256 of its certificate:
/// 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3).
contract IntelCollateral is Collateral {
    constructor()
        Collateral(
            Root({
                x: 0x0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5,
                y: 0x67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394,
                // CN = Intel SGX Root CA, O = Intel Corporation, L = Santa Clara, ST = CA, C = US
                name: 0x3112c8e9428b5c08824e727e3ea896f3597c8a91caeafe57d64a4bc08df71dfb,
                keyId: hex"22650cd65a9d3489f383b49552bf501b392706ac",
                serial: uint160(bytes20(hex"22650cd65a9d3489f383b49552bf501b392706ac")),
                // 2049-12-31T23:59:59Z
                notAfter: 2524607999
            }),
            Realm.Production
        )
    {}

    /// @inheritdoc Collateral
    function name() external pure override returns (string memory) {
        return "Glacier Intel collateral";
    }
}
