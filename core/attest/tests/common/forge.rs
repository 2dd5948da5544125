//! A vendor of our own, so that evidence can be wrong in one way and right in every other.
//!
//! DER is written by hand here: what reads it must not be what wrote it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use glacier_attest::{Anchors, Appraisal, Collateral, Genuine, appraise};
use glacier_wire::UnixTime;
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Keys by number.
pub const ROOT: u8 = 1;
pub const PCK_CA: u8 = 2;
pub const TCB_SIGNER: u8 = 3;
pub const PCK: u8 = 4;
pub const ATTESTATION: u8 = 5;
pub const STRANGER: u8 = 9;

/// 2026-01-15T00:00:00Z.
pub const NOW: u64 = 1_768_435_200;

/// Key usages, as bits of the first byte of the bit string.
pub const SIGN: u8 = 0xc0;
pub const ISSUE: u8 = 0x06;

pub fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

fn coordinates(number: u8) -> [u8; 64] {
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

fn name(common: &str) -> Vec<u8> {
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

fn raw(message: &[u8], signer: u8) -> [u8; 64] {
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

const SGX: [u32; 7] = [1, 2, 840, 113741, 1, 13, 1];

impl ChipExtension {
    pub fn member(arcs: &[u32], value: Vec<u8>) -> Vec<u8> {
        seq(&[oid(&[&SGX[..], arcs].concat()), value])
    }

    fn der(&self) -> Vec<u8> {
        let mut tcb: Vec<_> =
            (1..).zip(&self.components).map(|(arc, svn)| Self::member(&[2, arc], int(*svn))).collect();
        tcb.push(Self::member(&[2, 17], int(self.pce_svn)));
        tcb.push(Self::member(&[2, 18], tlv(0x04, &[0; 16])));
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

/// Everything that makes one quote genuine, each part open to change.
pub struct World {
    pub root: Cert,
    pub pck_ca: Cert,
    pub tcb_signer: Cert,
    pub pck: Cert,
    pub chip: Option<ChipExtension>,
    pub root_crl: List,
    pub pck_crl: List,
    pub tcb_info: Value,
    pub tcb_info_signer: u8,
    pub qe_identity: Value,
    pub qe_identity_signer: u8,
    pub qe_report: [u8; 384],
    pub qe_report_signer: u8,
    /// Last 32 bytes of the quoting enclave's report data.
    pub qe_report_tail: [u8; 32],
    /// Key that the quote carries, key that the quoting enclave vouches for, key that signs.
    pub attestation: (u8, u8, u8),
    pub report: [u8; 384],
    /// Certificates in the quote after the leaf; the world's own if absent.
    pub chain_above: Option<Vec<Vec<u8>>>,
    pub now: u64,
}

const FROM: &str = "260101000000Z";
const UNTIL: &str = "260131000000Z";

impl World {
    pub fn new() -> Self {
        let cert = |subject, issuer, serial, key, signer| Cert {
            subject,
            issuer,
            serial,
            from: "250101000000Z",
            until: "350101000000Z",
            authority: Some(false),
            path: None,
            usage: SIGN,
            key,
            signer,
            issuer_key: signer,
            inner: ecdsa_with_sha256(),
            extra: vec![],
        };
        let authority = |path, cert| Cert { authority: Some(true), path: Some(path), usage: ISSUE, ..cert };
        let list = |issuer, signer| List {
            issuer,
            from: FROM,
            until: Some(UNTIL),
            serials: vec![],
            signer,
            issuer_key: signer,
            extra: vec![],
        };
        let mut qe_report = [0; 384];
        qe_report[48] = 0x11;
        qe_report[128..160].fill(0x51);
        qe_report[256] = 1;
        qe_report[258] = 8;
        let mut report = [0; 384];
        report[48] = 5;
        report[64..96].fill(0xaa);
        report[128..160].fill(0xbb);
        report[320..325].copy_from_slice(b"hello");
        Self {
            root: authority(1, cert("Test Root", "Test Root", 1, ROOT, ROOT)),
            pck_ca: authority(0, cert("Test PCK Platform CA", "Test Root", 2, PCK_CA, ROOT)),
            tcb_signer: cert("Test TCB Signing", "Test Root", 3, TCB_SIGNER, ROOT),
            pck: cert("Test PCK Certificate", "Test PCK Platform CA", 4, PCK, PCK_CA),
            chip: Some(ChipExtension {
                ppid: vec![7; 16],
                components: (1..=15).chain([255]).collect(),
                pce_svn: 13,
                pce_id: vec![0, 0],
                fmspc: vec![0, 0x60, 0x6a, 0, 0, 0],
                extra: vec![],
            }),
            root_crl: list("Test Root", ROOT),
            pck_crl: list("Test PCK Platform CA", PCK_CA),
            tcb_info: json!({
                "id": "SGX", "version": 3,
                "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-01-31T00:00:00Z",
                "fmspc": "00606A000000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 20,
                "tcbLevels": [level(1, 13, "UpToDate", &[]), level(0, 10, "OutOfDate", &["INTEL-SA-00002"])]
            }),
            tcb_info_signer: TCB_SIGNER,
            qe_identity: json!({
                "id": "QE", "version": 2,
                "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-01-31T00:00:00Z",
                "tcbEvaluationDataNumber": 20,
                "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
                "attributes": "11000000000000000000000000000000",
                "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
                "mrsigner": "51".repeat(32), "isvprodid": 1,
                "tcbLevels": [
                    {"tcb": {"isvsvn": 8}, "tcbDate": "2025-06-01T00:00:00Z", "tcbStatus": "UpToDate"},
                    {"tcb": {"isvsvn": 6}, "tcbDate": "2024-06-01T00:00:00Z", "tcbStatus": "OutOfDate",
                     "advisoryIDs": ["INTEL-SA-00001", "INTEL-SA-00002"]},
                    {"tcb": {"isvsvn": 5}, "tcbDate": "2023-06-01T00:00:00Z", "tcbStatus": "Revoked"}
                ]
            }),
            qe_identity_signer: TCB_SIGNER,
            qe_report,
            qe_report_signer: PCK,
            qe_report_tail: [0; 32],
            attestation: (ATTESTATION, ATTESTATION, ATTESTATION),
            report,
            chain_above: None,
            now: NOW,
        }
    }

    pub fn anchors(&self) -> Anchors {
        Anchors::vendor().with_root_der(&self.root.der())
    }

    pub fn quote(&self) -> Vec<u8> {
        let (carried, vouched, signer) = self.attestation;
        let authentication = [0x0a; 32];
        let mut header = vec![3, 0, 2, 0, 0, 0, 0, 0, 8, 0, 13, 0];
        header.extend(hex::decode("939a7233f79c4ca9940a0db3957f0607").unwrap());
        header.extend([0; 20]);
        let body = [&header[..], &self.report].concat();
        let mut qe_report = self.qe_report;
        let digest = Sha256::new().chain_update(coordinates(vouched)).chain_update(authentication).finalize();
        qe_report[320..352].copy_from_slice(&digest);
        qe_report[352..].copy_from_slice(&self.qe_report_tail);
        let above = self.chain_above.clone().unwrap_or_else(|| vec![self.pck_ca.der(), self.root.der()]);
        let chain = pem(&[vec![self.pck_der()], above].concat());
        let mut data = raw(&body, signer).to_vec();
        data.extend(coordinates(carried));
        data.extend(qe_report);
        data.extend(raw(&qe_report, self.qe_report_signer));
        data.extend(32u16.to_le_bytes());
        data.extend(authentication);
        data.extend(5u16.to_le_bytes());
        data.extend((chain.len() as u32).to_le_bytes());
        data.extend(chain);
        [&body[..], &(data.len() as u32).to_le_bytes(), &data].concat()
    }

    fn pck_der(&self) -> Vec<u8> {
        let mut extra: Vec<_> = self.chip.iter().map(|chip| extension(&SGX, false, &chip.der())).collect();
        extra.extend(self.pck.extra.iter().cloned());
        let Cert { subject, issuer, serial, from, until, authority, path, usage, key, signer, issuer_key, .. } =
            self.pck;
        let inner = self.pck.inner.clone();
        Cert { subject, issuer, serial, from, until, authority, path, usage, key, signer, issuer_key, inner, extra }
            .der()
    }

    pub fn collateral_json(&self) -> Vec<u8> {
        let (tcb_info, qe_identity) = (self.tcb_info.to_string(), self.qe_identity.to_string());
        let signers = text(pem(&[self.tcb_signer.der(), self.root.der()]));
        json!({
            "pck_crl_issuer_chain": text(pem(&[self.pck_ca.der(), self.root.der()])),
            "root_ca_crl": hex::encode(self.root_crl.der()),
            "pck_crl": hex::encode(self.pck_crl.der()),
            "tcb_info_issuer_chain": signers,
            "tcb_info_signature": hex::encode(raw(tcb_info.as_bytes(), self.tcb_info_signer)),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": signers,
            "qe_identity_signature": hex::encode(raw(qe_identity.as_bytes(), self.qe_identity_signer)),
            "qe_identity": qe_identity,
        })
        .to_string()
        .into_bytes()
    }

    pub fn appraise(&self) -> Appraisal<Genuine> {
        let collateral = Collateral::parse(&self.collateral_json()).unwrap();
        appraise(&self.quote(), Some(&collateral), &self.anchors(), UnixTime(self.now))
    }
}

/// A level whose components are all `svn` (at most what the chip has).
pub fn level(svn: u8, pce_svn: u16, status: &str, advisories: &[&str]) -> Value {
    let components = vec![json!({ "svn": svn }); 16];
    json!({
        "tcb": {"sgxtcbcomponents": components, "pcesvn": pce_svn},
        "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories
    })
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

fn text(bytes: Vec<u8>) -> String {
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
