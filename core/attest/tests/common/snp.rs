//! The shared SNP vectors: reports recorded on real hardware, with the certificates of their keys.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use glacier_attest::{AmdTcb, Anchors, Appraisal, Check, Endorsements, Genuine, Outcome, SnpTcb, appraise};
use glacier_wire::UnixTime;
use serde::Deserialize;
use std::{collections::HashMap, fs, path::PathBuf};

#[derive(Deserialize)]
struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub struct Entry {
    pub id: String,
    pub file: String,
    pub vek: String,
    pub bytes: usize,
    pub product: String,
    pub signer: String,
    pub report_version: u32,
    pub guest_svn: u32,
    pub policy: String,
    pub policy_debug: bool,
    pub policy_migrate_ma: bool,
    pub vmpl: u32,
    pub measurement: String,
    pub report_data: String,
    pub host_data: String,
    pub chip_id: String,
    pub current_tcb: String,
    pub reported_tcb: String,
    pub committed_tcb: String,
    pub checks: Checks,
    pub cert_valid_from: u64,
    pub cert_valid_to: u64,
    pub eval_time: u64,
}

#[derive(Deserialize)]
pub struct Checks {
    pub chain_to_amd_root: String,
    /// By the last two arcs of the certificate's extension: certificate, report.
    pub cert_tcb_vs_report: HashMap<String, (u8, u8)>,
}

impl Entry {
    pub fn report(&self) -> Vec<u8> {
        read(&self.file)
    }

    pub fn endorsements(&self) -> Endorsements {
        Endorsements { vek: Some(read(&self.vek)), ..Endorsements::default() }
    }

    /// The manifest writes versions as they lie in the report; launch has none there and is read from it.
    pub fn tcb(&self) -> AmdTcb {
        let tcb = |text: &str| {
            let bytes: [u8; 8] = hex::decode(text).unwrap().try_into().unwrap();
            let [a, b, c, d, _, _, e, f] = bytes;
            match self.product.as_str() {
                "turin" => SnpTcb { fmc: Some(a), bootloader: b, tee: c, snp: d, microcode: f },
                _ => SnpTcb { fmc: None, bootloader: a, tee: b, snp: e, microcode: f },
            }
        };
        AmdTcb {
            reported: tcb(&self.reported_tcb),
            current: tcb(&self.current_tcb),
            committed: tcb(&self.committed_tcb),
            launch: tcb(&hex::encode(&self.report()[0x1f0..0x1f8])),
        }
    }

    pub fn at(&self, time: u64) -> Appraisal<Genuine> {
        appraise(&self.report(), &self.endorsements(), &Anchors::vendor(), UnixTime(time))
    }
}

/// All entries; none if this checkout has no vectors beside it.
pub fn entries() -> Vec<Entry> {
    if !directory().is_dir() {
        println!("skipped: no vectors");
        return Vec::new();
    }
    let entries = serde_json::from_slice::<Manifest>(&read("manifest.json")).unwrap().entries;
    assert!(!entries.is_empty());
    entries
}

pub fn read(path: &str) -> Vec<u8> {
    fs::read(directory().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The check that failed first.
pub fn failed<T>(appraisal: &Appraisal<T>) -> &Check {
    appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail).unwrap()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/snp")
}
