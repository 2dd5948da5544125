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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
    use proptest::prelude::*;

    fn signed(secret: u8, message: &[u8]) -> ([u8; 65], Signature) {
        let key = SigningKey::from_slice(&[secret; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        (point, key.sign(message))
    }

    fn agree(key: &[u8; 65], message: &[u8], raw: &[u8; 64], der: &[u8]) -> (bool, bool) {
        let answer = (native::verifies(key, message, raw), native::verifies_der(key, message, der));
        assert_eq!(answer, (portable::verifies(key, message, raw), portable::verifies_der(key, message, der)));
        answer
    }

    proptest! {
        #[test]
        fn backends_agree_on_good_and_changed_signatures(
            message in prop::collection::vec(any::<u8>(), 0..100),
            raw_at in 0..64usize, der_at in any::<prop::sample::Index>(), key_at in 0..65usize, flip: u8,
        ) {
            let (mut key, signature) = signed(7, &message);
            let (mut raw, mut der) = (<[u8; 64]>::from(signature.to_bytes()), signature.to_der().as_bytes().to_vec());
            prop_assert_eq!(agree(&key, &message, &raw, &der), (true, true));
            raw[raw_at] ^= flip;
            let at = der_at.index(der.len());
            der[at] ^= flip;
            let changed = flip != 0;
            prop_assert_eq!(agree(&key, &message, &raw, &der), (!changed, !changed));
            key[key_at] ^= flip;
            agree(&key, &message, &raw, &der);
        }
    }

    #[test]
    fn zero_and_overlong_numbers_are_refused() {
        let (key, signature) = signed(7, b"m");
        let good: [u8; 64] = signature.to_bytes().into();
        let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
        let order = <[u8; 32]>::try_from(order).unwrap();
        for half in [[0; 32], order, [0xff; 32]] {
            for at in [0, 32] {
                let mut raw = good;
                raw[at..at + 32].copy_from_slice(&half);
                assert_eq!(agree(&key, b"m", &raw, &[]), (false, false));
            }
        }
    }

    #[test]
    fn a_key_off_the_curve_verifies_nothing() {
        let (mut key, signature) = signed(7, b"m");
        key[64] ^= 1;
        let raw = signature.to_bytes().into();
        assert_eq!(agree(&key, b"m", &raw, signature.to_der().as_bytes()), (false, false));
    }

    #[test]
    fn der_with_bytes_after_it_is_refused() {
        let (key, signature) = signed(7, b"m");
        let raw = signature.to_bytes().into();
        let long = [signature.to_der().as_bytes(), &[0]].concat();
        assert_eq!(agree(&key, b"m", &raw, &long), (true, false));
    }
}
