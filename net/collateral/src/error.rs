//! Every way not to get an answer, sorted by who must act.

use std::io;

use glacier_attest::{AppraisalError, CollateralError, Reason};

/// Why there is no answer, or why the answer that is given is not a newer one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The source cannot be reached or does not finish. Trying later may help.
    #[error("the source cannot be reached: {0}")]
    Unreachable(Unreachable),
    /// The source asks for rest, or this client still grants it the rest it asked for.
    #[error("the source asks to be left alone for {seconds} s")]
    RateLimited {
        /// For how long.
        seconds: u64,
    },
    /// The source does not know what was asked for: an unknown processor model, chip or reference manifest.
    #[error("the source does not know it")]
    NotFound,
    /// The source answers with another HTTP status. One of 500 and above may pass.
    #[error("the source answers with HTTP status {0}")]
    Status(u16),
    /// The answer is longer than answers of its kind may be; the rest was not read.
    #[error("the answer is longer than {max} bytes")]
    TooLarge {
        /// Most bytes that are read.
        max: usize,
    },
    /// The answer is not of the shape that the service defines.
    #[error("the answer is malformed: {0}")]
    Malformed(Malformed),
    /// The verifier refuses the answer. It was not cached.
    #[error("the answer is refused: {0}")]
    Refused(#[from] Fault),
    /// The answer is genuine, but older than the one in the cache that is still valid.
    #[error("the answer is older than the one in the cache, which is still valid")]
    RolledBack,
    /// The cache folder cannot be read or written.
    #[error("the cache folder fails: {0}")]
    Cache(io::ErrorKind),
    /// The runtime is being shut down.
    #[error("interrupted")]
    Interrupted,
}

/// Why a source is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// No address, or no connection to it.
    #[error("no connection")]
    Connect,
    /// TLS fails. With a PCCS: its certificate is not in the file of additional authorities.
    #[error("TLS fails, or the server's certificate is not trusted")]
    Tls,
    /// A time limit passed.
    #[error("time limit passed")]
    Timeout,
    /// The connection broke within the answer.
    #[error("the connection broke")]
    Broken,
}

/// What is wrong with the form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// This header, which carries an issuer chain, is not there.
    #[error("no header {0}")]
    NoHeader(&'static str),
    /// This header is no PEM chain under one percent-encoding.
    #[error("header {0} is not one percent-encoded PEM chain")]
    Header(&'static str),
    /// The body is not the JSON object of the service.
    #[error("not the JSON object of the service")]
    Json,
    /// The body is neither DER nor the hexadecimal of DER.
    #[error("neither DER nor its hexadecimal")]
    Der,
    /// The reference manifest is not base64.
    #[error("not base64")]
    Base64,
    /// The answer is to another question.
    #[error("answers another question")]
    OtherId,
    /// The OCSP response says that the responder could not answer.
    #[error("the responder could not answer")]
    Responder,
    /// The OCSP response carries a nonce, and not ours.
    #[error("carries another nonce")]
    Nonce,
}

/// Why a verifier refuses an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not of its format.
    #[error("malformed")]
    Malformed,
    /// A signature does not hold.
    #[error("a signature does not hold")]
    Signature,
    /// It does not chain to a trusted root.
    #[error("does not chain to a trusted root")]
    Chain,
    /// A signer is revoked, or the answer says that what was asked about is.
    #[error("revoked")]
    Revoked,
    /// Before or after its validity.
    #[error("not current")]
    NotCurrent,
    /// Genuine, and about something else than was asked.
    #[error("about another {0}")]
    Other(&'static str),
    /// Not Intel collateral.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// An answer that the verifier of evidence refuses.
    #[error("{0}")]
    Refused(Box<Reason>),
    /// Intel collateral, or a reference manifest, that fails a check.
    #[error(transparent)]
    Appraisal(Box<AppraisalError>),
}

impl Fault {
    pub(crate) fn refused(reason: Reason) -> Self {
        Self::Refused(Box::new(reason))
    }
}

impl From<AppraisalError> for Fault {
    fn from(error: AppraisalError) -> Self {
        Self::Appraisal(Box::new(error))
    }
}

impl FetchError {
    /// Whether asking the same source again in a moment may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(Unreachable::Tls) => false,
            Self::Unreachable(_) | Self::RateLimited { .. } => true,
            Self::Status(status) => *status >= 500,
            _ => false,
        }
    }
}

impl From<Malformed> for FetchError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Unreachable> for FetchError {
    fn from(unreachable: Unreachable) -> Self {
        Self::Unreachable(unreachable)
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        Self::Cache(error.kind())
    }
}
