//! Certificates and what they sign, for all vendors. A signature is checked before anything that it
//! covers is parsed.

mod certificate;
mod crl;
pub(crate) mod pem;
mod signature;

pub use certificate::CertificateError;
pub(crate) use certificate::Certificate;
pub(crate) use crl::Crl;
pub(crate) use signature::PublicKey;
