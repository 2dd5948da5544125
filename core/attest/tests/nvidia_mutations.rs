//! Genuine sets changed in one way: all refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/nvidia.rs"]
mod common;

use common::*;
use glacier_attest::{Anchors, Binding, CheckId, Policy, Reason, Verdict, appraise};
use glacier_wire::UnixTime;
use serde::Deserialize;

#[derive(Deserialize)]
struct Mutations {
    cases: Vec<Mutation>,
}

#[derive(Deserialize)]
struct Mutation {
    id: String,
    base: String,
    eval_time: u64,
    #[serde(default)]
    report_patches: Vec<(usize, u8)>,
    report_truncate_to: Option<usize>,
    report_append_hex: Option<String>,
    chain_from: Option<String>,
    chain_take: Option<Vec<usize>>,
    chain_patch: Option<(usize, u8)>,
    driver_rim_from: Option<String>,
    vbios_rim_from: Option<String>,
    driver_rim_replace: Option<(String, String)>,
    vbios_rim_replace: Option<(String, String)>,
    expect_nonce: Option<String>,
}

impl Mutation {
    fn set(&self) -> Set {
        let mut set = Set::with_rims(&self.base);
        for (at, byte) in &self.report_patches {
            assert_ne!(set.report[*at], *byte, "{}: no change", self.id);
            set.report[*at] = *byte;
        }
        if let Some(length) = self.report_truncate_to {
            set.report.truncate(length);
        }
        set.report.extend(self.report_append_hex.iter().flat_map(|text| hex::decode(text).unwrap()));
        if let Some(other) = &self.chain_from {
            set.chain = Set::bare(other).chain;
        }
        if let Some(order) = &self.chain_take {
            let text = String::from_utf8(set.chain).unwrap();
            let blocks: Vec<&str> = text.split_inclusive("-----END CERTIFICATE-----\n").collect();
            set.chain = order.iter().map(|index| blocks[*index]).collect::<String>().into_bytes();
        }
        if let Some((at, byte)) = self.chain_patch {
            assert_ne!(set.chain[at], byte, "{}: no change", self.id);
            set.chain[at] = byte;
        }
        // A GPU has two manifests, a switch one.
        let vbios = set.rims.len().saturating_sub(1);
        for (rim, from) in [(0, &self.driver_rim_from), (vbios, &self.vbios_rim_from)] {
            if let Some(file) = from {
                set.rims[rim] = read(&format!("nvidia/{file}"));
            }
        }
        for (rim, replace) in [(0, &self.driver_rim_replace), (vbios, &self.vbios_rim_replace)] {
            if let Some((old, new)) = replace {
                let text = String::from_utf8(set.rims[rim].clone()).unwrap();
                assert!(text.contains(old), "{}: nothing to replace", self.id);
                set.rims[rim] = text.replacen(old, new, 1).into_bytes();
            }
        }
        set
    }

    fn verdict(&self) -> Verdict {
        let set = self.set();
        let endorsements = set.endorsements();
        let at = UnixTime(self.eval_time);
        let appraisal = appraise(&set.report, &endorsements, &Anchors::vendor(), at);
        let Some(nonce) = &self.expect_nonce else { return appraisal.verdict() };
        let mut expected = [0; 64];
        hex::decode_to_slice(nonce, &mut expected[..32]).unwrap();
        let Ok(genuine) = appraisal.into_result() else { return Verdict::Rejected };
        // Genuine, and an answer to somebody else's question.
        let judged = genuine.judge(&Policy::default(), Binding::ReportData(&expected), at);
        match check(&judged, CheckId::ReportData).reason {
            Reason::ReportDataDiffers => judged.verdict(),
            _ => Verdict::Accepted,
        }
    }
}

#[test]
fn every_mutation_is_refused() {
    let Some(_) = vectors() else { return };
    let cases = serde_json::from_slice::<Mutations>(&read("mutations-nvidia.json")).unwrap().cases;
    assert_eq!(cases.len(), 57);
    for case in &cases {
        // Manifests say themselves of what they speak, so there are no places to swap them between.
        let swapped = case.id == "rim-swapped";
        let expected = if swapped { Verdict::Accepted } else { Verdict::Rejected };
        assert_eq!(case.verdict(), expected, "{}", case.id);
    }
}
