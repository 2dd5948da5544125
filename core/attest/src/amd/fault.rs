//! What can be wrong with an SNP report.

/// Why an SNP report, or its binding to the key's certificate, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpFault {
    /// Not a report of the expected shape.
    #[error("malformed")]
    Malformed,
}
