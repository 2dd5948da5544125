//! The shared vectors: evidence recorded on real hardware, simulated evidence, and changed copies of both.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

pub mod forge;

use glacier_attest::{Anchors, Appraisal, Check, Collateral, Endorsements, Genuine, Outcome, appraise};
use glacier_wire::UnixTime;
use serde::Deserialize;
use std::{collections::HashMap, fs, path::PathBuf};

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

pub fn collateral(path: &str) -> Endorsements {
    Collateral::parse(&read(path)).unwrap().into()
}

/// Roots of a case: the vendors', or the test root that lies beside a simulated quote.
pub fn anchors(base: &str) -> Anchors {
    match base.strip_prefix("simulated/") {
        Some(rest) => {
            Anchors::vendor().with_root_der(&read(&format!("simulated/{}/root.der", rest.split('/').next().unwrap())))
        }
        None => Anchors::vendor(),
    }
}

pub fn run(quote: &[u8], collateral_json: &[u8], base: &str, at: u64) -> Appraisal<Genuine> {
    let collateral = Collateral::parse(collateral_json).unwrap();
    appraise(quote, &collateral.into(), &anchors(base), UnixTime(at))
}

/// The check that failed first.
pub fn failed<T>(appraisal: &Appraisal<T>) -> Option<&Check> {
    appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail)
}

#[derive(Deserialize)]
pub struct Manifest {
    pub entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub struct Entry {
    pub id: String,
    pub file: String,
    pub ppid: Option<String>,
    pub report_data: String,
    pub debug: bool,
    pub cases: Vec<Case>,
    #[serde(flatten)]
    pub measured: Measured,
}

/// Quotes whose certification data is encrypted name no chip, but have registers all the same.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Measured {
    Tdx(Box<Td>),
    Sgx(Sgx),
}

#[derive(Deserialize)]
pub struct Sgx {
    pub mrenclave: String,
    pub mrsigner: String,
    pub isvprodid: u16,
    pub isvsvn: u16,
}

#[derive(Deserialize)]
pub struct Td {
    pub mrtd: String,
    pub mrseam: String,
    pub rtmr: [String; 4],
    pub mrconfigid: String,
    pub mrservicetd: Option<String>,
    pub td_attributes: String,
    pub xfam: String,
    pub tee_tcb_svn: String,
}

#[derive(Deserialize)]
pub struct Case {
    pub collateral: String,
    pub valid_from: u64,
    pub valid_to: u64,
    pub eval_time: u64,
    pub tcb_eval_number: u32,
    pub qe_eval_number: u32,
    pub expected: Expected,
}

/// What dcap-qvl says of it.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Expected {
    Genuine { tcb_status: String, platform_status: String, qe_status: String, advisories: Vec<String> },
    Refused { dcap_qvl_error: String },
}

/// Every quote of SGX and TDX, files named from the top directory.
pub fn quotes() -> Vec<Entry> {
    let mut out = Vec::new();
    for kind in ["sgx", "tdx"] {
        let mut manifest: Manifest = serde_json::from_slice(&read(&format!("{kind}/manifest.json"))).unwrap();
        for entry in &mut manifest.entries {
            entry.file = format!("{kind}/{}", entry.file);
            for case in &mut entry.cases {
                case.collateral = format!("{kind}/{}", case.collateral);
            }
        }
        out.extend(manifest.entries);
    }
    out
}

#[derive(Deserialize)]
pub struct Mutations {
    pub cases: Vec<Mutation>,
}

#[derive(Deserialize)]
pub struct Mutation {
    pub id: String,
    pub base: String,
    pub collateral: Option<String>,
    pub collateral_from: Option<String>,
    pub eval_time: u64,
    #[serde(default)]
    pub patches: Vec<(usize, u8)>,
    pub truncate_to: Option<usize>,
    pub append_hex: Option<String>,
    #[serde(default)]
    pub collateral_replace: HashMap<String, (String, String)>,
    pub verdict: String,
}

impl Mutation {
    pub fn quote(&self) -> Vec<u8> {
        let mut quote = read(&self.base);
        for (offset, xor) in &self.patches {
            quote[*offset] ^= xor;
        }
        quote.truncate(self.truncate_to.unwrap_or(usize::MAX));
        quote.extend(self.append_hex.iter().flat_map(|text| hex::decode(text).unwrap()));
        quote
    }

    pub fn collateral_json(&self) -> Vec<u8> {
        let path = self.collateral_from.as_ref().or(self.collateral.as_ref()).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&read(path)).unwrap();
        for (field, (old, new)) in &self.collateral_replace {
            let text = json[field].as_str().unwrap();
            assert!(text.contains(old.as_str()), "{}: {field} has no {old}", self.id);
            json[field] = text.replace(old.as_str(), new).into();
        }
        serde_json::to_vec(&json).unwrap()
    }
}

pub fn intel_mutations() -> Mutations {
    serde_json::from_slice(&read("mutations-intel.json")).unwrap()
}

/// 2026-01-15T00:00:00Z, when all simulated evidence is current.
pub const SIMULATED_AT: u64 = 1_768_435_200;
