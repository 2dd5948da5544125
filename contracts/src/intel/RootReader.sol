// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Certificate} from "./Certificate.sol";
import {Collateral} from "./Collateral.sol";

/// @title The reader of a simulated root's certificate
/// @notice A constructor has its arguments in memory and certificates are read from calldata, so the constructor of a simulated
/// deployment asks this, which it makes itself.
contract RootReader {
    /// A certificate that may not issue certificates and revocation lists.
    error RootReaderRole();

    /// @notice What a collateral has to know of its root.
    /// @param der Its certificate: self-signed, of Intel's profile.
    function read(bytes calldata der) external view returns (Collateral.Root memory) {
        Certificate.Fields memory fields = Certificate.root(der);
        uint8 needed = Certificate.CERT_SIGN | Certificate.CRL_SIGN;
        if (!fields.isAuthority || fields.usage & needed != needed) revert RootReaderRole();
        return Collateral.Root(fields.x, fields.y, fields.subject, fields.keyId, fields.serial, fields.notAfter);
    }
}
