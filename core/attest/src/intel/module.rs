//! The TDX module.

/// Why a TDX module is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdModuleError {
    /// Signed by somebody else than Intel.
    #[error("signed by somebody else")]
    Signer,
}
