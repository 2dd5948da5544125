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
}

impl OcspRequest {
    /// About `certificate`, which `issuer` issued; both X.509 in DER. That it did so is not verified here.
    pub fn new(certificate: &[u8], issuer: &[u8]) -> Result<Self, RequestError> {
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
