//! Names that certificates and lists claim, read before anything vouches for them: good for finding
//! the certificate that might have signed them, and for nothing else.

use super::certificate::{CertificateError, Signed};
use der::Decode;
use x509_cert::{TbsCertificate, crl::TbsCertList, name::Name};

/// Largest certificate that is read. Vendors' have less than 2 KiB.
const MAX_CERTIFICATE_BYTES: usize = 8 << 10;
/// Largest list that is read: room for thousands of serial numbers, where vendors' roots have a few.
const MAX_LIST_BYTES: usize = 256 << 10;

/// Subject and issuer of a certificate.
pub(crate) fn certificate(der: &[u8]) -> Result<(Name, Name), CertificateError> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(CertificateError::Malformed);
    }
    let tbs = TbsCertificate::from_der(Signed::read(der)?.content)?;
    Ok((tbs.subject().clone(), tbs.issuer().clone()))
}

/// Issuer of a revocation list.
pub(crate) fn list_issuer(der: &[u8]) -> Result<Name, CertificateError> {
    if der.len() > MAX_LIST_BYTES {
        return Err(CertificateError::Malformed);
    }
    Ok(TbsCertList::<x509_cert::certificate::Rfc5280>::from_der(Signed::read(der)?.content)?.issuer)
}
