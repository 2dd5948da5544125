//! DER and PEM, written by hand: what reads them must not be what wrote them.

use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};

/// Keys by number.
pub const ROOT: u8 = 1;
pub const PCK_CA: u8 = 2;
pub const TCB_SIGNER: u8 = 3;
pub const PCK: u8 = 4;
pub const ATTESTATION: u8 = 5;
pub const STRANGER: u8 = 9;

/// Key usages, as bits of the first byte of the bit string.
pub const SIGN: u8 = 0xc0;
pub const ISSUE: u8 = 0x06;

pub fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

pub fn coordinates(number: u8) -> [u8; 64] {
    key(number).verifying_key().to_sec1_point(false).as_bytes()[1..].try_into().unwrap()
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=127 => out.push(length as u8),
        length @ 128..=255 => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(content);
    out
}

pub fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut content = vec![(arcs[0] * 40 + arcs[1]) as u8];
    for arc in &arcs[2..] {
        let digits = (0..5).rev().map(|place| arc >> (7 * place) & 0x7f).skip_while(|digit| *digit == 0);
        let digits: Vec<_> = if *arc == 0 { vec![0] } else { digits.collect() };
        let last = digits.len() - 1;
        content.extend(digits.iter().enumerate().map(|(at, digit)| *digit as u8 | if at < last { 0x80 } else { 0 }));
    }
    tlv(0x06, &content)
}

/// A small INTEGER, not negative.
pub fn int(value: u16) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = if value < 0x80 { 1 } else { 0 };
    let lead: &[u8] = if matches!(value, 0x80..=0xff | 0x8000..) && skip == 0 && bytes[0] >= 0x80 { &[0] } else { &[] };
    tlv(0x02, &[lead, &bytes[skip..]].concat())
}

fn utc(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

pub fn ecdsa_with_sha256() -> Vec<u8> {
    seq(&[oid(&[1, 2, 840, 10045, 4, 3, 2])])
}

pub fn ecdsa_with_sha384() -> Vec<u8> {
    seq(&[oid(&[1, 2, 840, 10045, 4, 3, 3])])
}

pub fn name(common: &str) -> Vec<u8> {
    seq(&[tlv(0x31, &seq(&[oid(&[2, 5, 4, 3]), tlv(0x0c, common.as_bytes())]))])
}

pub fn extension(id: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(0x01, &[0xff]) } else { vec![] };
    seq(&[oid(id), critical, tlv(0x04, value)])
}

fn signed(content: Vec<u8>, outer: Vec<u8>, signer: u8) -> Vec<u8> {
    let signature: Signature = key(signer).sign(&content);
    let bits = [&[0], signature.to_der().as_bytes()].concat();
    seq(&[content, outer, tlv(0x03, &bits)])
}

pub fn raw(message: &[u8], signer: u8) -> [u8; 64] {
    let signature: Signature = key(signer).sign(message);
    signature.to_bytes().into()
}

pub struct Cert {
    pub subject: &'static str,
    pub issuer: &'static str,
    pub serial: u16,
    pub from: &'static str,
    pub until: &'static str,
    pub authority: Option<bool>,
    pub path: Option<u16>,
    pub usage: u8,
    pub key: u8,
    pub signer: u8,
    /// Number of the key that the authority key identifier names.
    pub issuer_key: u8,
    pub inner: Vec<u8>,
    pub extra: Vec<Vec<u8>>,
}

impl Cert {
    pub fn der(&self) -> Vec<u8> {
        let mut extensions = vec![
            extension(&[2, 5, 29, 35], false, &seq(&[tlv(0x80, &[self.issuer_key; 20])])),
            extension(&[2, 5, 29, 14], false, &tlv(0x04, &[self.key; 20])),
            extension(&[2, 5, 29, 15], true, &tlv(0x03, &[self.usage.trailing_zeros().min(7) as u8, self.usage])),
        ];
        if let Some(authority) = self.authority {
            let flag = if authority { tlv(0x01, &[0xff]) } else { vec![] };
            let path = self.path.map(int).unwrap_or_default();
            extensions.push(extension(&[2, 5, 29, 19], true, &seq(&[flag, path])));
        }
        extensions.extend(self.extra.iter().cloned());
        let point = [&[0, 4][..], &coordinates(self.key)].concat();
        let content = seq(&[
            tlv(0xa0, &int(2)),
            int(self.serial),
            self.inner.clone(),
            name(self.issuer),
            seq(&[utc(self.from), utc(self.until)]),
            name(self.subject),
            seq(&[seq(&[oid(&[1, 2, 840, 10045, 2, 1]), oid(&[1, 2, 840, 10045, 3, 1, 7])]), tlv(0x03, &point)]),
            tlv(0xa3, &seq(&extensions)),
        ]);
        signed(content, ecdsa_with_sha256(), self.signer)
    }
}

pub struct List {
    pub issuer: &'static str,
    pub from: &'static str,
    pub until: Option<&'static str>,
    pub serials: Vec<u16>,
    pub signer: u8,
    pub issuer_key: u8,
    pub extra: Vec<Vec<u8>>,
}

impl List {
    pub fn der(&self) -> Vec<u8> {
        let entries: Vec<_> = self.serials.iter().map(|serial| seq(&[int(*serial), utc("260101000000Z")])).collect();
        let mut extensions = vec![
            extension(&[2, 5, 29, 20], false, &int(1)),
            extension(&[2, 5, 29, 35], false, &seq(&[tlv(0x80, &[self.issuer_key; 20])])),
        ];
        extensions.extend(self.extra.iter().cloned());
        let content = seq(&[
            int(1),
            ecdsa_with_sha256(),
            name(self.issuer),
            utc(self.from),
            self.until.map(utc).unwrap_or_default(),
            if entries.is_empty() { vec![] } else { seq(&entries) },
            tlv(0xa0, &seq(&extensions)),
        ]);
        signed(content, ecdsa_with_sha256(), self.signer)
    }
}

/// Members of the chip's extension.
pub struct ChipExtension {
    pub ppid: Vec<u8>,
    pub components: Vec<u16>,
    pub pce_svn: u16,
    pub pce_id: Vec<u8>,
    pub fmspc: Vec<u8>,
    pub extra: Vec<Vec<u8>>,
}

pub const SGX: [u32; 7] = [1, 2, 840, 113741, 1, 13, 1];

impl ChipExtension {
    pub fn member(arcs: &[u32], value: Vec<u8>) -> Vec<u8> {
        seq(&[oid(&[&SGX[..], arcs].concat()), value])
    }

    pub fn der(&self) -> Vec<u8> {
        let mut tcb: Vec<_> =
            (1..).zip(&self.components).map(|(arc, svn)| Self::member(&[2, arc], int(*svn))).collect();
        tcb.push(Self::member(&[2, 17], int(self.pce_svn)));
        let cpu_svn: Vec<_> = self.components.iter().map(|svn| *svn as u8).collect();
        tcb.push(Self::member(&[2, 18], tlv(0x04, &cpu_svn)));
        let mut members = vec![
            Self::member(&[1], tlv(0x04, &self.ppid)),
            Self::member(&[2], seq(&tcb)),
            Self::member(&[3], tlv(0x04, &self.pce_id)),
            Self::member(&[4], tlv(0x04, &self.fmspc)),
            Self::member(&[5], tlv(0x0a, &[0])),
        ];
        members.extend(self.extra.iter().cloned());
        seq(&members)
    }
}

pub fn pem(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut out = String::new();
    for der in certificates {
        out += "-----BEGIN CERTIFICATE-----\n";
        for line in base64(der).as_bytes().chunks(64) {
            out += core::str::from_utf8(line).unwrap();
            out += "\n";
        }
        out += "-----END CERTIFICATE-----\n";
    }
    out.into_bytes()
}

pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let digit = alphabet[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > group.len() { '=' } else { digit.into() });
        }
    }
    out
}
