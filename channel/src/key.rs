//! The enclave's channel key.

use crate::error::ChannelError;
use aws_lc_rs::{
    digest,
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use rustls::{SignatureAlgorithm, SignatureScheme, pki_types::SubjectPublicKeyInfoDer};
use std::{fmt, sync::Arc};

/// The P-256 key of one epoch: made inside, never written down, gone with the process. It ends TLS
/// sessions and signs their exporters; the quote commits to it.
///
/// Nothing returns the private half. The library overwrites it when the key is dropped.
pub struct ChannelKey {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl ChannelKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, ChannelError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| ChannelError::Crypto)?;
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| ChannelError::Crypto)?;
        let spki = spki.as_ref().to_vec();
        Ok(Self { pair, spki })
    }

    /// SHA-256 of the SubjectPublicKeyInfo (DER): what [`glacier_wire::Claims::channel_key`] holds.
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    /// ASN.1 ECDSA over SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| ChannelError::Crypto)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelKey(..)")
    }
}

/// DER in front of the 65-byte point in the SubjectPublicKeyInfo of every P-256 key (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The peer's channel key, as its certificate has it.
pub(crate) struct PeerKey {
    point: [u8; 65],
    pub(crate) spki_sha256: [u8; 32],
}

impl PeerKey {
    /// Takes an uncompressed P-256 key in its one DER form; `None` for everything else.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        let point: [u8; 65] = spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?;
        (point.first() == Some(&4)).then(|| Self { point, spki_sha256: sha256(spki) })
    }

    /// Whether this key signed `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

/// The key as certificate issuer: it signs its own certificate.
impl rcgen::PublicKeyData for ChannelKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for ChannelKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Self::sign(self, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// The key as TLS knows it.
#[derive(Debug)]
pub(crate) struct TlsKey(pub(crate) Arc<ChannelKey>);

impl rustls::sign::SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        offered.contains(&scheme).then(|| Box::new(Self(self.0.clone())) as Box<dyn rustls::sign::Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.0.spki.as_slice().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl rustls::sign::Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message).map_err(|_| rustls::Error::General("the channel key did not sign".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_its_certificate_form() {
        let key = ChannelKey::generate().unwrap();
        let peer = PeerKey::from_spki(&key.spki).unwrap();
        assert_eq!(peer.spki_sha256, key.spki_sha256());
        let signature = key.sign(b"this").unwrap();
        assert!(peer.signed(b"this", &signature));
        assert!(!peer.signed(b"that", &signature));
    }

    #[test]
    fn other_forms_of_a_key_are_refused() {
        let key = ChannelKey::generate().unwrap();
        let mut compressed = key.spki.clone();
        *compressed.get_mut(26).unwrap() = 2;
        assert!(PeerKey::from_spki(&compressed).is_none());
        assert!(PeerKey::from_spki(key.spki.get(..90).unwrap()).is_none());
        assert!(PeerKey::from_spki(&[key.spki.as_slice(), &[0]].concat()).is_none());
        assert!(PeerKey::from_spki(&[]).is_none());
    }

    #[test]
    fn nothing_prints_the_key() {
        let key = ChannelKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "ChannelKey(..)");
    }
}
