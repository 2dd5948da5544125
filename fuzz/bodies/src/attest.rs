//! Evidence and collateral.

use glacier_attest::{Anchors, CheckId, Collateral, Endorsements, Format, Verdict, appraise};
use glacier_wire::UnixTime;
use std::{fs, path::Path};

pub(crate) const NOW: UnixTime = UnixTime(1_760_000_000);

/// Without endorsements nothing is genuine, and the list of checks is whole whatever came. Looking at
/// evidence finds no more than the verifier does.
pub(crate) fn evidence(bytes: &[u8]) {
    let appraisal = appraise(bytes, &Endorsements::default(), &Anchors::vendor(), NOW);
    assert!(appraisal.value().is_none());
    assert_ne!(appraisal.verdict(), Verdict::Accepted);
    let whole = Format::detect(bytes).map_or(1, |format| CheckId::of_evidence(format).len());
    assert_eq!(appraisal.checks().len(), whole);
    let _ = glacier_attest::look(bytes, None);
}

/// A device's chain of certificates, AMD's certificates and lists, and OCSP answers, each beside
/// evidence that is well-formed.
pub(crate) fn endorsements(bytes: &[u8]) {
    let given = Endorsements {
        vek: Some(bytes.to_vec()),
        amd_authorities: vec![bytes.to_vec()],
        amd_crls: vec![bytes.to_vec()],
        gpu_chain: Some(bytes.to_vec()),
        ocsp: vec![bytes.to_vec()],
        ..Endorsements::default()
    };
    for evidence in evidence_seeds() {
        assert_ne!(appraise(&evidence, &given, &Anchors::vendor(), NOW).verdict(), Verdict::Accepted);
    }
}

pub(crate) fn collateral(bytes: &[u8]) {
    if let Ok(collateral) = Collateral::parse(bytes) {
        let appraisal = collateral.check(&Anchors::vendor(), NOW);
        assert_eq!(appraisal.value().is_some(), appraisal.verdict() == Verdict::Accepted);
    }
}

/// Real evidence where the vectors are there; else the fixed parts of it.
pub(crate) fn evidence_seeds() -> Vec<Vec<u8>> {
    let mut header = vec![3, 0, 2, 0];
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(&[
        0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
    ]);
    header.resize(48 + 384, 0);
    let mut snp = vec![2, 0, 0, 0];
    snp.resize(1184, 0);
    let mut seeds = vec![header, snp, [vec![0x11, 0xe0, 1, 0xff], vec![0; 33]].concat()];
    for kind in ["sgx", "tdx", "snp", "nvidia"] {
        seeds.extend(vectors(kind, "bin"));
    }
    seeds
}

/// Real certificates, lists and answers where the vectors are there.
pub(crate) fn endorsement_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0x30, 0x00], b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_vec()];
    seeds.extend(vectors("snp", "der"));
    seeds.extend(vectors("nvidia", "pem"));
    seeds.extend(vectors("nvidia", "der"));
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
    seeds.extend(vectors("sgx", "json"));
    seeds.extend(vectors("tdx", "json"));
    seeds
}

/// Files of the vectors, which lie beside the repository and not in it.
fn vectors(kind: &str, extension: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors").join(kind);
    let Ok(cases) = fs::read_dir(root) else { return Vec::new() };
    let files = cases.flatten().filter_map(|case| fs::read_dir(case.path()).ok()).flatten().flatten();
    let wanted = files.filter(|file| file.path().extension().is_some_and(|found| found == extension));
    wanted.filter_map(|file| fs::read(file.path()).ok()).collect()
}
