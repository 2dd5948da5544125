//! OCSP answers (RFC 6960).

/// Why an OCSP answer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspFault {
    /// Not an answer of the expected shape.
    #[error("malformed")]
    Malformed,
}
