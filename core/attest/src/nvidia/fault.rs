//! What can be wrong with a GPU's report.

/// Why a GPU's or switch's report is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuFault {
    /// Not a report of the expected shape.
    #[error("malformed")]
    Malformed,
}
