// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Platform, Realm, Verdict} from "../Types.sol";

/// Verifies Intel quotes on chain. Implementations are immutable; a router names the current one.
///
/// `quote` is the compact form of a DCAP quote: header and body (which the attestation key signs), signature r ‖ s, attestation
/// key x ‖ y, report of the quoting enclave, its signature r ‖ s, 32 bytes of authentication data. Lengths and certification
/// types are left out, as they follow. `pck` is the chip's certificate in the lean form, which replaces the PEM chain: what differs
/// from certificate to certificate (contracts/src/dcap/PckCertificate.sol). Its issuers are proven once in the collateral.
/// core/attest, `Compact`, makes both.
interface IQuoteVerifier {
    function realm() external view returns (Realm);

    /// Verifies everything, and keeps the attestation key until the material it was judged by runs out.
    function verify(bytes calldata quote, bytes calldata pck) external returns (Verdict memory);

    /// Verifies a quote whose attestation key is kept. `quote` is header and body alone, `signature` r ‖ s, `key` x ‖ y;
    /// `enclaveId` names the chip that the key was kept for.
    function verifyKept(bytes calldata quote, bytes calldata signature, bytes calldata key, bytes32 enclaveId)
        external
        view
        returns (Verdict memory);

    /// The Enclave ID and revocation of the chip that a PCK certificate names; the certificate's signature is verified.
    /// One chip has another Enclave ID as an SGX than as a TDX platform, so the caller says which is meant.
    function revoked(Platform platform, bytes calldata pck) external view returns (bytes32 enclaveId, bool isRevoked);
}
