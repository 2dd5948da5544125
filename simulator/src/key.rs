//! P-256 keys of the simulated vendor and chip.

use crate::{collateral::Serial, vendor::VendorError};
use aws_lc_rs::{
    encoding::AsBigEndian as _,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A P-256 key that signs certificates (through rcgen) and raw `r ‖ s` statements.
pub(crate) struct Key {
    pkcs8: Zeroizing<Vec<u8>>,
    certificates: rcgen::KeyPair,
    statements: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn generate() -> Result<Self, VendorError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| VendorError::Key)?;
        Self::from_pkcs8(document.as_ref())
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, VendorError> {
        Ok(Self {
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
            certificates: rcgen::KeyPair::try_from(pkcs8).map_err(|_| VendorError::Key)?,
            statements: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                .map_err(|_| VendorError::Key)?,
        })
    }

    /// For the owner's file alone.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn for_certificates(&self) -> &rcgen::KeyPair {
        &self.certificates
    }

    /// The public point, `x ‖ y`.
    pub(crate) fn public(&self) -> [u8; 64] {
        let mut point = [0; 64];
        // An uncompressed point is 04 ‖ x ‖ y.
        point.copy_from_slice(&self.statements.public_key().as_ref()[1..]);
        point
    }

    /// The secret scalar, big-endian.
    pub(crate) fn scalar(&self) -> Result<Zeroizing<[u8; 32]>, VendorError> {
        let secret = self.statements.private_key().as_be_bytes().map_err(|_| VendorError::Key)?;
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(secret.as_ref());
        Ok(scalar)
    }

    /// ECDSA with SHA-256, `r ‖ s`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], VendorError> {
        let signature = self.statements.sign(&SystemRandom::new(), message).map_err(|_| VendorError::Key)?;
        signature.as_ref().try_into().map_err(|_| VendorError::Key)
    }

    /// Serial number of the certificate for this key: positive, 20 bytes.
    pub(crate) fn serial(&self) -> Serial {
        let mut serial = [0; 20];
        serial.copy_from_slice(&Sha256::digest(self.public())[..20]);
        // First bit clear: positive. Second set: all 20 bytes are significant, so lengths are stable.
        serial[0] = serial[0] & 0x7f | 0x40;
        Serial(serial)
    }
}
