//! OCSP answers (RFC 6960): what an authority says today of one certificate that it issued.

use crate::{
    reason::Reason,
    window::{Part, Window},
    x509::{Certificate, CertificateError, Signed, understood},
};
use alloc::vec::Vec;
use der::{
    Decode, Encode, Reader, SliceReader, Tag, TagNumber,
    asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, OctetStringRef},
};
use glacier_wire::UnixTime;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384};
use x509_cert::{ext::Extensions, name::Name, serial_number::SerialNumber, spki::AlgorithmIdentifierRef};

/// Why an OCSP answer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspFault {
    /// Larger than is read.
    #[error("{found} bytes, at most {max} are read")]
    TooLarge {
        /// Bytes that came.
        found: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// Not a basic answer about one certificate, with its responder's certificate inside.
    #[error("malformed")]
    Malformed,
    /// The responder gave no answer.
    #[error("the responder gave no answer")]
    Unsuccessful,
    /// Names the certificate by a hash that is not known here, or is signed by such an algorithm.
    #[error("an algorithm that is not used here")]
    Algorithm,
    /// About no certificate of the device or of a manifest.
    #[error("about a certificate that is not there")]
    Unasked,
    /// Signed by another responder than it names.
    #[error("signed by another responder than it names")]
    Responder,
    /// The authority does not know the certificate.
    #[error("the authority does not know the certificate")]
    Unknown,
}

/// Largest answer that is read. Genuine ones have 1 KiB.
const MAX_BYTES: usize = 16 << 10;

/// An answer, taken apart. Which certificate it is about has to be read before the signature is
/// checked: that certificate's issuer decides who may have signed.
#[derive(Debug, Clone)]
pub(crate) struct Answer<'a> {
    signed: Signed<'a>,
    responder: &'a [u8],
    data: Data<'a>,
}

#[derive(Debug, Clone)]
struct Data<'a> {
    named: ResponderId<'a>,
    about: CertId<'a>,
    status: Status,
    window: Window,
}

#[derive(Debug, Clone)]
enum ResponderId<'a> {
    Name(Name),
    Key(&'a [u8]),
}

#[derive(Debug, Clone)]
struct CertId<'a> {
    hash: Hash,
    issuer_name: &'a [u8],
    issuer_key: &'a [u8],
    serial: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Hash {
    /// Names a certificate and proves nothing: the issuer's signature does.
    Sha1,
    Sha256,
    Sha384,
}

#[derive(Debug, Clone, Copy)]
enum Status {
    Good,
    /// For good or on hold: NVIDIA's tools let an operator overlook the latter, we do not.
    Revoked,
    Unknown,
}

/// Whether an answer says, in the name of `issuer` and at the time `at`, that `certificate` is good;
/// answers with its first and last second. Both certificates (DER) are the caller's to vouch for.
pub fn check_ocsp(
    answer: &[u8],
    certificate: &[u8],
    issuer: &[u8],
    at: UnixTime,
) -> Result<(UnixTime, UnixTime), Reason> {
    let read =
        |der| Certificate::checked_before(der).map_err(|error| Reason::Certificate { part: Part::Device, error });
    let (certificate, issuer) = (read(certificate)?, read(issuer)?);
    let answer = Answer::read(answer).map_err(Reason::Ocsp)?;
    if !answer.is_about(&certificate, &issuer) {
        return Err(Reason::Ocsp(OcspFault::Unasked));
    }
    let window = answer.holds(Part::Device, &issuer, at)?;
    Ok((window.from, window.until))
}

impl<'a> Answer<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, OcspFault> {
        if der.len() > MAX_BYTES {
            return Err(OcspFault::TooLarge { found: der.len(), max: MAX_BYTES });
        }
        let basic = whole(der, |reader| {
            reader.sequence(|reader| {
                let status = AnyRef::decode(reader)?;
                if status.header().tag() != Tag::Enumerated {
                    return Err(OcspFault::Malformed);
                }
                if status.value() != [0] {
                    return Err(OcspFault::Unsuccessful);
                }
                whole(explicit(reader, 0)?.ok_or(OcspFault::Malformed)?, |reader| reader.sequence(basic))
            })
        })?;
        let (signed, responder) = whole(basic, |reader| reader.sequence(signed_and_responder))?;
        Ok(Self { data: whole(signed.content, |reader| reader.sequence(data))?, signed, responder })
    }

    /// Whether it is about this certificate of this issuer (RFC 6960 §4.1.1).
    pub(crate) fn is_about(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let CertId { hash, issuer_name, issuer_key, serial } = &self.data.about;
        let Ok(name) = issuer.subject.to_der() else { return false };
        *serial == certificate.serial && hash.matches(&name, issuer_name) && hash.matches(issuer.key.bits(), issuer_key)
    }

    /// Whether it says, in the name of `issuer` and at the time `at`, that its certificate is good.
    /// Answers with the time until which that can be relied on.
    pub(crate) fn holds(&self, part: Part, issuer: &Certificate, at: UnixTime) -> Result<Window, Reason> {
        let responder = Certificate::responder(self.responder, issuer)
            .map_err(|error| Reason::Certificate { part: Part::OcspResponder, error })?;
        responder.window.check(Part::OcspResponder, at)?;
        let named = match &self.data.named {
            ResponderId::Name(name) => *name == responder.subject,
            ResponderId::Key(id) => Hash::Sha1.matches(responder.key.bits(), id),
        };
        if !named {
            return Err(Reason::Ocsp(OcspFault::Responder));
        }
        if !self.signed.is_by(&responder.key) {
            return Err(Reason::BadSignature(Part::Ocsp));
        }
        match self.data.status {
            Status::Good => {}
            Status::Revoked => return Err(Reason::Revoked(part)),
            Status::Unknown => return Err(Reason::Ocsp(OcspFault::Unknown)),
        }
        self.data.window.check(Part::Ocsp, at)?;
        Ok(self.data.window.and(responder.window))
    }
}

impl Hash {
    fn matches(self, preimage: &[u8], digest: &[u8]) -> bool {
        match self {
            Self::Sha1 => Sha1::digest(preimage).as_slice() == digest,
            Self::Sha256 => Sha256::digest(preimage).as_slice() == digest,
            Self::Sha384 => Sha384::digest(preimage).as_slice() == digest,
        }
    }
}

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");

/// ResponseBytes: type and content.
fn basic<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8], OcspFault> {
    let kind = ObjectIdentifier::decode(reader)?;
    let content = octets(reader)?;
    if kind == BASIC { Ok(content) } else { Err(OcspFault::Malformed) }
}

/// BasicOCSPResponse: the signed frame, then exactly one certificate.
fn signed_and_responder<'a>(reader: &mut SliceReader<'a>) -> Result<(Signed<'a>, &'a [u8]), OcspFault> {
    let signed = Signed::members(reader).map_err(|error| match error {
        CertificateError::Algorithm => OcspFault::Algorithm,
        _ => OcspFault::Malformed,
    })?;
    let certificates = explicit(reader, 0)?.ok_or(OcspFault::Malformed)?;
    let responder = whole(certificates, |reader| reader.sequence(|reader| Ok::<_, OcspFault>(reader.tlv_bytes()?)))?;
    Ok((signed, responder))
}

/// ResponseData of version 1.
fn data<'a>(reader: &mut SliceReader<'a>) -> Result<Data<'a>, OcspFault> {
    let by_name = explicit(reader, 1)?.map(|name| Ok::<_, OcspFault>(ResponderId::Name(Name::from_der(name)?)));
    let named = match by_name {
        Some(named) => named?,
        None => ResponderId::Key(whole(explicit(reader, 2)?.ok_or(OcspFault::Malformed)?, octets)?),
    };
    let _produced = GeneralizedTime::decode(reader)?;
    // One question was asked.
    let (about, status, window) = reader.sequence(|reader| reader.sequence(single))?;
    extensions(explicit(reader, 1)?)?;
    Ok(Data { named, about, status, window })
}

/// SingleResponse.
fn single<'a>(reader: &mut SliceReader<'a>) -> Result<(CertId<'a>, Status, Window), OcspFault> {
    let about = reader.sequence(cert_id)?;
    let status = AnyRef::decode(reader)?;
    let status = match status.header().tag() {
        Tag::ContextSpecific { constructed: false, number: TagNumber(0) } if status.value().is_empty() => Status::Good,
        Tag::ContextSpecific { constructed: true, number: TagNumber(1) } => Status::Revoked,
        Tag::ContextSpecific { constructed: false, number: TagNumber(2) } => Status::Unknown,
        _ => return Err(OcspFault::Malformed),
    };
    let from = time(reader)?;
    // Optional in ASN.1: without it an answer would never go stale.
    let until = whole(explicit(reader, 0)?.ok_or(OcspFault::Malformed)?, time)?;
    extensions(explicit(reader, 1)?)?;
    Ok((about, status, Window { from, until }))
}

fn cert_id<'a>(reader: &mut SliceReader<'a>) -> Result<CertId<'a>, OcspFault> {
    let algorithm = AlgorithmIdentifierRef::decode(reader)?;
    let hash = match algorithm.oid {
        SHA_1 => Hash::Sha1,
        SHA_256 => Hash::Sha256,
        SHA_384 => Hash::Sha384,
        _ => return Err(OcspFault::Algorithm),
    };
    let (issuer_name, issuer_key) = (octets(reader)?, octets(reader)?);
    let serial = SerialNumber::<x509_cert::certificate::Rfc5280>::decode(reader)?.as_bytes().to_vec();
    Ok(CertId { hash, issuer_name, issuer_key, serial })
}

fn octets<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8], OcspFault> {
    Ok(<&OctetStringRef>::decode(reader)?.as_bytes())
}

fn time(reader: &mut SliceReader<'_>) -> Result<UnixTime, OcspFault> {
    Ok(UnixTime(GeneralizedTime::decode(reader)?.to_unix_duration().as_secs()))
}

/// No critical extension is known here.
fn extensions(der: Option<&[u8]>) -> Result<(), OcspFault> {
    let Some(der) = der else { return Ok(()) };
    understood(&Extensions::from_der(der)?, &[]).map_err(|_| OcspFault::Malformed)
}

/// Content of an optional member with an explicit tag.
fn explicit<'a>(reader: &mut SliceReader<'a>, number: u32) -> Result<Option<&'a [u8]>, OcspFault> {
    if reader.is_finished() || Tag::peek(reader)? != TagNumber(number).context_specific(true) {
        return Ok(None);
    }
    Ok(Some(AnyRef::decode(reader)?.value()))
}

/// Reads with nothing left over.
fn whole<'a, T>(
    der: &'a [u8],
    read: impl FnOnce(&mut SliceReader<'a>) -> Result<T, OcspFault>,
) -> Result<T, OcspFault> {
    let mut reader = SliceReader::new(der)?;
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

impl From<der::Error> for OcspFault {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}
