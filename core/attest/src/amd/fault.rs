//! What can be wrong with an SNP report.

/// Why an SNP report, or its binding to the key's certificate, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpFault {
    // The report alone.
    /// Not 1184 bytes.
    #[error("{0} bytes, a report has 1184")]
    Length(usize),
    /// A version other than 2 to 5.
    #[error("report version {0}")]
    Version(u32),
    /// Bit 17 of the guest policy is clear; firmware launches no such guest.
    #[error("guest policy {0:#x} without its bit 17")]
    Policy(u64),
    /// A privilege level that no guest has, such as that of reports made for the hypervisor.
    #[error("asked for at privilege level {0:#x}, a guest has 0 to 3")]
    Vmpl(u32),
    /// A signature algorithm other than ECDSA P-384 with SHA-384.
    #[error("signature algorithm {0}")]
    SignatureAlgorithm(u32),
    /// A kind of signing key that no specification names.
    #[error("signing key of kind {0}")]
    SigningKey(u8),
    /// Says that no key signed it: the host masks the chip's key.
    #[error("no key signed it")]
    Unsigned,
    /// Bytes beyond the numbers of the signature are not zero.
    #[error("signature with bytes that do not belong to it")]
    SignaturePadding,

    // The certificates given.
    /// More authorities or revocation lists than are read.
    #[error("more than {0} authorities or revocation lists")]
    TooMany(usize),
    /// No authority of the name that issued the key's certificate, with a root above it, is known.
    #[error("the authority that issued the key's certificate is not known")]
    NoAuthority,

    // The report and the certificate of the key.
    /// Signed, it says, by a VCEK where the certificate is of a VLEK, or the other way around.
    #[error("the report names another kind of key than the certificate")]
    OtherKey,
    /// The certificate's product name is missing or malformed.
    #[error("product name of the certificate missing or malformed")]
    ProductExtension,
    /// The certificate is for another product than its authority's.
    #[error("the certificate is for another product than its authority")]
    OtherProduct,
    /// The report's processor is not of the authority's product.
    #[error("processor family {family:#x} model {model:#x} is another product than the authority's")]
    OtherProcessor {
        /// CPUID family, combined.
        family: u8,
        /// CPUID model, combined.
        model: u8,
    },
    /// A firmware version in the certificate is missing, malformed or of another product.
    #[error("firmware versions of the certificate missing or malformed")]
    TcbExtension,
    /// The certificate is for other firmware than the report's.
    #[error("the certificate is for other firmware than the report's")]
    OtherTcb,
    /// The certificate's hardware id is missing, malformed, or there where the key is no chip's.
    #[error("hardware id of the certificate missing, malformed or out of place")]
    HardwareIdExtension,
    /// The certificate is for another chip than the report's.
    #[error("the certificate is for another chip than the report's")]
    OtherChip,
}
