//! Names that certificates and lists claim, read before anything vouches for them: good for finding
//! the certificate that might have signed them, and for nothing else.

use super::certificate::{CertificateError, Signed};
use der::Decode;
use x509_cert::{TbsCertificate, crl::TbsCertList, name::Name};

/// Subject and issuer of a certificate.
pub(crate) fn certificate(der: &[u8]) -> Result<(Name, Name), CertificateError> {
    let tbs = TbsCertificate::from_der(Signed::read(der)?.content)?;
    Ok((tbs.subject().clone(), tbs.issuer().clone()))
}

/// Issuer of a revocation list.
pub(crate) fn list_issuer(der: &[u8]) -> Result<Name, CertificateError> {
    Ok(TbsCertList::<x509_cert::certificate::Rfc5280>::from_der(Signed::read(der)?.content)?.issuer)
}
