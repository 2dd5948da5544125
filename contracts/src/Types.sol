// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Whether a deployment pins the vendor's root or a root that somebody made for tests. Every contract
/// that has an event carries it in that event, and nothing can change it after deployment.
enum Realm {
    Production,
    Simulated
}

/// Kind of hardware. The words that are hashed are `sgx`, `tdx` and `simulated`.
enum Platform {
    None,
    Sgx,
    Tdx,
    Simulated
}

/// Which quoting enclave and which TCB info speak: Intel keeps one of each per kind.
enum Tee {
    Sgx,
    Tdx
}

/// Intel's statuses, best first, so that a floor is a comparison. `Revoked` is never stored for a chip.
enum TcbStatus {
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked
}

/// What a PCK certificate says of a chip (Intel SGX PCK Certificate specification, extension 1.2.840.113741.1.13.1).
struct PckFacts {
    /// keccak256 of the issuer's Name, DER with its tag and length.
    bytes32 issuer;
    /// Authority key identifier.
    bytes20 issuerKeyId;
    /// Serial number, unsigned.
    uint160 serial;
    bytes6 fmspc;
    bytes2 pceId;
    /// The sixteen component SVNs.
    bytes16 components;
    uint16 pceSvn;
}

/// What a TD report says of the TDX module; all zero for SGX.
struct ModuleFacts {
    bytes16 teeTcbSvn;
    bytes32 mrSignerSeamHigh;
    bytes16 mrSignerSeamLow;
    bytes8 seamAttributes;
}

/// What the vendor's material says of one chip at one moment.
struct Standing {
    /// Public key of the CA that signed the PCK certificate.
    uint256 caX;
    uint256 caY;
    /// Status of the level that the chip has, module identity folded in.
    TcbStatus status;
    /// Nothing of the material used is out of date before this (exclusive, seconds since 1970).
    uint40 validUntil;
}

/// What a quote proves.
struct Verdict {
    Platform platform;
    TcbStatus status;
    /// Collateral and certificates that were used hold until then (exclusive).
    uint40 validUntil;
    /// Enclave ID: SHA-256("glacier/enclave-id/v1" 00 ‖ platform word ‖ 00 ‖ PPID).
    bytes32 enclaveId;
    /// SGX: MRENCLAVE. TDX: SHA-256("glacier/measurement/v1" 00 ‖ "tdx" 00 ‖ MRTD ‖ RTMR0..2 ‖ MRCONFIGID ‖ MROWNER ‖ MROWNERCONFIG).
    bytes32 measurement;
    /// report_data[0..32].
    bytes32 reportData;
    /// report_data[32..64].
    bytes32 reportTag;
}
