//! A vendor of our own, so that a device's evidence can be wrong in one way and right in every other.
//!
//! DER is written by hand here: what reads it must not be what wrote it.

use super::rim::{CheckedRim, RimKind};
use crate::{
    anchors::Anchors, appraisal::Appraisal, endorsements::Endorsements, genuine::Genuine, registers::Register,
    window::Window,
};
use alloc::{string::String, vec, vec::Vec};
use glacier_wire::{PlatformKind, UnixTime};
use p384::ecdsa::{Signature, SigningKey, signature::Signer as _};
use sha2::{Digest as _, Sha384};

/// 2026-01-15T00:00:00Z.
pub(crate) const NOW: u64 = 1_768_435_200;
pub(super) const STRANGER: u8 = 99;
const SIGN: u8 = 0x80;
const ISSUE: u8 = 0x06;
const OCSP_SIGNING: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];
const SHA384_OID: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
pub(super) const COMPOSITE: &[u8] = &[0x06, 0x06, 0x67, 0x81, 0x05, 0x05, 0x04, 0x01];
pub(super) const TCB_INFO: &[u8] = &[0x06, 0x07, 0x67, 0x81, 0x05, 0x05, 0x04, 0x01, 0x01];
pub(super) const FWID: [u8; 48] = [0xf1; 48];

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 48]).unwrap()
}

fn point(number: u8) -> Vec<u8> {
    key(number).verifying_key().to_sec1_point(false).as_bytes().to_vec()
}

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=127 => out.push(length as u8),
        length @ 128..=255 => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(content);
    out
}

pub(super) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn ecdsa() -> Vec<u8> {
    seq(&[&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03]])
}

fn signature(message: &[u8], signer: u8) -> Signature {
    key(signer).sign(message)
}

fn frame(content: &[u8], signer: u8, after: &[u8]) -> Vec<u8> {
    let bits = [&[0], signature(content, signer).to_der().as_bytes()].concat();
    seq(&[content, &ecdsa(), &tlv(0x03, &bits), after])
}

/// SEQUENCE { sha384, digest }.
pub(super) fn fwid(digest: &[u8]) -> Vec<u8> {
    seq(&[SHA384_OID, &tlv(0x04, digest)])
}

pub(super) fn composite(version: u8, digest: &[u8]) -> Vec<u8> {
    seq(&[&[2, 1, version], &seq(&[&[5, 0]]), &fwid(digest)])
}

pub(super) fn tcb_info(digests: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = digests.iter().flat_map(|digest| fwid(digest)).collect();
    seq(&[&tlv(0x80, b"vendor"), &tlv(0xa6, &list), &tlv(0x87, &[0])])
}

/// A certificate, open to change.
#[derive(Clone)]
pub(super) struct Cert {
    pub(super) common: &'static str,
    /// The subject's serialNumber attribute.
    pub(super) number: Option<String>,
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) until: &'static str,
    pub(super) authority: bool,
    pub(super) usage: u8,
    pub(super) key: u8,
    pub(super) signer: u8,
    /// OID and content of further extensions.
    pub(super) extra: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Cert {
    fn new(common: &'static str, serial: &[u8], key: u8, issuer: Option<&Self>) -> Self {
        let mut cert = Self {
            common,
            number: None,
            serial: serial.to_vec(),
            issuer: vec![],
            until: "350101000000Z",
            authority: true,
            usage: ISSUE,
            key,
            signer: issuer.map_or(key, |issuer| issuer.key),
            extra: vec![],
        };
        cert.issuer = issuer.map_or_else(|| cert.subject(), Self::subject);
        cert
    }

    fn leaf(self) -> Self {
        Self { authority: false, usage: SIGN, ..self }
    }

    /// The subject, DER.
    pub(super) fn subject(&self) -> Vec<u8> {
        let attribute =
            |oid: u8, tag, text: &str| tlv(0x31, &seq(&[&[0x06, 0x03, 0x55, 0x04, oid], &tlv(tag, text.as_bytes())]));
        let number = self.number.as_ref().map(|text| attribute(5, 0x13, text)).unwrap_or_default();
        seq(&[&number, &attribute(3, 0x0c, self.common)])
    }

    pub(super) fn der(&self) -> Vec<u8> {
        let extension = |oid: &[u8], critical: bool, value: &[u8]| {
            let critical = if critical { tlv(0x01, &[0xff]) } else { vec![] };
            seq(&[oid, &critical, &tlv(0x04, value)])
        };
        let id = |last: u8| [0x06, 0x03, 0x55, 0x1d, last];
        let mut extensions = extension(&id(15), true, &tlv(0x03, &[self.usage.trailing_zeros() as u8, self.usage]));
        extensions.extend(extension(&id(14), false, &tlv(0x04, &[self.key; 20])));
        if self.authority {
            extensions.extend(extension(&id(19), true, &seq(&[&tlv(0x01, &[0xff])])));
        }
        for (oid, value) in &self.extra {
            // The responders' extended key usage is critical, firmware ids are not.
            extensions.extend(extension(oid, oid.starts_with(&[0x06, 0x03, 0x55]), value));
        }
        let curve = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
        let ec = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        let content = seq(&[
            &tlv(0xa0, &[2, 1, 2]),
            &tlv(0x02, &self.serial),
            &ecdsa(),
            &self.issuer,
            &seq(&[&tlv(0x17, b"250101000000Z"), &tlv(0x17, self.until.as_bytes())]),
            &self.subject(),
            &seq(&[&seq(&[&ec, &curve]), &tlv(0x03, &[&[0][..], &point(self.key)].concat())]),
            &tlv(0xa3, &tlv(0x30, &extensions)),
        ]);
        frame(&content, self.signer, &[])
    }
}

/// A hash and its OID.
pub(super) struct Hash {
    pub(super) oid: Vec<u8>,
    pub(super) of: fn(&[u8]) -> Vec<u8>,
}

/// An OCSP answer, open to change.
pub(super) struct Ocsp {
    pub(super) envelope: Vec<u8>,
    /// Names the certificate.
    pub(super) hash: Hash,
    pub(super) issuer: Cert,
    pub(super) serial: Vec<u8>,
    pub(super) status: Vec<u8>,
    pub(super) from: &'static str,
    pub(super) until: Option<&'static str>,
    pub(super) responder: Cert,
    /// Key that the answer says it is signed with.
    pub(super) named: u8,
    pub(super) signer: u8,
    pub(super) after: Vec<u8>,
}

impl Ocsp {
    pub(super) fn good(cert: &Cert, issuer: &Cert) -> Self {
        let mut responder = Cert::new("Responder", &[7], 50, Some(issuer)).leaf();
        responder.extra.push((vec![0x06, 0x03, 0x55, 0x1d, 0x25], seq(&[OCSP_SIGNING])));
        Self {
            envelope: vec![0x0a, 1, 0],
            hash: Hash { oid: SHA384_OID.to_vec(), of: |bytes| Sha384::digest(bytes).to_vec() },
            issuer: issuer.clone(),
            serial: cert.serial.clone(),
            status: vec![0x80, 0],
            from: "20260114120000Z",
            until: Some("20260115120000Z"),
            responder,
            named: 50,
            signer: 50,
            after: vec![],
        }
    }

    pub(super) fn der(&self) -> Vec<u8> {
        let about = seq(&[
            &seq(&[&self.hash.oid, &[5, 0]]),
            &tlv(0x04, &(self.hash.of)(&self.issuer.subject())),
            &tlv(0x04, &(self.hash.of)(&point(self.issuer.key))),
            &tlv(0x02, &self.serial),
        ]);
        let until = self.until.map(|until| tlv(0xa0, &tlv(0x18, until.as_bytes()))).unwrap_or_default();
        let single = seq(&[&about, &self.status, &tlv(0x18, self.from.as_bytes()), &until]);
        let id = tlv(0xa2, &tlv(0x04, &sha1::Sha1::digest(point(self.named))));
        let data = seq(&[&id, &tlv(0x18, b"20260114120000Z"), &seq(&[&single]), &self.after]);
        let basic = frame(&data, self.signer, &tlv(0xa0, &seq(&[&self.responder.der()])));
        let kind = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
        seq(&[&self.envelope, &tlv(0xa0, &seq(&[&kind, &tlv(0x04, &basic)]))])
    }
}

/// Everything that makes one report genuine, each part open to change.
pub(crate) struct World {
    /// Leaf first.
    pub(super) certs: Vec<Cert>,
    /// Type and value.
    pub(super) opaque: Vec<(u16, Vec<u8>)>,
    pub(super) blocks: Vec<[u8; 48]>,
    pub(crate) nonce: [u8; 32],
    pub(super) signer: u8,
    pub(crate) rims: Vec<Appraisal<CheckedRim>>,
    /// Of every manifest, signer first.
    pub(super) rim_certs: Vec<Cert>,
    pub(super) ocsp: Vec<Vec<u8>>,
    pub(super) now: u64,
}

impl World {
    pub(super) fn new(chip: [&'static str; 2], family: u8, blocks: u8) -> Self {
        let id = [family, 1, 2, 3, 4, 5, 6, 7, 8];
        let root = Cert::new("Root", &[1], 1, None);
        let product = Cert::new("Product", &[2], 2, Some(&root));
        let line = Cert::new("Line", &[3], 3, Some(&product));
        let mut boot_rom = Cert::new(chip[1], &id, 4, Some(&line));
        boot_rom.number = Some(hex::encode_upper(id));
        let mut leaf = Cert::new(chip[0], &[0x11, 0x22], 5, Some(&boot_rom)).leaf();
        leaf.extra.push((COMPOSITE.to_vec(), composite(1, &FWID)));
        let rim_root = Cert::new("RIM Root", &[11], 11, None);
        let authority = Cert::new("RIM CA", &[12], 12, Some(&rim_root));
        let issuer = Cert::new("RIM L3", &[13], 13, Some(&authority));
        let signer = Cert::new("RIM L4", &[14], 14, Some(&issuer)).leaf();
        Self {
            certs: vec![leaf, boot_rom, line, product, root],
            opaque: vec![],
            blocks: (1..=blocks).map(|index| [index; 48]).collect(),
            nonce: [0x77; 32],
            signer: 5,
            rims: vec![],
            rim_certs: vec![signer, issuer, authority, rim_root],
            ocsp: vec![],
            now: NOW,
        }
    }

    pub(crate) fn gpu() -> Self {
        let mut world = Self::new(["GH100 A01 GSP FMC LF", "GH100 A01 GSP BROM"], 0x41, 64);
        world.opaque = vec![
            (6, vec![0, 0x9f, 0, 0x96, 1, 0, 0, 0]),
            (3, b"550.90.07\0".to_vec()),
            (11, vec![0x55]),
            (20, FWID.to_vec()),
            (99, vec![1, 2, 3]),
        ];
        let (driver, vbios) = (world.rim(RimKind::Driver, "550.90.07"), world.rim(RimKind::Vbios, "96.00.9f.00.01"));
        world.rims = vec![given(CheckedRim { golden: golden(&[7, 21, 22]), ..driver }), given(vbios)];
        world
    }

    pub(super) fn switch() -> Self {
        let mut world = Self::new(["LS_10 A01 FSP FMC LF", "LS_10 A01 FSP BROM"], 0x50, 31);
        world.opaque = vec![(6, b"96.10.55.00.01".to_vec()), (22, vec![1, 2, 3, 4, 5, 6, 7, 8])];
        let firmware = world.rim(RimKind::Switch, "96.10.55.00.01");
        world.rims = vec![given(CheckedRim { product: "LS10".into(), ..firmware })];
        world
    }

    pub(super) fn rim(&self, kind: RimKind, version: &str) -> CheckedRim {
        CheckedRim {
            kind,
            platform: PlatformKind::Simulated,
            version: version.into(),
            product: "GH100".into(),
            window: Window { from: UnixTime(NOW - 1000), until: UnixTime(NOW + 1000) },
            golden: golden(&[0, 1, 2]),
            chain: self.rim_certs.iter().map(Cert::der).collect(),
        }
    }

    /// Replaces or adds a field.
    pub(super) fn field(mut self, kind: u16, value: &[u8]) -> Self {
        self.opaque.retain(|(found, _)| *found != kind);
        self.opaque.push((kind, value.to_vec()));
        self
    }

    pub(super) fn without(mut self, kind: u16) -> Self {
        self.opaque.retain(|(found, _)| *found != kind);
        self
    }

    pub(crate) fn report(&self) -> Vec<u8> {
        let mut out = vec![0x11, 0xe0, 0x01, 0xff];
        out.extend(self.nonce);
        out.extend([0, 0x11, 0x60, 0, 0, self.blocks.len() as u8]);
        out.extend(&(self.blocks.len() as u32 * 55).to_le_bytes()[..3]);
        for (index, value) in (1..).zip(&self.blocks) {
            out.extend([index, 1, 0x33, 0, 1, 0x30, 0]);
            out.extend(value);
        }
        out.extend([0x88; 32]);
        let mut opaque = vec![];
        for (kind, value) in &self.opaque {
            opaque.extend(kind.to_le_bytes());
            opaque.extend((value.len() as u16).to_le_bytes());
            opaque.extend(value);
        }
        out.extend((opaque.len() as u16).to_le_bytes());
        out.extend(opaque);
        let signature = signature(&out, self.signer).to_bytes();
        out.extend(signature);
        out
    }

    pub(crate) fn anchors(&self) -> Anchors {
        Anchors::vendor().with_root_der(&self.certs[self.certs.len() - 1].der())
    }

    /// An answer about each certificate of device and manifests that can be revoked.
    pub(crate) fn answered(&self) -> Vec<Vec<u8>> {
        let good = |certs: &[Cert], places: core::ops::Range<usize>| {
            places.map(|place| Ocsp::good(&certs[place], &certs[place + 1]).der()).collect::<Vec<_>>()
        };
        [good(&self.certs, 1..4), good(&self.rim_certs, 0..3)].concat()
    }

    /// The same machine's next device: another chip, under the same authorities.
    pub(crate) fn next(mut self) -> Self {
        let id = [0x41, 8, 7, 6, 5, 4, 3, 2, 1];
        self.certs[1].serial = id.to_vec();
        self.certs[1].number = Some(hex::encode_upper(id));
        self.certs[0].issuer = self.certs[1].subject();
        self
    }

    pub(crate) fn chain(&self) -> Vec<u8> {
        pem(&self.certs.iter().map(Cert::der).collect::<Vec<_>>())
    }

    pub(super) fn appraise(&self) -> Appraisal<Genuine> {
        let at = UnixTime(self.now);
        let chain = Some(self.chain());
        let given = Endorsements { gpu_chain: chain, ocsp: self.ocsp.clone(), ..Endorsements::default() };
        let mut checked = given.check(&self.anchors(), at);
        checked.rims.clone_from(&self.rims);
        super::appraise(&self.report(), checked.gpu_chain.as_ref(), &[], &checked, at)
    }
}

/// A manifest that nothing was found wrong with.
pub(super) fn given(rim: CheckedRim) -> Appraisal<CheckedRim> {
    Appraisal::new(vec![], Some(rim))
}

/// What a device's blocks hold: the number of the block, from 1.
pub(super) fn golden(indices: &[u8]) -> Vec<(u8, Vec<Register>)> {
    indices.iter().map(|index| (*index, vec![Register([index + 1; 48])])).collect()
}

pub(super) fn pem(certificates: &[Vec<u8>]) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for der in certificates {
        out += "-----BEGIN CERTIFICATE-----\n";
        for group in der.chunks(3) {
            let mut padded = [0; 4];
            padded[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(padded);
            for place in 0..4 {
                let digit = alphabet[(bits >> (18 - 6 * place) & 63) as usize];
                out.push(if place > group.len() { '=' } else { digit.into() });
            }
        }
        out += "\n-----END CERTIFICATE-----\n";
    }
    out.into_bytes()
}
