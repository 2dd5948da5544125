//! Evidence and collateral.

use glacier_attest::{Anchors, Collateral, Verdict, appraise};
use glacier_wire::UnixTime;
use std::{fs, path::Path};

pub(crate) const NOW: UnixTime = UnixTime(1_760_000_000);

/// Without collateral nothing is genuine, and the list of checks is whole whatever came.
pub(crate) fn quote(bytes: &[u8]) {
    let appraisal = appraise(bytes, None, &Anchors::vendor(), NOW);
    assert!(appraisal.value().is_none());
    assert_ne!(appraisal.verdict(), Verdict::Accepted);
    assert_eq!(appraisal.checks().len(), appraise(&[], None, &Anchors::vendor(), NOW).checks().len());
}

pub(crate) fn collateral(bytes: &[u8]) {
    if let Ok(collateral) = Collateral::parse(bytes) {
        let appraisal = collateral.check(&Anchors::vendor(), NOW);
        assert_eq!(appraisal.value().is_some(), appraisal.verdict() == Verdict::Accepted);
    }
}

/// Real quotes where the vectors are there; else the fixed part of one.
pub(crate) fn quotes() -> Vec<Vec<u8>> {
    let mut header = vec![3, 0, 2, 0];
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(&[
        0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
    ]);
    header.resize(48 + 384, 0);
    let mut seeds = vec![header];
    seeds.extend(vectors("bin"));
    seeds
}

/// Real collateral where the vectors are there; else its shape.
pub(crate) fn collaterals() -> Vec<Vec<u8>> {
    let signature = "00".repeat(64);
    let shape = serde_json::json!({
        "pck_crl_issuer_chain": "", "root_ca_crl": "3000", "pck_crl": "3000",
        "tcb_info_issuer_chain": "", "tcb_info": "{}", "tcb_info_signature": signature,
        "qe_identity_issuer_chain": "", "qe_identity": "{}", "qe_identity_signature": signature,
    });
    let mut seeds = vec![shape.to_string().into_bytes()];
    seeds.extend(vectors("json"));
    seeds
}

/// Files of the SGX vectors, which lie beside the repository and not in it.
fn vectors(extension: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/sgx");
    let Ok(cases) = fs::read_dir(root) else { return Vec::new() };
    let files = cases.flatten().filter_map(|case| fs::read_dir(case.path()).ok()).flatten().flatten();
    let wanted = files.filter(|file| file.path().extension().is_some_and(|found| found == extension));
    wanted.filter_map(|file| fs::read(file.path()).ok()).collect()
}
