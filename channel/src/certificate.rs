//! The enclave's certificate: TLS needs one, and it announces the evidence to other people's verifiers.
//!
//! Extension and claims follow the interoperable RA-TLS format. Our own client reads only the key
//! out of it: evidence inside a handshake can be relayed, so it proves nothing about a session.

use crate::{
    error::{CertificateFault, ChannelError},
    key::{ChannelKey, PeerKey},
};
use glacier_wire::Evidence;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType};
use rustls::{pki_types::CertificateDer, server::ParsedCertificate};

/// TCG DICE tagged evidence.
const TAGGED_EVIDENCE: [u64; 6] = [2, 23, 133, 5, 4, 9];
/// CBOR tag of `[quote, claims]` for a TEE's quote.
const TEE_QUOTE: u64 = 60000;

/// A self-signed certificate that announces `evidence`.
pub(crate) fn announce(key: &ChannelKey, evidence: &Evidence) -> Result<CertificateDer<'static>, ChannelError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "glacier enclave");
    // `from_oid_content` makes a non-critical extension: who does not know it may pass over it.
    params.custom_extensions.push(CustomExtension::from_oid_content(&TAGGED_EVIDENCE, tagged(evidence)));
    Ok(params.self_signed(key).map_err(|_| ChannelError::Crypto)?.der().clone())
}

/// The key of a certificate.
///
/// The certificate's signature over itself is left alone: the same key signs the whole handshake,
/// certificate included, in TLS's CertificateVerify, which is checked.
pub(crate) fn key(certificate: &CertificateDer<'_>) -> Result<PeerKey, CertificateFault> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(|_| CertificateFault::Malformed)?;
    PeerKey::from_spki(parsed.subject_public_key_info().as_ref()).ok_or(CertificateFault::KeyType)
}

fn tagged(evidence: &Evidence) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing into a Vec cannot fail.
    let _ = minicbor::Encoder::new(&mut out)
        .tag(minicbor::data::Tag::new(TEE_QUOTE))
        .and_then(|encoder| encoder.array(2))
        .and_then(|encoder| encoder.bytes(&evidence.quote))
        .and_then(|encoder| encoder.bytes(&evidence.claims));
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        Evidence::new(vec![3; 40], vec![5; 7], vec![9; 100])
    }

    #[test]
    fn the_extension_has_the_interoperable_form() {
        let certificate = announce(&ChannelKey::generate().unwrap(), &evidence()).unwrap();
        // OBJECT IDENTIFIER 2.23.133.5.4.9, no BOOLEAN (critical is FALSE by default), OCTET STRING,
        // then tag(60000) array(2) bytes(40).
        let oid = [0x06, 0x06, 0x67, 0x81, 0x05, 0x05, 0x04, 0x09];
        let at = certificate.windows(oid.len()).position(|window| window == oid).unwrap();
        let rest = certificate.get(at.wrapping_add(oid.len())..).unwrap();
        let mut expected = vec![0x04, 54, 0xd9, 0xea, 0x60, 0x82, 0x58, 40];
        expected.extend([3; 40]);
        expected.push(0x47);
        expected.extend([5; 7]);
        assert_eq!(rest.get(..expected.len()).unwrap(), expected);
    }

    #[test]
    fn the_key_is_found_again() {
        let own = ChannelKey::generate().unwrap();
        let certificate = announce(&own, &evidence()).unwrap();
        assert_eq!(key(&certificate).map(|key| key.spki_sha256), Ok(own.spki_sha256()));
    }

    #[test]
    fn a_certificate_of_another_kind_of_key_is_refused() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = CertificateParams::default().self_signed(&pair).unwrap();
        assert_eq!(key(certificate.der()).map(|_| ()), Err(CertificateFault::KeyType));
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(key(&CertificateDer::from(vec![0x30, 0])).map(|_| ()), Err(CertificateFault::Malformed));
    }
}
