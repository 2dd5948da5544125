//! An AMD of our own, so that a report can be wrong in one way and right in every other.
//!
//! DER is written by hand here: what reads it must not be what wrote it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use glacier_attest::{Anchors, Appraisal, Endorsements, Genuine, appraise};
use glacier_wire::UnixTime;
use p384::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rsa::{
    RsaPrivateKey,
    pkcs1::EncodeRsaPublicKey as _,
    pss,
    rand_core::{TryCryptoRng, TryRng},
    signature::{RandomizedSigner as _, SignatureEncoding as _},
};
use sha2::{Digest as _, Sha256, Sha384};
use std::{convert::Infallible, sync::LazyLock};

/// Keys of certificates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// RSA, 2048 bits: 0 to 2.
    Rsa(usize),
    /// P-384.
    P384(u8),
    /// P-256: signs nothing here.
    P256,
}

pub const ROOT: Key = Key::Rsa(0);
pub const AUTHORITY: Key = Key::Rsa(1);
pub const STRANGER: Key = Key::Rsa(2);
pub const VEK: Key = Key::P384(4);

/// 2026-01-15T00:00:00Z.
pub const NOW: u64 = 1_768_435_200;
pub const FROM: &str = "250101000000Z";
pub const UNTIL: &str = "350101000000Z";

/// Key usages, as bits of the first byte of the bit string.
pub const ISSUE: u8 = 0x04;
pub const ISSUE_AND_LIST: u8 = 0x06;

static RSA: LazyLock<[RsaPrivateKey; 3]> =
    LazyLock::new(|| [0, 1, 2].map(|number| RsaPrivateKey::new(&mut Numbers(number, 0), 2048).unwrap()));

/// SHA-256 in counter mode: the same keys in every run.
struct Numbers(u8, u64);

impl TryRng for Numbers {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            self.1 += 1;
            let block = Sha256::new().chain_update([self.0]).chain_update(self.1.to_le_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Numbers {}

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
        let digits: Vec<_> = (0..5).rev().map(|place| arc >> (7 * place) & 0x7f).skip_while(|d| *d == 0).collect();
        let digits = if *arc == 0 { vec![0] } else { digits };
        let last = digits.len() - 1;
        content.extend(digits.iter().enumerate().map(|(at, digit)| *digit as u8 | if at < last { 0x80 } else { 0 }));
    }
    tlv(0x06, &content)
}

/// An INTEGER of one byte, not negative.
pub fn int(value: u8) -> Vec<u8> {
    let bytes = [0, value];
    tlv(0x02, if value < 0x80 { &bytes[1..] } else { &bytes })
}

/// id-RSASSA-PSS with SHA-384, MGF1 with SHA-384, `salt` bytes of salt.
pub fn pss(salt: u8) -> Vec<u8> {
    let null = tlv(0x05, &[]);
    let sha384 = seq(&[oid(&[2, 16, 840, 1, 101, 3, 4, 2, 2]), null]);
    let mgf1 = seq(&[oid(&[1, 2, 840, 113549, 1, 1, 8]), sha384.clone()]);
    let parameters = seq(&[tlv(0xa0, &sha384), tlv(0xa1, &mgf1), tlv(0xa2, &int(salt))]);
    seq(&[oid(&[1, 2, 840, 113549, 1, 1, 10]), parameters])
}

pub fn name(common: &str) -> Vec<u8> {
    seq(&[tlv(0x31, &seq(&[oid(&[2, 5, 4, 3]), tlv(0x0c, common.as_bytes())]))])
}

pub fn extension(id: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(0x01, &[0xff]) } else { vec![] };
    seq(&[oid(id), critical, tlv(0x04, value)])
}

/// AMD's extension of this number.
pub fn amd(arcs: &[u32], value: &[u8]) -> Vec<u8> {
    extension(&[&[1, 3, 6, 1, 4, 1, 3704, 1], arcs].concat(), false, value)
}

fn utc(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

fn signed(content: Vec<u8>, signer: Key) -> Vec<u8> {
    let Key::Rsa(number) = signer else { unreachable!("authorities have RSA keys") };
    let key = pss::SigningKey::<Sha384>::new(RSA[number].clone());
    let signature = key.sign_with_rng(&mut Numbers(99, 0), &content).to_bytes();
    seq(&[content, pss(48), tlv(0x03, &[&[0], &signature[..]].concat())])
}

fn key_info(key: Key) -> Vec<u8> {
    let (algorithm, bits) = match key {
        Key::Rsa(number) => {
            let public = RSA[number].to_public_key().to_pkcs1_der().unwrap();
            (seq(&[oid(&[1, 2, 840, 113549, 1, 1, 1]), tlv(0x05, &[])]), public.as_bytes().to_vec())
        }
        Key::P384(number) => {
            let point = secret(number).verifying_key().to_sec1_point(false).as_bytes().to_vec();
            (seq(&[oid(&[1, 2, 840, 10045, 2, 1]), oid(&[1, 3, 132, 0, 34])]), point)
        }
        Key::P256 => {
            let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
            let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
            (seq(&[oid(&[1, 2, 840, 10045, 2, 1]), oid(&[1, 2, 840, 10045, 3, 1, 7])]), point)
        }
    };
    seq(&[algorithm, tlv(0x03, &[&[0], &bits[..]].concat())])
}

fn secret(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 48]).unwrap()
}

#[derive(Clone)]
pub struct Cert {
    pub subject: &'static str,
    pub issuer: &'static str,
    pub serial: u8,
    pub from: &'static str,
    pub until: &'static str,
    pub authority: Option<bool>,
    pub path: Option<u8>,
    pub usage: Option<u8>,
    pub key: Key,
    pub signer: Key,
    /// The algorithm named inside the signature.
    pub inner: Vec<u8>,
    pub extra: Vec<Vec<u8>>,
}

impl Cert {
    pub fn der(&self) -> Vec<u8> {
        let mut extensions = vec![];
        if let Some(usage) = self.usage {
            let unused = usage.trailing_zeros() as u8;
            extensions.push(extension(&[2, 5, 29, 15], true, &tlv(0x03, &[unused, usage])));
        }
        if let Some(authority) = self.authority {
            let flag = if authority { tlv(0x01, &[0xff]) } else { vec![] };
            let path = self.path.map(int).unwrap_or_default();
            extensions.push(extension(&[2, 5, 29, 19], true, &seq(&[flag, path])));
        }
        extensions.extend(self.extra.iter().cloned());
        let content = seq(&[
            tlv(0xa0, &int(2)),
            int(self.serial),
            self.inner.clone(),
            name(self.issuer),
            seq(&[utc(self.from), utc(self.until)]),
            name(self.subject),
            key_info(self.key),
            tlv(0xa3, &seq(&extensions)),
        ]);
        signed(content, self.signer)
    }
}

#[derive(Clone)]
pub struct List {
    pub issuer: &'static str,
    pub from: &'static str,
    pub until: Option<&'static str>,
    pub serials: Vec<u8>,
    pub signer: Key,
    pub extra: Vec<Vec<u8>>,
}

impl List {
    pub fn der(&self) -> Vec<u8> {
        let entries: Vec<_> = self.serials.iter().map(|serial| seq(&[int(*serial), utc("260101000000Z")])).collect();
        let extensions = [vec![extension(&[2, 5, 29, 20], false, &int(1))], self.extra.clone()].concat();
        let content = seq(&[
            int(1),
            pss(48),
            name(self.issuer),
            utc(self.from),
            self.until.map(utc).unwrap_or_default(),
            if entries.is_empty() { vec![] } else { seq(&entries) },
            tlv(0xa0, &seq(&extensions)),
        ]);
        signed(content, self.signer)
    }
}

/// What the key's certificate says of the chip: DER of each extension's content, absent where `None`.
#[derive(Clone)]
pub struct Chip {
    pub product: Option<Vec<u8>>,
    /// By last arc: 1 boot loader, 2 TEE, 3 SNP, 8 microcode, 9 FMC.
    pub tcb: Vec<(u32, Vec<u8>)>,
    pub hardware_id: Option<Vec<u8>>,
}

impl Chip {
    pub fn set(&mut self, arc: u32, value: Option<Vec<u8>>) {
        self.tcb.retain(|(other, _)| *other != arc);
        self.tcb.extend(value.map(|value| (arc, value)));
    }

    fn extensions(&self) -> Vec<Vec<u8>> {
        let product = self.product.iter().map(|value| amd(&[2], value));
        let tcb = self.tcb.iter().map(|(arc, value)| amd(&[3, *arc], value));
        product.chain(tcb).chain(self.hardware_id.iter().map(|value| amd(&[4], value))).collect()
    }
}

/// Content of a product name's extension.
pub fn product(name: &str) -> Option<Vec<u8>> {
    Some(tlv(0x16, name.as_bytes()))
}

/// Everything that makes one report genuine, each part open to change.
#[derive(Clone)]
pub struct World {
    pub root: Cert,
    pub authority: Cert,
    pub vek: Cert,
    pub chip: Chip,
    pub lists: Vec<List>,
    pub report: [u8; 1184],
    pub report_signer: u8,
    pub root_trusted: bool,
    /// Given before the world's own.
    pub more_authorities: Vec<Vec<u8>>,
    pub now: u64,
}

/// Offsets of the report.
pub const POLICY: usize = 0x08;
pub const VMPL: usize = 0x30;
pub const KEY_INFO: usize = 0x48;
pub const REPORTED: usize = 0x180;
pub const PROCESSOR: usize = 0x188;
pub const CHIP_ID: usize = 0x1a0;
pub const SIGNATURE: usize = 0x2a0;

impl World {
    /// A Milan whose chip is named `77…77`.
    pub fn milan() -> Self {
        let cert = |subject, issuer, serial, key, signer| Cert {
            subject,
            issuer,
            serial,
            from: FROM,
            until: UNTIL,
            authority: None,
            path: None,
            usage: None,
            key,
            signer,
            inner: pss(48),
            extra: vec![],
        };
        let mut report = [0; 1184];
        report[0] = 3;
        report[POLICY + 2] = 0x03;
        report[0x34] = 1;
        for (at, snp) in [(0x38, 23), (REPORTED, 22), (0x1e0, 21), (0x1f0, 20)] {
            report[at..at + 8].copy_from_slice(&[4, 1, 0, 0, 0, 0, snp, 210]);
        }
        report[0x50..0x55].copy_from_slice(b"hello");
        report[0x90..0xc0].fill(0xaa);
        report[PROCESSOR..PROCESSOR + 3].copy_from_slice(&[0x19, 0x01, 0x01]);
        report[CHIP_ID..CHIP_ID + 64].fill(0x77);
        Self {
            root: Cert {
                authority: Some(true),
                usage: Some(ISSUE_AND_LIST),
                ..cert("ARK-Milan", "ARK-Milan", 1, ROOT, ROOT)
            },
            authority: Cert {
                authority: Some(true),
                path: Some(0),
                usage: Some(ISSUE),
                ..cert("SEV-Milan", "ARK-Milan", 2, AUTHORITY, ROOT)
            },
            vek: cert("SEV-VCEK", "SEV-Milan", 0, VEK, AUTHORITY),
            chip: Chip {
                product: product("Milan-B0"),
                tcb: vec![(1, int(4)), (2, int(1)), (3, int(22)), (8, int(210))],
                hardware_id: Some(vec![0x77; 64]),
            },
            lists: vec![],
            report,
            report_signer: 4,
            root_trusted: true,
            more_authorities: vec![],
            now: NOW,
        }
    }

    /// The same as a Turin: another layout of versions, a short chip id.
    pub fn turin() -> Self {
        let mut world = Self::milan();
        world.name("ARK-Turin", "SEV-Turin");
        for (at, snp) in [(0x38, 23), (REPORTED, 22), (0x1e0, 21), (0x1f0, 20)] {
            world.report[at..at + 8].copy_from_slice(&[9, 4, 1, snp, 0, 0, 0, 210]);
        }
        world.report[0] = 5;
        world.report[PROCESSOR..PROCESSOR + 3].copy_from_slice(&[0x1a, 0x02, 0x01]);
        world.report[CHIP_ID + 8..CHIP_ID + 64].fill(0);
        world.chip.product = product("Turin");
        world.chip.set(9, Some(int(9)));
        world.chip.hardware_id = Some(vec![0x77; 8]);
        world
    }

    /// The same under a provider's key.
    pub fn provider() -> Self {
        let mut world = Self::milan();
        world.name("ARK-Milan", "SEV-VLEK-Milan");
        world.vek.subject = "SEV-VLEK";
        world.chip.hardware_id = None;
        world.report[KEY_INFO] = 1 << 2;
        world.report[CHIP_ID..CHIP_ID + 64].fill(0);
        world
    }

    /// Names of root and authority, and of those as issuers.
    pub fn name(&mut self, root: &'static str, authority: &'static str) {
        (self.root.subject, self.root.issuer, self.authority.issuer) = (root, root, root);
        (self.authority.subject, self.vek.issuer) = (authority, authority);
    }

    /// A revocation list of the world's root that is in order.
    pub fn list(&self) -> List {
        List {
            issuer: self.root.subject,
            from: "260101000000Z",
            until: Some("260131000000Z"),
            serials: vec![99],
            signer: ROOT,
            extra: vec![],
        }
    }

    /// Gives that list, changed.
    pub fn listed(&mut self, change: impl FnOnce(&mut List)) {
        let mut list = self.list();
        change(&mut list);
        self.lists.push(list);
    }

    pub fn anchors(&self) -> Anchors {
        match self.root_trusted {
            true => Anchors::vendor().with_root_der(&self.root.der()),
            false => Anchors::vendor(),
        }
    }

    /// The report, signed.
    pub fn evidence(&self) -> Vec<u8> {
        let mut report = self.report;
        let signature: Signature = secret(self.report_signer).sign(&report[..SIGNATURE]);
        let numbers = signature.to_bytes();
        for (at, number) in [(SIGNATURE, &numbers[..48]), (SIGNATURE + 72, &numbers[48..])] {
            for (to, from) in report[at..].iter_mut().zip(number.iter().rev()) {
                *to = *from;
            }
        }
        report.to_vec()
    }

    pub fn vek_der(&self) -> Vec<u8> {
        let mut vek = self.vek.clone();
        vek.extra.extend(self.chip.extensions());
        vek.der()
    }

    pub fn endorsements(&self) -> Endorsements {
        let own = [self.authority.der(), self.root.der()];
        Endorsements {
            vek: Some(self.vek_der()),
            amd_authorities: self.more_authorities.iter().cloned().chain(own).collect(),
            amd_crls: self.lists.iter().map(List::der).collect(),
            ..Endorsements::default()
        }
    }

    pub fn appraise(&self) -> Appraisal<Genuine> {
        appraise(&self.evidence(), &self.endorsements(), &self.anchors(), UnixTime(self.now))
    }
}
