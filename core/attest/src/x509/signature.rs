//! The signature algorithms of the vendors: ECDSA over P-256 with SHA-256 (Intel), ECDSA over P-384
//! with SHA-384 (NVIDIA, AMD), RSASSA-PSS with SHA-384 (AMD).
//!
//! The backend follows the target: assembly where it can go, pure Rust on wasm32. Both are compiled
//! into the tests and have to agree.

use alloc::vec::Vec;
use der::asn1::ObjectIdentifier;
use x509_cert::spki::AlgorithmIdentifierRef;

/// How certificates and lists are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// ecdsa-with-SHA256, under a P-256 key.
    P256,
    /// ecdsa-with-SHA384, under a P-384 key.
    P384,
    /// id-RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt (RFC 4055 §3.1).
    Pss384,
}

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// DER of the parameters, up to the optional trailer field.
const PSS_SHA384: [u8; 52] = [
    0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c,
    0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86,
    0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
/// Trailer field 1: the default, which some of AMD's certificates write out.
const PSS_TRAILER: [u8; 5] = [0xa3, 0x03, 0x02, 0x01, 0x01];

impl Algorithm {
    /// The algorithm of an identifier; `None` for every other, and for parameters that do not belong.
    pub(crate) fn read(identifier: &AlgorithmIdentifierRef<'_>) -> Option<Self> {
        match (identifier.oid, identifier.parameters) {
            (ECDSA_WITH_SHA256, None) => Some(Self::P256),
            (ECDSA_WITH_SHA384, None) => Some(Self::P384),
            (RSASSA_PSS, Some(parameters)) => {
                let rest = parameters.value().strip_prefix(&PSS_SHA384)?;
                (parameters.header().tag() == der::Tag::Sequence && (rest.is_empty() || rest == PSS_TRAILER))
                    .then_some(Self::Pss384)
            }
            _ => None,
        }
    }
}

/// A public key. Whether it is one (a point of the curve, say) shows when it verifies something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Uncompressed point (SEC 1).
    P256([u8; 65]),
    /// Uncompressed point (SEC 1).
    P384([u8; 97]),
    /// RSAPublicKey (RFC 8017 §A.1.1), DER.
    Rsa(Vec<u8>),
}

impl PublicKey {
    /// P-256 from x ‖ y, as in quotes.
    pub(crate) fn p256_from_coordinates(coordinates: &[u8; 64]) -> Self {
        let mut sec1 = [0x04; 65];
        for (to, from) in sec1.iter_mut().skip(1).zip(coordinates) {
            *to = *from;
        }
        Self::P256(sec1)
    }

    /// P-256 from an uncompressed point, as in certificates.
    pub(crate) fn p256_from_sec1(sec1: &[u8]) -> Option<Self> {
        sec1.try_into().ok().filter(uncompressed).map(Self::P256)
    }

    /// P-384 from an uncompressed point, as in certificates.
    pub(crate) fn p384_from_sec1(sec1: &[u8]) -> Option<Self> {
        sec1.try_into().ok().filter(uncompressed).map(Self::P384)
    }

    /// RSA of 2048 to 4096 bits.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Option<Self> {
        (256..=MAX_RSA_BYTES).contains(&der.len()).then(|| Self::Rsa(der.to_vec()))
    }

    /// Content of the bit string that certificates carry it in.
    pub(crate) fn bits(&self) -> &[u8] {
        match self {
            Self::P256(point) => point,
            Self::P384(point) => point,
            Self::Rsa(key) => key,
        }
    }

    /// Whether the P-256 `signature` (r ‖ s, big-endian) over the SHA-256 of `message` is this key's.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        match self {
            Self::P256(key) => backend::p256_fixed(key, message, signature),
            _ => false,
        }
    }

    /// Whether the P-384 `signature` (r ‖ s, big-endian) over the SHA-384 of `message` is this key's.
    pub(crate) fn verifies_p384(&self, message: &[u8], signature: &[u8; 96]) -> bool {
        match self {
            Self::P384(key) => backend::p384_fixed(key, message, signature),
            _ => false,
        }
    }

    /// Whether `signature`, in the form that certificates have, over `message` is this key's.
    pub(crate) fn verifies_der(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::P256(key), Algorithm::P256) => backend::p256_der(key, message, signature),
            (Self::P384(key), Algorithm::P384) => backend::p384_der(key, message, signature),
            (Self::Rsa(key), Algorithm::Pss384) => backend::pss384(key, message, signature),
            _ => false,
        }
    }
}

/// A modulus and an exponent of 4096 bits each, with their headers.
const MAX_RSA_BYTES: usize = 1100;

fn uncompressed<const N: usize>(sec1: &[u8; N]) -> bool {
    sec1.first() == Some(&0x04)
}

#[cfg(not(target_arch = "wasm32"))]
use native as backend;
#[cfg(target_arch = "wasm32")]
use portable as backend;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED,
        RSA_PSS_2048_8192_SHA384, UnparsedPublicKey,
    };

    pub(super) fn p256_fixed(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).is_ok()
    }

    pub(super) fn p256_der(key: &[u8; 65], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature).is_ok()
    }

    pub(super) fn p384_fixed(key: &[u8; 97], message: &[u8], signature: &[u8; 96]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(message, signature).is_ok()
    }

    pub(super) fn p384_der(key: &[u8; 97], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key).verify(message, signature).is_ok()
    }

    pub(super) fn pss384(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key).verify(message, signature).is_ok()
    }
}

#[cfg(any(test, target_arch = "wasm32"))]
mod portable {
    use p256::ecdsa::signature::Verifier as _;

    pub(super) fn p256_fixed(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        p256_check(key, message, p256::ecdsa::Signature::from_slice(signature).ok())
    }

    pub(super) fn p256_der(key: &[u8; 65], message: &[u8], signature: &[u8]) -> bool {
        p256_check(key, message, p256::ecdsa::Signature::from_der(signature).ok())
    }

    pub(super) fn p384_fixed(key: &[u8; 97], message: &[u8], signature: &[u8; 96]) -> bool {
        p384_check(key, message, p384::ecdsa::Signature::from_slice(signature).ok())
    }

    pub(super) fn p384_der(key: &[u8; 97], message: &[u8], signature: &[u8]) -> bool {
        p384_check(key, message, p384::ecdsa::Signature::from_der(signature).ok())
    }

    pub(super) fn pss384(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        use rsa::{pkcs1::DecodeRsaPublicKey as _, pss};
        let key = rsa::RsaPublicKey::from_pkcs1_der(key).ok().map(pss::VerifyingKey::<sha2::Sha384>::new);
        match (key, pss::Signature::try_from(signature)) {
            (Some(key), Ok(signature)) => key.verify(message, &signature).is_ok(),
            _ => false,
        }
    }

    fn p256_check(key: &[u8; 65], message: &[u8], signature: Option<p256::ecdsa::Signature>) -> bool {
        match (p256::ecdsa::VerifyingKey::from_sec1_bytes(key), signature) {
            (Ok(key), Some(signature)) => key.verify(message, &signature).is_ok(),
            _ => false,
        }
    }

    fn p384_check(key: &[u8; 97], message: &[u8], signature: Option<p384::ecdsa::Signature>) -> bool {
        match (p384::ecdsa::VerifyingKey::from_sec1_bytes(key), signature) {
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
        let answer = (native::p256_fixed(key, message, raw), native::p256_der(key, message, der));
        assert_eq!(answer, (portable::p256_fixed(key, message, raw), portable::p256_der(key, message, der)));
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

    #[test]
    fn backends_agree_on_p384() {
        let key = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
        let point: [u8; 97] = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        let signature: p384::ecdsa::Signature = key.sign(b"m");
        let (raw, der) = (<[u8; 96]>::from(signature.to_bytes()), signature.to_der().as_bytes().to_vec());
        let fixed = |raw: &[u8; 96]| {
            let answer = native::p384_fixed(&point, b"m", raw);
            assert_eq!(answer, portable::p384_fixed(&point, b"m", raw));
            answer
        };
        let asn1 = |der: &[u8]| {
            let answer = native::p384_der(&point, b"m", der);
            assert_eq!(answer, portable::p384_der(&point, b"m", der));
            answer
        };
        assert!(fixed(&raw) && asn1(&der));
        for at in 0..raw.len() {
            let mut changed = raw;
            changed[at] ^= 1;
            assert!(!fixed(&changed), "{at}");
        }
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 1;
            assert!(!asn1(&changed), "{at}");
        }
        assert!(!fixed(&[0; 96]) && !fixed(&[0xff; 96]));
    }

    /// RSA of 4096 bits as AMD signs with it.
    #[test]
    fn backends_agree_on_the_root_signature_of_amd() {
        use der::{Decode as _, Encode as _};
        let root = include_bytes!("../../roots/amd/milan-ark.der");
        let root = x509_cert::Certificate::from_der(root).unwrap();
        let tbs = root.tbs_certificate();
        let key = tbs.subject_public_key_info().subject_public_key.raw_bytes();
        let (message, signature) = (tbs.to_der().unwrap(), root.signature().raw_bytes());
        let holds = |message: &[u8], signature: &[u8]| {
            let answer = native::pss384(key, message, signature);
            assert_eq!(answer, portable::pss384(key, message, signature));
            answer
        };
        assert!(holds(&message, signature));
        assert!(!holds(&message[1..], signature));
        assert!(!holds(&message, &signature[1..]));
        assert!(!holds(&message, &[]));
        for at in (0..signature.len()).step_by(37) {
            let mut changed = signature.to_vec();
            changed[at] ^= 1;
            assert!(!holds(&message, &changed), "{at}");
        }
    }
}
