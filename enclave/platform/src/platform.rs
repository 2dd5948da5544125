//! The seam between an enclave program and the hardware it runs on.

use crate::locked::{LockError, LockedKey};
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData};

/// What the hardware does for an enclave. Calls block: call them off the async threads.
pub trait Platform: Send + Sync {
    /// What kind of hardware it is, or that it is *simulated*.
    fn kind(&self) -> PlatformKind;

    /// The code that runs, as quotes will say it.
    fn measurement(&self) -> Measurement;

    /// The hardware it runs on.
    fn enclave_id(&self) -> EnclaveId;

    /// Raw evidence over `report_data`. Hardware takes up to seconds and serves one call at a time.
    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError>;

    /// Collateral that fits the quotes: one JSON object in the field names of DCAP's `QuoteCollateralV3`.
    fn collateral(&self) -> Result<Vec<u8>, PlatformError>;

    /// A key that this code on this hardware always gets again, and no other code or hardware does.
    fn sealing_key(&self, purpose: SealingPurpose) -> Result<LockedKey<32>, PlatformError>;
}

/// What a sealing key is for. Each purpose has its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum SealingPurpose {
    /// State the enclave keeps between starts.
    #[n(0)]
    State,
    /// Data of the application.
    #[n(1)]
    App,
}

impl SealingPurpose {
    /// The word that goes into the key derivation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::App => "app",
        }
    }
}

/// Why the platform did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The platform does not answer, or its connection broke.
    #[error("the platform does not answer: {0}")]
    Unreachable(rustix::io::Errno),
    /// What it answered is not an answer to the question.
    #[error("the platform's answer is malformed")]
    Malformed,
    /// It refused.
    #[error("the platform refused")]
    Refused,
    /// The key could not be put into protected memory.
    #[error(transparent)]
    Lock(#[from] LockError),
}
