//! ECDSA over P-256 with SHA-256, the one signature algorithm of Intel's evidence.
//!
//! The backend follows the target: assembly where it can go, pure Rust on wasm32. Both are compiled
//! into the tests and have to agree.

/// A P-256 public key, x ‖ y. Whether it is a point of the curve shows when it verifies something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey([u8; 65]);

impl PublicKey {
    /// From x ‖ y, as in quotes.
    pub(crate) fn from_coordinates(coordinates: &[u8; 64]) -> Self {
        let mut sec1 = [0x04; 65];
        for (to, from) in sec1.iter_mut().skip(1).zip(coordinates) {
            *to = *from;
        }
        Self(sec1)
    }

    /// From an uncompressed point (SEC 1), as in certificates.
    pub(crate) fn from_sec1(sec1: &[u8]) -> Option<Self> {
        Some(Self(sec1.try_into().ok()?)).filter(|key| key.0.first() == Some(&0x04))
    }

    /// Whether `signature` (r ‖ s, big-endian) over `message` is this key's.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        backend::verifies(&self.0, message, signature)
    }

    /// Whether `signature` (DER) over `message` is this key's.
    pub(crate) fn verifies_der(&self, message: &[u8], signature: &[u8]) -> bool {
        backend::verifies_der(&self.0, message, signature)
    }
}

#[cfg(not(target_arch = "wasm32"))]
use native as backend;
#[cfg(target_arch = "wasm32")]
use portable as backend;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    pub(super) fn verifies(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).is_ok()
    }

    pub(super) fn verifies_der(key: &[u8; 65], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature).is_ok()
    }
}

#[cfg(any(test, target_arch = "wasm32"))]
mod portable {
    use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

    pub(super) fn verifies(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        check(key, message, Signature::from_slice(signature).ok())
    }

    pub(super) fn verifies_der(key: &[u8; 65], message: &[u8], signature: &[u8]) -> bool {
        check(key, message, Signature::from_der(signature).ok())
    }

    fn check(key: &[u8; 65], message: &[u8], signature: Option<Signature>) -> bool {
        match (VerifyingKey::from_sec1_bytes(key), signature) {
            (Ok(key), Some(signature)) => key.verify(message, &signature).is_ok(),
            _ => false,
        }
    }
}
