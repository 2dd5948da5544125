// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Realm, Verdict} from "../Types.sol";

/// Verifies Intel quotes on chain. Implementations are immutable; a router names the current one.
///
/// `quote` is everything of a DCAP quote up to and including the QE authentication data: header, body, signature
/// data length, signature data without its certification data. `pck` is the leaf certificate in DER, which
/// replaces the PEM chain; its issuers are proven once in the collateral.
interface IQuoteVerifier {
    function realm() external view returns (Realm);

    /// Verifies everything, and keeps the attestation key until the material it was judged by runs out.
    function verify(bytes calldata quote, bytes calldata pck) external returns (Verdict memory);

    /// Verifies a quote whose attestation key is kept. `quote` is header and body alone, `signature` r ‖ s, `key` x ‖ y.
    function verifyKept(bytes calldata quote, bytes calldata signature, bytes calldata key)
        external
        view
        returns (Verdict memory);

    /// The Enclave ID and revocation of the chip that a PCK certificate names; the certificate's signature is verified.
    function revoked(bytes calldata pck) external view returns (bytes32 enclaveId, bool isRevoked);
}
