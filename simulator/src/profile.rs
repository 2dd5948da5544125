//! The extensions that every certificate of the vendor has: the five of Intel's certificates, in
//! Intel's order. Verifiers on a chain read a certificate at fixed places, and what passes them here
//! is to be what passes them on hardware.

use crate::key::Key;
use der::{
    Encode, Tag, TagNumber,
    asn1::{AnyRef, OctetStringRef},
};
use rcgen::{CertificateParams, CustomExtension};

/// What a certificate is for.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    /// Signs certificates, with at most so many authorities below it, and revocation lists.
    Authority(u8),
    /// Signs statements.
    Signer,
}

/// Of the certificate for `subject` under `issuer`. Where its revocation list would be is `revoked_at`.
pub(crate) fn extensions(
    subject: &Key,
    issuer: &Key,
    revoked_at: &str,
    purpose: Use,
) -> Result<Vec<CustomExtension>, der::Error> {
    let (usage, constraints) = match purpose {
        // keyCertSign and cRLSign; digitalSignature and nonRepudiation.
        Use::Authority(below) => {
            let members = [true.to_der()?, below.to_der()?].concat();
            (vec![3, 2, 1, 0x06], tlv(Tag::Sequence, &members)?)
        }
        Use::Signer => (vec![3, 2, 6, 0xc0], tlv(Tag::Sequence, &[])?),
    };
    let authority = tlv(Tag::Sequence, &tlv(context(0, false), &key_id(issuer))?)?;
    let own = OctetStringRef::new(&key_id(subject))?.to_der()?;
    Ok(vec![
        CustomExtension::from_oid_content(AUTHORITY_KEY_ID, authority),
        CustomExtension::from_oid_content(CRL_DISTRIBUTION_POINTS, distribution_points(revoked_at)?),
        CustomExtension::from_oid_content(SUBJECT_KEY_ID, own),
        critical(KEY_USAGE, usage),
        critical(BASIC_CONSTRAINTS, constraints),
    ])
}

/// As rcgen derives it, which writes it into revocation lists.
fn key_id(key: &Key) -> Vec<u8> {
    CertificateParams::default().key_identifier(key.for_certificates())
}

/// One point, whose full name is one URI (RFC 5280, section 4.2.1.13).
fn distribution_points(uri: &str) -> Result<Vec<u8>, der::Error> {
    let name = tlv(context(6, false), uri.as_bytes())?;
    let point = tlv(context(0, true), &tlv(context(0, true), &name)?)?;
    tlv(Tag::Sequence, &tlv(Tag::Sequence, &point)?)
}

fn critical(oid: &[u64], content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(true);
    extension
}

fn context(number: u8, constructed: bool) -> Tag {
    Tag::ContextSpecific { constructed, number: TagNumber(number.into()) }
}

fn tlv(tag: Tag, content: &[u8]) -> Result<Vec<u8>, der::Error> {
    AnyRef::new(tag, content)?.to_der()
}

const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const CRL_DISTRIBUTION_POINTS: &[u64] = &[2, 5, 29, 31];
const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
