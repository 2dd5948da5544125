//! Certificate revocation lists: complete, direct, of one issuer.

use super::certificate::{Certificate, CertificateError, Signed, issuer_key_id, understood, unix};
use crate::window::Window;
use alloc::{collections::BTreeSet, vec::Vec};
use der::Decode;
use x509_cert::{Version, crl::TbsCertList};

/// A revocation list whose signature held.
#[derive(Debug, Clone)]
pub(crate) struct Crl {
    pub(crate) window: Window,
    revoked: BTreeSet<Vec<u8>>,
}

impl Crl {
    /// Reads a list that `issuer` signed.
    pub(crate) fn read(der: &[u8], issuer: &Certificate) -> Result<Self, CertificateError> {
        if !issuer.signs_lists() {
            return Err(CertificateError::KeyUsage);
        }
        let signed = Signed::read(der)?;
        if !signed.is_by(&issuer.key) {
            return Err(CertificateError::Signature);
        }
        let list = TbsCertList::<x509_cert::certificate::Rfc5280>::from_der(signed.content)?;
        if !signed.is_said_to_be(&list.signature) {
            return Err(CertificateError::Algorithm);
        }
        if list.version != Version::V2 {
            return Err(CertificateError::Malformed);
        }
        // No critical extension is known here: delta and indirect lists carry one (RFC 5280 §5.2).
        let extensions = list.crl_extensions.unwrap_or_default();
        understood(&extensions, &[])?;
        if list.issuer != issuer.subject || !issuer.has_key_id(issuer_key_id(&extensions)?.as_deref()) {
            return Err(CertificateError::Issuer);
        }
        // Optional in ASN.1, required by RFC 5280 §5.1.2.5: a list without end would never go stale.
        let until = list.next_update.ok_or(CertificateError::Malformed)?;
        let mut revoked = BTreeSet::new();
        for entry in list.revoked_certificates.unwrap_or_default() {
            understood(&entry.crl_entry_extensions.unwrap_or_default(), &[])?;
            revoked.insert(entry.serial_number.as_bytes().to_vec());
        }
        Ok(Self { window: Window { from: unix(list.this_update), until: unix(until) }, revoked })
    }

    pub(crate) fn revokes(&self, certificate: &Certificate) -> bool {
        self.revoked.contains(&certificate.serial)
    }
}
