//! Recorded evidence of GPUs and switches.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use glacier_attest::{Anchors, Appraisal, Check, CheckId, Endorsements, Genuine, Outcome, appraise};
use glacier_wire::UnixTime;
use serde::Deserialize;
use std::{fs, path::PathBuf};

/// The directory of the vectors, if this checkout has them beside it.
pub fn vectors() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no vectors");
    None
}

pub fn read(path: &str) -> Vec<u8> {
    fs::read(vectors().unwrap().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// 2025-10-24T12:00:00Z: manifests of the complete set and their OCSP answers are current.
pub const RIMS_CURRENT: u64 = 1_761_307_200;
/// 2025-08-21T12:00:00Z: the OCSP answers of the complete set's device are current.
pub const DEVICE_CURRENT: u64 = 1_755_777_600;
pub const H100: &str = "h100-nvtrust-550.90.07";
pub const LS10: &str = "ls10-sdk-96.10.55.00.01";

#[derive(Deserialize)]
pub struct Manifest {
    pub entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub struct Entry {
    pub id: String,
    /// Absent where the entry is a manifest alone.
    pub report: Option<String>,
    pub report_signature_ok: Option<bool>,
}

pub fn manifest() -> Manifest {
    serde_json::from_slice(&read("nvidia/manifest.json")).unwrap()
}

/// One set of evidence, open to change.
#[derive(Clone)]
pub struct Set {
    pub report: Vec<u8>,
    pub chain: Vec<u8>,
    pub rims: Vec<Vec<u8>>,
    pub ocsp: Vec<Vec<u8>>,
}

impl Set {
    /// Report and chain alone.
    pub fn bare(id: &str) -> Self {
        let file = |name| read(&format!("nvidia/{id}/{name}"));
        Self { report: file("report.bin"), chain: file("chain.pem"), rims: vec![], ocsp: vec![] }
    }

    /// With the manifests that lie beside it.
    pub fn with_rims(id: &str) -> Self {
        let directory = vectors().unwrap().join("nvidia").join(id);
        let rims = ["driver-rim.xml", "vbios-rim.xml"].iter().filter_map(|name| fs::read(directory.join(name)).ok());
        Self { rims: rims.collect(), ..Self::bare(id) }
    }

    pub fn with_ocsp(mut self, names: &[&str]) -> Self {
        self.ocsp.extend(names.iter().map(|name| read(&format!("nvidia/{H100}/ocsp-{name}.der"))));
        self
    }

    pub fn endorsements(&self) -> Endorsements {
        Endorsements {
            gpu_chain: Some(self.chain.clone()),
            rims: self.rims.clone(),
            ocsp: self.ocsp.clone(),
            ..Endorsements::default()
        }
    }

    pub fn appraise(&self, at: u64) -> Appraisal<Genuine> {
        appraise(&self.report, &self.endorsements(), &Anchors::vendor(), UnixTime(at))
    }
}

pub const DEVICE_ANSWERS: [&str; 3] = ["certificate-l2", "certificate-l3", "certificate-l4"];
pub const RIM_ANSWERS: [&str; 4] = ["driver-rim-l3", "driver-rim-l4", "rim-l2", "vbios-l4"];

/// The check that failed first.
pub fn failed<T>(appraisal: &Appraisal<T>) -> Option<&Check> {
    appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail)
}

pub fn check<T>(appraisal: &Appraisal<T>, id: CheckId) -> &Check {
    appraisal.checks().iter().find(|check| check.id == id).unwrap()
}
