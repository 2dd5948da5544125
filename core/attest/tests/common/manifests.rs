//! The reference manifests among the shared vectors, and what an independent check found of each.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use glacier_attest::{Anchors, Appraisal, Check, CheckedRim, Outcome, Rim};
use glacier_wire::UnixTime;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// One manifest and what is known of it.
pub struct Known {
    pub file: String,
    pub xml: Vec<u8>,
    pub version: String,
    pub product: String,
    pub edition: String,
    pub digest_ok: bool,
    pub signature_ok: bool,
    pub chain_ok: bool,
    /// First second of the day on which the first certificate begins, or the first one ends.
    pub from_day: u64,
    pub until_day: u64,
    pub active: Vec<u8>,
}

impl Known {
    pub fn genuine(&self) -> bool {
        self.digest_ok && self.signature_ok && self.chain_ok
    }

    /// A time inside every certificate's dates.
    pub fn inside(&self) -> UnixTime {
        UnixTime((self.from_day + self.until_day) / 2)
    }

    pub fn check(&self, at: UnixTime) -> Appraisal<CheckedRim> {
        Rim::parse(&self.xml).unwrap().check(&Anchors::vendor(), at)
    }
}

/// All of them, if this checkout has the vectors beside it.
pub fn manifests() -> Option<Vec<Known>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/nvidia");
    if !root.is_dir() {
        println!("skipped: no vectors");
        return None;
    }
    let list: Value = serde_json::from_slice(&fs::read(root.join("manifest.json")).unwrap()).unwrap();
    let entries = list["entries"].as_array().unwrap().iter();
    let rims = entries.flat_map(|entry| ["driver_rim", "vbios_rim", "rim_only"].map(|key| &entry[key]));
    let known = rims.filter(|rim| rim.is_object()).map(|rim| {
        let text = |key: &str| rim[key].as_str().unwrap().to_owned();
        let flag = |key: &str| rim[key].as_bool().unwrap();
        Known {
            xml: fs::read(root.join(text("file"))).unwrap(),
            file: text("file"),
            version: text("version"),
            product: text("product"),
            edition: text("edition"),
            digest_ok: flag("digest_ok"),
            signature_ok: flag("signature_ok"),
            chain_ok: flag("chain_ok"),
            from_day: day(rim["certs_valid_from"].as_str().unwrap()),
            until_day: day(rim["certs_valid_to"].as_str().unwrap()),
            active: rim["active_indices"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as u8).collect(),
        }
    });
    Some(known.collect())
}

/// The check that failed first.
pub fn failed<T>(appraisal: &Appraisal<T>) -> Option<&Check> {
    appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail)
}

pub const DAY: u64 = 86_400;

/// Midnight of `YYYY-MM-DD`, by counting days.
fn day(date: &str) -> u64 {
    let parts: Vec<u64> = date.split('-').map(|part| part.parse().unwrap()).collect();
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let years: u64 = (1970..parts[0]).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months = [31, if leap(parts[0]) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: u64 = months[..parts[1] as usize - 1].iter().sum();
    (years + months + parts[2] - 1) * DAY
}
