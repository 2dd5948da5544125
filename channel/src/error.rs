//! Why there is no session.

use glacier_wire::{BadSignature, cbor::CborError};
use std::io;

/// Why a handshake ended without a session. On the party's side nothing but a random nonce has left
/// in any of these cases, except [`IdentityRefused`](Self::IdentityRefused).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    // The way to the peer. Trying again may help.
    /// The handshake took longer than its deadline.
    #[error("the handshake was not finished in time")]
    Deadline,
    /// The connection failed or ended early.
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    /// The enclave's platform made no quote for this session.
    #[error(transparent)]
    NoQuote(#[from] NoQuote),

    // The peer is something else than a Glacier channel.
    /// TLS failed: another version, no common algorithm, or a record that was altered on the way.
    #[error("TLS failed: {0}")]
    Tls(rustls::Error),
    /// TLS succeeded, but the peer does not speak `glacier/1`.
    #[error("the peer does not speak glacier/1")]
    OtherProtocol,
    /// The certificate is not one that an enclave makes.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// A handshake frame that is too large or not of the expected shape.
    #[error("a handshake frame cannot be read: {0}")]
    Frame(CborError),

    // The peer is a Glacier channel, and what it shows does not hold. Refused for good.
    /// The claims buffer of the evidence cannot be read.
    #[error("the claims beside the evidence cannot be read: {0}")]
    Claims(CborError),
    /// The evidence was made for another purpose than announcing channel keys.
    #[error("the evidence was made for another purpose")]
    OtherPurpose,
    /// The evidence commits to another key than the one that ends this TLS session: somebody stands
    /// between here and the enclave, and shows the enclave's evidence as their own.
    #[error("the evidence belongs to another channel key than this session's: relayed")]
    Relayed,
    /// The channel key has not signed this session: a recording, or another session's signature.
    #[error("the enclave's key has not signed this session")]
    SessionSignature,
    /// A quote made for this session was asked for, and this is none.
    #[error("the quote was not made for this session")]
    NotFresh,
    /// Collateral was left out although the party does not hold it.
    #[error("the peer left out collateral that is not held here")]
    CollateralMissing,

    // The caller's own doing, or the enclave's answer to it.
    /// The [`glacier_attest::Accepted`] passed to [`crate::Offered::accept`] is for other evidence
    /// than this session offered. Appraise [`crate::Offered::evidence`] with
    /// [`crate::Offered::expected_report_data`].
    #[error("the verdict is about other evidence than this session's")]
    OtherEvidence,
    /// The evidence that the enclave announces is not about the key it was started with.
    #[error("the announced evidence is about another key")]
    Announcement,
    /// Enclave's side: the party's signature over this session does not hold.
    #[error("the party has not proved its identity: {0}")]
    Identity(BadSignature),
    /// Party's side: the enclave has not taken the party's signature.
    #[error("the enclave refused the party's proof of identity")]
    IdentityRefused,
    /// The cryptographic library failed at something that cannot fail.
    #[error("the cryptographic library failed")]
    Crypto,
}

/// Why a certificate is not one that an enclave makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// A chain: an enclave's certificate stands alone.
    #[error("the certificate does not stand alone")]
    NotAlone,
    /// Not an X.509 certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// Not an uncompressed P-256 key.
    #[error("the certificate's key is not a P-256 key")]
    KeyType,
}

/// The platform made no quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the enclave's platform made no quote for this session")]
pub struct NoQuote;

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        // tokio-rustls hands out TLS errors inside of IO errors, and rustls hands out the verifier's
        // inside of its own.
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::Io(error.kind());
        };
        if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = tls
            && let Some(fault) = other.0.downcast_ref::<CertificateFault>()
        {
            return Self::Certificate(*fault);
        }
        Self::Tls(tls.clone())
    }
}

impl From<CertificateFault> for rustls::Error {
    fn from(fault: CertificateFault) -> Self {
        Self::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(std::sync::Arc::new(fault))))
    }
}
