//! A vendor of manifests of our own, so that one can be wrong in one way and right in every other.
//!
//! DER, canonical XML and base64 are written by hand: what reads them must not be what wrote them. The
//! document is written in its canonical form, so the bytes that are signed are those that are seen here.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use glacier_attest::{Anchors, Appraisal, CheckedRim, Rim};
use glacier_wire::UnixTime;
use p384::ecdsa::{Signature, SigningKey, signature::Signer as _};
use sha2::{Digest as _, Sha384};

/// Keys by number.
pub const ROOT: u8 = 1;
pub const AUTHORITY: u8 = 2;
pub const ISSUER: u8 = 3;
pub const SIGNER: u8 = 4;
pub const STRANGER: u8 = 9;

/// 2026-01-15T00:00:00Z.
pub const NOW: u64 = 1_768_435_200;

/// Key usages, as bits of the first byte of the bit string.
pub const SIGN: u8 = 0x80;
pub const ISSUE: u8 = 0x06;

pub const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
pub const HASHES: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
pub const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";

pub struct Cert {
    pub subject: &'static str,
    pub issuer: &'static str,
    pub from: &'static str,
    pub until: &'static str,
    /// For an authority its path length, if it has one.
    pub authority: Option<Option<u8>>,
    pub usage: u8,
    /// Says that it is for OCSP answers.
    pub responder: bool,
    pub key: u8,
    pub signer: u8,
}

impl Cert {
    pub fn der(&self) -> Vec<u8> {
        let constraints = match self.authority {
            None => vec![],
            Some(path) => [tlv(1, &[0xff]), path.map(|path| tlv(2, &[path])).unwrap_or_default()].concat(),
        };
        let usage = tlv(3, &[self.usage.trailing_zeros() as u8, self.usage]);
        let mut extensions = vec![
            extension(&[0x55, 0x1d, 0x0f], true, &usage), // key usage
            extension(&[0x55, 0x1d, 0x13], true, &tlv(0x30, &constraints)),
        ];
        if self.responder {
            let ocsp = tlv(6, &[0x2b, 6, 1, 5, 5, 7, 3, 9]);
            extensions.push(extension(&[0x55, 0x1d, 0x25], false, &tlv(0x30, &ocsp)));
        }
        let point = key(self.key).verifying_key().to_sec1_point(false).as_bytes().to_vec();
        let p384 =
            tlv(0x30, &[tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), tlv(6, &[0x2b, 0x81, 4, 0, 0x22])].concat());
        let algorithm = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]));
        let content = [
            tlv(0xa0, &tlv(2, &[2])),
            tlv(2, &[self.key]),
            algorithm.clone(),
            name(self.issuer),
            tlv(0x30, &[tlv(0x17, self.from.as_bytes()), tlv(0x17, self.until.as_bytes())].concat()),
            name(self.subject),
            tlv(0x30, &[p384, tlv(3, &[&[0], &*point].concat())].concat()),
            tlv(0xa3, &tlv(0x30, &extensions.concat())),
        ];
        let content = tlv(0x30, &content.concat());
        let signature: Signature = key(self.signer).sign(&content);
        let bits = [&[0], signature.to_der().as_bytes()].concat();
        tlv(0x30, &[content, algorithm, tlv(3, &bits)].concat())
    }
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 48]).unwrap()
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=127 => out.push(length as u8),
        length @ 128..=255 => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(content);
    out
}

fn name(common: &str) -> Vec<u8> {
    tlv(0x30, &tlv(0x31, &tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(0x0c, common.as_bytes())].concat())))
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { vec![] };
    tlv(0x30, &[tlv(6, id), critical, tlv(4, value)].concat())
}

pub fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit =
            |place: usize| if place <= chunk.len() { alphabet[(bits >> (18 - 6 * place) & 63) as usize] } else { b'=' };
        [0, 1, 2, 3].map(digit).map(char::from)
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// A measurement as the document shows it.
pub fn resource(index: &str, active: &str, values: &[&str]) -> String {
    let hashes: String = values.iter().enumerate().map(|(n, value)| format!(" ns2:Hash{n}=\"{value}\"")).collect();
    let count = values.len();
    format!(
        "<ns0:Resource active=\"{active}\" alternatives=\"{count}\" index=\"{index}\" name=\"Measurement_{index}\" \
         size=\"48\" type=\"Measurement\"{hashes}></ns0:Resource>"
    )
}

/// The value of 48 bytes that are all this one.
pub fn value(byte: u8) -> String {
    format!("{byte:02x}").repeat(48)
}

/// Everything that makes one manifest genuine, each part open to change.
pub struct World {
    /// Signer first.
    pub chain: Vec<Cert>,
    pub signing_key: u8,
    /// The document around its signature, in canonical form.
    pub head: String,
    pub tail: String,
    /// Content of SignedInfo in canonical form, `{digest}` in it.
    pub info: String,
    /// Namespaces in scope at SignedInfo, as its canonical form shows them.
    pub scope: String,
    /// Digest to name instead of the right one.
    pub digest: Option<Vec<u8>>,
}

impl World {
    pub fn new() -> Self {
        let cert = |subject, issuer, authority, key, signer| Cert {
            subject,
            issuer,
            from: "250101000000Z",
            until: "350101000000Z",
            authority,
            usage: if authority.is_some() { ISSUE } else { SIGN },
            responder: false,
            key,
            signer,
        };
        let chain = vec![
            cert("signer", "issuer", None, SIGNER, ISSUER),
            cert("issuer", "authority", Some(Some(0)), ISSUER, AUTHORITY),
            cert("authority", "root", Some(None), AUTHORITY, ROOT),
            cert("root", "root", Some(None), ROOT, ROOT),
        ];
        let measurements = [
            resource("7", "True", &[&value(7)]),
            resource("8", "False", &[&value(8)]),
            resource("35", "True", &[&value(0), &value(0x35)]),
        ];
        let head = format!(
            "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASHES}\" corpus=\"false\" name=\"GH100\" \
             patch=\"false\" supplemental=\"false\" tagId=\"forged\" tagVersion=\"0\" version=\"1.0\">\n  \
             <ns0:Entity name=\"NVIDIA Corporation\" role=\"softwareCreator tagCreator\"></ns0:Entity>\n  \
             <ns0:Meta xmlns:ns1=\"https://trustedcomputinggroup.org/resource/\
             tcg-reference-integrity-manifest-rim-information-model/\" PayloadType=\"direct\" \
             colloquialVersion=\"550.90.07\" edition=\"GPU\" product=\"GH100\" revision=\"r1\" \
             ns1:FirmwareManufacturerId=\"5703\"></ns0:Meta>\n  \
             <ns0:Payload>\n    {}\n  </ns0:Payload>\n",
            measurements.join("\n    ")
        );
        let method =
            |element: &str, algorithm: &str| format!("<ds:{element} Algorithm=\"{algorithm}\"></ds:{element}>");
        let info = [
            method("CanonicalizationMethod", "http://www.w3.org/2006/12/xml-c14n11"),
            method("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"),
            "<ds:Reference URI=\"\"><ds:Transforms>".into(),
            method("Transform", "http://www.w3.org/2000/09/xmldsig#enveloped-signature"),
            method("Transform", "http://www.w3.org/2006/12/xml-c14n11"),
            "</ds:Transforms>".into(),
            method("DigestMethod", "http://www.w3.org/2001/04/xmldsig-more#sha384"),
            "<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>".into(),
        ];
        Self {
            chain,
            signing_key: SIGNER,
            head,
            tail: "\n</SoftwareIdentity>".into(),
            info: info.concat(),
            scope: format!(" xmlns=\"{SWID}\" xmlns:ds=\"{DSIG}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASHES}\""),
            digest: None,
        }
    }

    /// Changes the document before it is signed.
    pub fn saying(mut self, old: &str, new: &str) -> Self {
        assert!(self.head.contains(old), "{old}");
        self.head = self.head.replacen(old, new, 1);
        self
    }

    /// Changes what the signature says of itself before it is signed.
    pub fn signing(mut self, old: &str, new: &str) -> Self {
        assert!(self.info.contains(old), "{old}");
        self.info = self.info.replacen(old, new, 1);
        self
    }

    pub fn signature(&self) -> String {
        let document = format!("{}{}", self.head, self.tail);
        let digest = self.digest.clone().unwrap_or_else(|| Sha384::digest(&document).to_vec());
        let info = self.info.replace("{digest}", &base64(&digest));
        let signed = format!("<ds:SignedInfo{}>{info}</ds:SignedInfo>", self.scope);
        let signature: Signature = key(self.signing_key).sign(signed.as_bytes());
        let certificates: String = self
            .chain
            .iter()
            .map(|cert| format!("<ds:X509Certificate>{}</ds:X509Certificate>", base64(&cert.der())))
            .collect();
        format!(
            "<ds:Signature xmlns:ds=\"{DSIG}\"><ds:SignedInfo>{info}</ds:SignedInfo><ds:SignatureValue>{}</ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>",
            base64(&signature.to_bytes())
        )
    }

    pub fn xml(&self) -> String {
        format!("{}{}{}", self.head, self.signature(), self.tail)
    }

    /// The finished document with one thing changed after it was signed.
    pub fn edited(&self, old: &str, new: &str) -> String {
        let xml = self.xml();
        assert!(xml.contains(old), "{old}");
        xml.replacen(old, new, 1)
    }

    pub fn anchors(&self) -> Anchors {
        Anchors::vendor().with_root_der(&self.chain.last().unwrap().der())
    }

    pub fn check(&self) -> Appraisal<CheckedRim> {
        self.check_of(&self.xml())
    }

    pub fn check_of(&self, xml: &str) -> Appraisal<CheckedRim> {
        Rim::parse(xml.as_bytes()).unwrap().check(&self.anchors(), UnixTime(NOW))
    }
}
