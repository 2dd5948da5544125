//! What a contract asks of a certificate.

use alloy::primitives::{B256, FixedBytes, U256, aliases::U160, keccak256};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
    ext::pkix::SubjectKeyIdentifier,
};

/// A certificate's key and names, as the collateral contract keeps them. Not one signature is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) x: U256,
    pub(crate) y: U256,
    /// keccak256 of the subject's Name, DER.
    pub(crate) name: B256,
    /// Subject key identifier.
    pub(crate) key_id: FixedBytes<20>,
    pub(crate) serial: U160,
    /// Last second of validity, since 1970.
    pub(crate) not_after: u64,
}

/// Bytes that are no certificate of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate of a P-256 authority")]
pub struct BadCertificate;

impl Authority {
    pub(crate) fn read(der: &[u8]) -> Result<Self, BadCertificate> {
        let certificate = Certificate::from_der(der).map_err(|_| BadCertificate)?;
        let tbs = certificate.tbs_certificate();
        let key = tbs.subject_public_key_info().subject_public_key.as_bytes().ok_or(BadCertificate)?;
        let Some((4, point)) = key.split_first().map(|(form, point)| (*form, point)) else {
            return Err(BadCertificate);
        };
        let (x, y) = point.split_at_checked(32).filter(|(_, y)| y.len() == 32).ok_or(BadCertificate)?;
        let identifier: Option<(bool, SubjectKeyIdentifier)> = tbs.get_extension().map_err(|_| BadCertificate)?;
        let (_, identifier) = identifier.ok_or(BadCertificate)?;
        let serial = tbs.serial_number().as_bytes();
        let serial = U256::try_from_be_slice(serial).filter(|serial| serial.bit_len() <= 160).ok_or(BadCertificate)?;
        Ok(Self {
            x: U256::from_be_slice(x),
            y: U256::from_be_slice(y),
            name: keccak256(tbs.subject().to_der().map_err(|_| BadCertificate)?),
            key_id: FixedBytes::try_from(identifier.0.as_bytes()).map_err(|_| BadCertificate)?,
            serial: U160::from(serial),
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
