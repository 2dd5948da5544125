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
    ///
    /// Genuine hardware has none to give: collateral comes from the vendor's service, an enclave has no
    /// network, and collateral is signed, so whoever carries it cannot change it. There the answer is
    /// [`PlatformError::CollateralFromHost`]; the host, or the verifier itself, brings it.
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

/// Why the platform did not do it. Where an operator can do something about it, the text says what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The platform does not answer, or its connection broke.
    #[error("the platform does not answer: {0}")]
    Unreachable(rustix::io::Errno),
    /// A device file is not there.
    #[error("there is no {0}: `glacier node doctor` says what this machine lacks")]
    NoDevice(&'static str),
    /// A device file is there and may not be used.
    #[error("{0} may not be used by this process: give its user access, or start it as root")]
    NoPermission(&'static str),
    /// Gramine runs the program without remote attestation.
    #[error("Gramine has no remote attestation: set sgx.remote_attestation = \"dcap\" in the manifest")]
    NoRemoteAttestation,
    /// Gramine could not reach the quoting enclave.
    #[error("the quoting enclave cannot be reached: check aesmd and its socket; after a suspend restart both")]
    NoQuotingEnclave,
    /// No driver answers in configfs-tsm (`ENXIO`).
    #[error("no guest driver answers in configfs-tsm: load tdx_guest or sev_guest in this guest")]
    NoProvider,
    /// Another platform's driver answers than the one that was asked.
    #[error("another platform's driver answers in configfs-tsm than was detected: restart the enclave")]
    WrongProvider,
    /// An earlier quote is still being made (`EBUSY`).
    #[error("the host still works on an earlier quote: ask again later, and restart the guest if it stays so")]
    Busy,
    /// The host did not answer in time (`ETIMEDOUT`).
    #[error("the host's quoting service stays silent: check qgsd on the host; until it answers every quote is busy")]
    TimedOut,
    /// The host answered that it makes no quote (`EIO`).
    #[error("the host makes no quote: check its quoting service and that this machine is registered")]
    HostRefused,
    /// The driver does not take the request (`EINVAL`).
    #[error("the guest driver does not take the request: its interface differs from the one this program knows")]
    NotTaken,
    /// The answer is longer than any evidence this program knows.
    #[error("the answer is longer than any evidence this program knows")]
    TooLarge,
    /// A TDX quote in the DICE form (CWT), which no verifier of ours reads.
    #[error("the quote is above 8 KiB, so of the DICE form (CWT): this program reads versions 4 and 5 only")]
    DiceQuote,
    /// The answer is empty.
    #[error("the platform gave an empty quote: check the host's quoting service")]
    Empty,
    /// Somebody else wrote to our report entry.
    #[error("another program wrote to our report entry: look for what else in this guest uses configfs-tsm")]
    Interfered,
    /// The evidence is over other report data than was asked for.
    #[error("the platform's evidence is over other data than was asked for")]
    OtherReportData,
    /// The SEV-SNP firmware said no; its status.
    #[error("the SEV-SNP firmware refused with status {0:#x}: update it, or check the guest's VMPL")]
    Firmware(u32),
    /// The processor does not say which it is.
    #[error("the processor hides its identity (masked chip id, or a VLEK): the host must show it")]
    MaskedChip,
    /// The evidence shows no identity that this program can read.
    #[error("the platform's evidence shows no identity that this program can read")]
    NoIdentity,
    /// A kernel that makes reports for this machine alone.
    #[error("no quotes without configfs-tsm: run Linux 6.7 or later in the guest, and mount configfs")]
    KernelTooOld,
    /// Measurement registers are not shown by this kernel.
    #[error("this kernel shows no measurement registers: run Linux 6.16 or later in the guest")]
    NoMeasurementRegisters,
    /// TDX gives guests no sealing key, so that nothing can be kept over a restart without a key service.
    #[error("TDX has no sealing key: nothing can be kept over a restart without a key service")]
    NoSealingKey,
    /// Collateral is not the enclave's to give: see [`Platform::collateral`].
    #[error("collateral for this platform comes from the host or the verifier")]
    CollateralFromHost,
    /// A key could not be derived.
    #[error("the sealing key could not be derived")]
    Derivation,
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
