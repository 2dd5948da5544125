//! Revocation of NVIDIA's certificates, by OCSP (RFC 6960, nonce by RFC 9654).

use der::{
    Decode, Encode, Reader as _, Sequence, SliceReader, Tag, Tagged as _,
    asn1::{AnyRef, ObjectIdentifier, OctetString, OctetStringRef},
};
use sha2::{Digest as _, Sha384};
use x509_cert::{Certificate, ext::Extension, serial_number::SerialNumber, spki::AlgorithmIdentifierOwned};

use crate::{
    error::{FetchError, Malformed},
    http::Call,
    request::{RequestError, Sources, sealed::Ask},
};

/// Asks whether one certificate is revoked. The answer is an `OCSPResponse` in DER.
///
/// Each request carries a nonce of its own. Responders may leave it out of the answer; one that
/// carries another is refused. From the cache an answer serves until its `nextUpdate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspRequest {
    issuer_name_hash: [u8; 48],
    issuer_key_hash: [u8; 48],
    serial: SerialNumber,
    /// DER, for whoever verifies the answer.
    pub(crate) certificate: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
}

impl OcspRequest {
    /// About `certificate`, which `issuer` issued; both X.509 in DER. That it did so is not verified here.
    pub fn new(certificate: &[u8], issuer: &[u8]) -> Result<Self, RequestError> {
        let ders = (certificate.to_vec(), issuer.to_vec());
        let read = |der| Certificate::from_der(der).map_err(|_| RequestError::Certificate);
        let (certificate, issuer) = (read(certificate)?, read(issuer)?);
        let (certificate, issuer) = (certificate.tbs_certificate(), issuer.tbs_certificate());
        if certificate.issuer() != issuer.subject() {
            return Err(RequestError::Issuer);
        }
        let name = issuer.subject().to_der().map_err(|_| RequestError::Certificate)?;
        let key = issuer.subject_public_key_info().subject_public_key.as_bytes().ok_or(RequestError::Certificate)?;
        Ok(Self {
            issuer_name_hash: Sha384::digest(name).into(),
            issuer_key_hash: Sha384::digest(key).into(),
            serial: certificate.serial_number().clone(),
            certificate: ders.0,
            issuer: ders.1,
        })
    }

    /// SHA-384 of the issuer's name in DER.
    pub fn issuer_name_hash(&self) -> &[u8; 48] {
        &self.issuer_name_hash
    }

    /// SHA-384 of the issuer's public key, the content of its BIT STRING.
    pub fn issuer_key_hash(&self) -> &[u8; 48] {
        &self.issuer_key_hash
    }

    /// The certificate's serial number: content octets of its INTEGER.
    pub fn serial(&self) -> &[u8] {
        self.serial.as_bytes()
    }

    fn to_der(&self, nonce: &[u8; 32]) -> der::Result<Vec<u8>> {
        let hash = |bytes: &[u8]| OctetString::new(bytes);
        let request = Single {
            certificate: CertId {
                // Parameters absent, as RFC 5754 §2 asks of SHA-2.
                hash_algorithm: AlgorithmIdentifierOwned { oid: SHA_384, parameters: None },
                issuer_name_hash: hash(&self.issuer_name_hash)?,
                issuer_key_hash: hash(&self.issuer_key_hash)?,
                serial: self.serial.clone(),
            },
        };
        let nonce = OctetString::new(OctetStringRef::new(nonce)?.to_der()?)?;
        let nonce = Extension { extn_id: NONCE, critical: false, extn_value: nonce };
        Whole { content: Content { requests: vec![request], extensions: Some(vec![nonce]) } }.to_der()
    }
}

impl Ask for OcspRequest {
    fn key(&self) -> String {
        // The issuer's key says which issuer; half of its hash is enough of a name.
        let [key, _] = self.issuer_key_hash.as_chunks::<24>().0 else { return String::new() };
        format!("nvidia-ocsp-{}-{}", hex::encode(key), hex::encode(self.serial()))
    }

    async fn fetch(&self, sources: &Sources) -> Result<Vec<u8>, FetchError> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| FetchError::Interrupted)?;
        let request = self.to_der(&nonce).map_err(|_| Malformed::Der)?;
        let call = Call {
            path: "/",
            accept: "application/ocsp-response",
            body: Some(("application/ocsp-request", request)),
            max: MAX_RESPONSE,
        };
        let response = sources.nvidia_ocsp.ask(call).await?.body;
        if answered_nonce(&response)?.is_some_and(|echoed| echoed != nonce) {
            return Err(Malformed::Nonce.into());
        }
        Ok(response)
    }
}

/// The nonce that a response carries, if any. Looks at the form alone: the signature is the verifier's.
fn answered_nonce(response: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let response = Response::from_der(response).map_err(|_| Malformed::Der)?;
    if response.status != ResponseStatus::Successful {
        return Err(Malformed::Responder);
    }
    let bytes = response.bytes.ok_or(Malformed::Der)?;
    if bytes.kind != BASIC {
        return Err(Malformed::Der);
    }
    response_extension(bytes.response.as_bytes()).map_err(|_| Malformed::Der)
}

fn response_extension(basic: &[u8]) -> der::Result<Option<Vec<u8>>> {
    let basic = AnyRef::from_der(basic)?;
    basic.tag().assert_eq(Tag::Sequence)?;
    let content: AnyRef<'_> = SliceReader::new(basic.value())?.decode()?;
    content.tag().assert_eq(Tag::Sequence)?;
    // [0] version, responder by [1] name or [2] key, time, answers, [1] extensions: those come last.
    let mut reader = SliceReader::new(content.value())?;
    let mut answers_passed = false;
    while !reader.is_finished() {
        let element: AnyRef<'_> = reader.decode()?;
        if !answers_passed {
            answers_passed = element.tag() == Tag::Sequence;
            continue;
        }
        for extension in Vec::<Extension>::from_der(element.value())? {
            if extension.extn_id == NONCE {
                // RFC 9654 §2.1 wraps it in a second OCTET STRING; before that some did not.
                let value = extension.extn_value.as_bytes();
                let nonce = OctetString::from_der(value).map_or(value.to_vec(), |nonce| nonce.as_bytes().to_vec());
                return Ok(Some(nonce));
            }
        }
    }
    Ok(None)
}

#[derive(Sequence)]
struct Whole {
    content: Content,
}

#[derive(Sequence)]
struct Content {
    requests: Vec<Single>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct Single {
    certificate: CertId,
}

#[derive(Sequence)]
struct CertId {
    hash_algorithm: AlgorithmIdentifierOwned,
    issuer_name_hash: OctetString,
    issuer_key_hash: OctetString,
    serial: SerialNumber,
}

#[derive(Sequence)]
struct Response {
    status: ResponseStatus,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    bytes: Option<ResponseBytes>,
}

#[derive(der::Enumerated, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum ResponseStatus {
    Successful = 0,
    MalformedRequest = 1,
    InternalError = 2,
    TryLater = 3,
    SignatureRequired = 5,
    Unauthorized = 6,
}

#[derive(Sequence)]
struct ResponseBytes {
    kind: ObjectIdentifier,
    response: OctetString,
}

const SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");

/// Genuine ones take 1 KiB.
const MAX_RESPONSE: usize = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use der::asn1::Null;
    use proptest::prelude::*;

    fn request() -> OcspRequest {
        OcspRequest {
            issuer_name_hash: [1; 48],
            issuer_key_hash: [2; 48],
            serial: SerialNumber::new(&[0x41, 0x43]).unwrap(),
            certificate: Vec::new(),
            issuer: Vec::new(),
        }
    }

    /// The parts of RFC 6960 §4.2.1 that are looked at.
    fn response(nonce: Option<&[u8]>) -> Vec<u8> {
        let nonce = nonce.map(|nonce| Extension {
            extn_id: NONCE,
            critical: false,
            extn_value: OctetString::new(OctetStringRef::new(nonce).unwrap().to_der().unwrap()).unwrap(),
        });
        let extensions = nonce.map(|nonce| vec![nonce].to_der().unwrap());
        let null = Null.to_der().unwrap();
        let name = AnyRef::new(Tag::Sequence, &null).unwrap().to_der().unwrap();
        let der = |tag, content: &[u8]| {
            let tag = Tag::ContextSpecific { constructed: true, number: der::TagNumber(tag) };
            AnyRef::new(tag, content).unwrap().to_der().unwrap()
        };
        let time = AnyRef::new(Tag::GeneralizedTime, b"20250821064708Z").unwrap().to_der().unwrap();
        let answers = AnyRef::new(Tag::Sequence, &null).unwrap().to_der().unwrap();
        let mut content = [der(1, &name), time, answers].concat();
        if let Some(extensions) = extensions {
            content.extend(der(1, &extensions));
        }
        let content = AnyRef::new(Tag::Sequence, &content).unwrap().to_der().unwrap();
        let basic = AnyRef::new(Tag::Sequence, &content).unwrap().to_der().unwrap();
        let bytes = ResponseBytes { kind: BASIC, response: OctetString::new(basic).unwrap() };
        Response { status: ResponseStatus::Successful, bytes: Some(bytes) }.to_der().unwrap()
    }

    #[test]
    fn a_request_is_what_rfc_6960_says() {
        let hash = |byte: u8| [&[0x04, 48][..], &[byte; 48]].concat();
        let algorithm = [0x30, 11, 0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 3, 4, 2, 2];
        let certificate = [&algorithm[..], &hash(1), &hash(2), &[0x02, 2, 0x41, 0x43]].concat();
        let certificate = [&[0x30, u8::try_from(certificate.len()).unwrap()][..], &certificate].concat();
        let nonce = [&[0x04, 34, 0x04, 32][..], &[7; 32]].concat();
        let nonce = [&[0x06, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 2][..], &nonce].concat();
        let der = request().to_der(&[7; 32]).unwrap();
        let holds = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
        assert!(holds(&certificate));
        assert!(holds(&nonce));
        assert_eq!(der[0], 0x30);
    }

    #[test]
    fn the_nonce_of_a_response_is_found() {
        assert_eq!(answered_nonce(&response(Some(&[7; 32]))), Ok(Some(vec![7; 32])));
        assert_eq!(answered_nonce(&response(None)), Ok(None));
    }

    #[test]
    fn a_responder_that_could_not_answer_has_not() {
        let later = Response { status: ResponseStatus::TryLater, bytes: None }.to_der().unwrap();
        assert_eq!(answered_nonce(&later), Err(Malformed::Responder));
    }

    #[test]
    fn a_response_of_another_kind_is_malformed() {
        let bytes = ResponseBytes { kind: NONCE, response: OctetString::new([]).unwrap() };
        let other = Response { status: ResponseStatus::Successful, bytes: Some(bytes) }.to_der().unwrap();
        assert_eq!(answered_nonce(&other), Err(Malformed::Der));
        assert_eq!(answered_nonce(b"<html>"), Err(Malformed::Der));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_response_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = answered_nonce(&bytes);
            let _ = response_extension(&bytes);
        }

        #[test]
        fn a_response_changed_anywhere_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = response(Some(&[7; 32]));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = answered_nonce(&bytes);
        }
    }
}
