//! Simulated Intel evidence under roots of its own, and changed copies of everything.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use common::*;
use glacier_attest::{
    Anchors, CheckId, DocumentError, Endorsements, Part, QuoteError, Reason, Registers, Verdict, appraise, enclave_id,
};
use glacier_wire::{PlatformKind, UnixTime};

fn simulated(quote: &str, documents: &str) -> Result<glacier_attest::Genuine, (CheckId, Reason)> {
    let directory = quote.split('/').next().unwrap();
    let quote = read(&format!("simulated/{quote}.bin"));
    let json = read(&format!("simulated/{directory}/{documents}.json"));
    let appraisal = run(&quote, &json, &format!("simulated/{directory}"), SIMULATED_AT);
    match failed(&appraisal) {
        Some(check) => Err((check.id, check.reason.clone())),
        None => Ok(appraisal.into_result().unwrap()),
    }
}

#[test]
fn it_is_genuine_under_its_root_and_called_simulated() {
    let Some(_) = vectors() else { return };
    for (quote, documents, tdx) in [
        ("base/quote3", "collateral-sgx", false),
        ("base/quote4", "collateral-tdx", true),
        ("base/quote5", "collateral-tdx", true),
    ] {
        let genuine = simulated(quote, documents).unwrap();
        assert_eq!(genuine.platform(), PlatformKind::Simulated);
        assert_eq!(genuine.tcb_status().unwrap().as_str(), "UpToDate");
        assert_eq!(genuine.exposures(), []);
        assert_eq!(&genuine.report_data()[..6], b"hello\0");
        assert_eq!(matches!(genuine.registers(), Registers::Tdx(_)), tdx);
        let chip = genuine.hardware_id().unwrap();
        assert_eq!(genuine.enclave_id(), Some(enclave_id(PlatformKind::Simulated, chip)));
    }
}

#[test]
fn it_is_refused_under_the_vendors_roots() {
    let Some(_) = vectors() else { return };
    for (quote, documents) in [("quote3", "sgx"), ("quote4", "tdx"), ("quote5", "tdx")] {
        let quote = read(&format!("simulated/base/{quote}.bin"));
        let given = collateral(&format!("simulated/base/collateral-{documents}.json"));
        for endorsements in [given, Endorsements::default()] {
            let appraisal = appraise(&quote, &endorsements, &Anchors::vendor(), UnixTime(SIMULATED_AT));
            assert_eq!(appraisal.verdict(), Verdict::Rejected);
            assert!(matches!(failed(&appraisal).unwrap().reason, Reason::UntrustedRoot(_)));
        }
    }
}

#[test]
fn collateral_of_another_root_than_the_quote_is_refused() {
    let Some(_) = vectors() else { return };
    let quote = read("simulated/pceid-mismatch/quote3.bin");
    let anchors = anchors("simulated/pceid-mismatch").with_root_der(&read("simulated/base/root.der"));
    let collateral = collateral("simulated/base/collateral-sgx.json");
    let appraisal = appraise(&quote, &collateral, &anchors, UnixTime(SIMULATED_AT));
    let check = failed(&appraisal).unwrap();
    assert_eq!((check.id, &check.reason), (CheckId::PckChain, &Reason::OtherIssuer));
}

#[test]
fn pce_ids_that_differ_are_refused() {
    let Some(_) = vectors() else { return };
    let found = simulated("pceid-mismatch/quote3", "collateral-sgx").unwrap_err();
    assert_eq!(found, (CheckId::PlatformModel, Reason::OtherProvisioning));
}

#[test]
fn another_outer_certification_type_is_refused() {
    let Some(_) = vectors() else { return };
    let found = simulated("outer-type-7/quote4", "collateral-tdx").unwrap_err();
    assert_eq!(found, (CheckId::Structure, Reason::Quote(QuoteError::CertificationType(7))));
}

#[test]
fn a_pck_certificate_from_the_root_is_refused() {
    let Some(_) = vectors() else { return };
    let (id, reason) = simulated("pck-from-root/quote4", "collateral-tdx").unwrap_err();
    assert_eq!(id, CheckId::PckChain);
    assert!(matches!(reason, Reason::Certificate { .. } | Reason::OtherIssuer), "{reason:?}");
}

#[test]
fn collateral_of_the_other_tee_is_refused() {
    let Some(_) = vectors() else { return };
    for (quote, documents) in [("quote3", "tdx"), ("quote4", "sgx"), ("quote5", "sgx")] {
        let found = simulated(&format!("base/{quote}"), &format!("collateral-{documents}")).unwrap_err();
        assert_eq!(found, (CheckId::PlatformModel, Reason::OtherTee));
    }
}

#[test]
fn documents_of_different_tees_are_refused() {
    let Some(_) = vectors() else { return };
    let json = |tee| -> serde_json::Value {
        serde_json::from_slice(&read(&format!("simulated/base/collateral-{tee}.json"))).unwrap()
    };
    let mut mixed = json("tdx");
    for member in ["qe_identity", "qe_identity_signature"] {
        mixed[member] = json("sgx")[member].clone();
    }
    let quote = read("simulated/base/quote4.bin");
    let appraisal = run(&quote, &serde_json::to_vec(&mixed).unwrap(), "simulated/base", SIMULATED_AT);
    let check = failed(&appraisal).unwrap();
    let expected = Reason::Document { part: Part::QeIdentity, error: DocumentError::Kind };
    assert_eq!((check.id, &check.reason), (CheckId::QeIdentity, &expected));
}

#[test]
fn a_revoked_pck_certificate_is_refused() {
    let Some(_) = vectors() else { return };
    let expected = (CheckId::PckRevocation, Reason::Revoked(Part::Pck));
    assert_eq!(simulated("base/quote4", "collateral-tdx-revoked").unwrap_err(), expected);
    assert_eq!(simulated("base/quote5", "collateral-tdx-revoked").unwrap_err(), expected);
}

#[test]
fn every_mutation_is_refused_and_a_negated_signature_harmless() {
    let Some(_) = vectors() else { return };
    let (mut refused, mut stricter, mut valid) = (0, 0, 0);
    for mutation in intel_mutations().cases {
        let (quote, json) = (mutation.quote(), mutation.collateral_json());
        let appraisal = run(&quote, &json, &mutation.base, mutation.eval_time);
        if mutation.verdict.starts_with("valid ECDSA") {
            // (r, n−s) is as good as (r, s): the statement is the same, so nothing may be named by
            // the quote's bytes.
            let plain = run(&read(&mutation.base), &json, &mutation.base, mutation.eval_time);
            assert_eq!(appraisal.value(), plain.value());
            assert_eq!(appraisal.verdict(), Verdict::Accepted);
            valid += 1;
            continue;
        }
        assert_eq!(appraisal.verdict(), Verdict::Rejected, "{}", mutation.id);
        if mutation.verdict == "reject" {
            let found = failed(&appraisal).unwrap();
            match mutation.id.as_str() {
                "m-swap-tee" => assert_eq!((found.id, &found.reason), (CheckId::PlatformModel, &Reason::OtherTee)),
                "m-swap-fmspc" => assert_eq!((found.id, &found.reason), (CheckId::PlatformModel, &Reason::OtherModel)),
                _ => {}
            }
            refused += 1;
        } else {
            let check = failed(&appraisal).unwrap();
            assert_eq!(check.reason, Reason::Quote(QuoteError::Length), "{}", mutation.id);
            stricter += 1;
        }
    }
    assert_eq!((refused, stricter, valid), (90, 4, 2));
}
