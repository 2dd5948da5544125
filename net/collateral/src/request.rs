//! What can be asked.

use crate::{error::FetchError, http::Source};

/// A question to a vendor's service. The types of this crate that can be asked are all there are.
pub trait Request: sealed::Ask {}

impl<R: sealed::Ask> Request for R {}

/// Why something cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// An id of a reference manifest has 1 to 128 letters, digits, `_`, `-` and `.`.
    #[error("no id of a reference manifest")]
    RimId,
    /// The host masks the chip id: there is no certificate to ask for by it.
    #[error("the chip id is masked")]
    ChipIdMasked,
    /// Not an X.509 certificate in DER.
    #[error("not an X.509 certificate")]
    Certificate,
    /// The certificate was issued by another.
    #[error("the certificate was issued by another")]
    Issuer,
}

/// The services, each by its own rules.
pub struct Sources {
    pub(crate) intel: Source,
    pub(crate) intel_root_crl: Source,
    /// Below the base of `intel_root_crl`.
    pub(crate) intel_root_crl_path: &'static str,
    pub(crate) nvidia_rim: Source,
    pub(crate) nvidia_ocsp: Source,
    pub(crate) amd: Source,
}

pub(crate) mod sealed {
    use super::{FetchError, Sources};

    pub trait Ask: Clone + Send + Sync + 'static {
        /// Names the answer in the cache: letters, digits, `_`, `-` and `.`, not a `.` first, below 255.
        fn key(&self) -> String;

        /// The answer as the verifier takes it; nothing of it is verified.
        fn fetch(&self, sources: &Sources) -> impl Future<Output = Result<Vec<u8>, FetchError>> + Send;
    }
}
