//! secp256k1: libsecp256k1 where there is a C compiler, the pure Rust curve on wasm32. Both sign
//! deterministically (RFC 6979), so they give the same bytes; each is the other's oracle in the tests.

/// `x ‖ y` of a public key.
pub(crate) type Point = [u8; 64];

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{public, recover, sign};
#[cfg(target_arch = "wasm32")]
pub(crate) use portable::{public, recover, sign};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::Point;
    use secp256k1::{
        Message, PublicKey, SecretKey,
        ecdsa::{RecoverableSignature, RecoveryId},
    };

    /// The public key of a secret; `None` if it is not below the group order, or zero.
    pub(crate) fn public(secret: &[u8; 32]) -> Option<Point> {
        let mut key = SecretKey::from_secret_bytes(*secret).ok()?;
        let public = PublicKey::from_secret_key(&key);
        key.non_secure_erase();
        point(&public)
    }

    /// `r ‖ s` with low `s`, and whether the nonce point's `y` is odd.
    pub(crate) fn sign(secret: &[u8; 32], digest: &[u8; 32]) -> Option<([u8; 64], bool)> {
        let mut key = SecretKey::from_secret_bytes(*secret).ok()?;
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(*digest), &key);
        key.non_secure_erase();
        let (recovery, bytes) = signature.serialize_compact();
        // 2 and 3 would need an x coordinate beyond the group order: no one has ever seen one.
        match recovery {
            RecoveryId::Zero => Some((bytes, false)),
            RecoveryId::One => Some((bytes, true)),
            _ => None,
        }
    }

    /// The public key whose signature this is.
    pub(crate) fn recover(signature: &[u8; 64], odd: bool, digest: &[u8; 32]) -> Option<Point> {
        let recovery = if odd { RecoveryId::One } else { RecoveryId::Zero };
        let signature = RecoverableSignature::from_compact(signature, recovery).ok()?;
        point(&signature.recover_ecdsa(Message::from_digest(*digest)).ok()?)
    }

    fn point(key: &PublicKey) -> Option<Point> {
        // SEC1: one tag byte, then x ‖ y.
        key.serialize_uncompressed().get(1..)?.try_into().ok()
    }
}

#[cfg(any(target_arch = "wasm32", test))]
pub(crate) mod portable {
    use super::Point;
    use ecdsa::hazmat::sign_prehashed_rfc6979;
    use k256::{
        NonZeroScalar, Secp256k1,
        ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey},
    };
    use sha2::Sha256;
    use zeroize::Zeroizing;

    pub(crate) fn public(secret: &[u8; 32]) -> Option<Point> {
        point(SigningKey::from_slice(secret).ok()?.verifying_key())
    }

    pub(crate) fn sign(secret: &[u8; 32], digest: &[u8; 32]) -> Option<([u8; 64], bool)> {
        let scalar = Zeroizing::new(NonZeroScalar::from_repr((*secret).into()).into_option()?);
        let (signature, recovery) = sign_prehashed_rfc6979::<Secp256k1, Sha256>(&scalar, digest, &[]);
        Some((signature.to_bytes().into(), recovery.is_y_odd()))
    }

    pub(crate) fn recover(signature: &[u8; 64], odd: bool, digest: &[u8; 32]) -> Option<Point> {
        let signature = Signature::from_slice(signature).ok()?;
        point(&VerifyingKey::recover_from_prehash(digest, &signature, RecoveryId::new(odd, false)).ok()?)
    }

    fn point(key: &VerifyingKey) -> Option<Point> {
        key.to_sec1_point(false).as_bytes().get(1..)?.try_into().ok()
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{native, portable};

    #[test]
    fn both_curves_give_the_same_bytes() {
        for seed in 1..=64u8 {
            let (secret, digest) = ([seed; 32], [seed.wrapping_mul(37); 32]);
            let signed = native::sign(&secret, &digest).unwrap();
            assert_eq!(Some(signed), portable::sign(&secret, &digest));
            let (signature, odd) = signed;
            let public = native::public(&secret);
            assert_eq!(public, portable::public(&secret));
            assert_eq!(public, native::recover(&signature, odd, &digest));
            assert_eq!(public, portable::recover(&signature, odd, &digest));
            assert_eq!(native::recover(&signature, !odd, &digest), portable::recover(&signature, !odd, &digest));
        }
    }

    #[test]
    fn neither_takes_what_is_no_key() {
        for secret in [[0; 32], [0xff; 32]] {
            assert_eq!((native::public(&secret), portable::public(&secret)), (None, None));
            assert_eq!((native::sign(&secret, &[1; 32]), portable::sign(&secret, &[1; 32])), (None, None));
        }
    }
}
