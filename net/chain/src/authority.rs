//! What a contract asks of a certificate.

use alloy::primitives::{B256, FixedBytes, keccak256};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
    ext::pkix::SubjectKeyIdentifier,
};

/// How the collateral contract tells authorities apart, and how long one lasts. Not one signature is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority {
    /// keccak256 of the subject's Name, DER.
    name: B256,
    /// Subject key identifier.
    key_id: FixedBytes<20>,
    /// Last second of validity, since 1970.
    pub(crate) not_after: u64,
}

/// Bytes that are no certificate of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate of an authority")]
pub struct BadCertificate;

impl Authority {
    pub(crate) fn read(der: &[u8]) -> Result<Self, BadCertificate> {
        let certificate = Certificate::from_der(der).map_err(|_| BadCertificate)?;
        let tbs = certificate.tbs_certificate();
        let identifier: Option<(bool, SubjectKeyIdentifier)> = tbs.get_extension().map_err(|_| BadCertificate)?;
        let (_, identifier) = identifier.ok_or(BadCertificate)?;
        Ok(Self {
            name: keccak256(tbs.subject().to_der().map_err(|_| BadCertificate)?),
            key_id: FixedBytes::try_from(identifier.0.as_bytes()).map_err(|_| BadCertificate)?,
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
        })
    }

    /// `authorityId` of the contract.
    pub(crate) fn id(&self) -> B256 {
        let mut bytes = [0u8; 64];
        let (name, key_id) = bytes.split_at_mut(32);
        name.copy_from_slice(self.name.as_slice());
        for (to, from) in key_id.iter_mut().zip(self.key_id) {
            *to = from;
        }
        keccak256(bytes)
    }
}
