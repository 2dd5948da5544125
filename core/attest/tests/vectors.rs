//! Every SGX vector: what it must be, at the edges of its validity too, and what dcap-qvl says of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use common::*;
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use glacier_attest::{Anchors, CheckId, Outcome, Part, Reason, Verdict, appraise, appraise_checked, enclave_id};
use glacier_wire::{PlatformKind, UnixTime};

#[test]
fn every_sgx_case_is_what_the_manifest_says() {
    let Some(_) = vectors() else { return };
    let mut cases = 0;
    for entry in sgx_manifest().entries {
        let quote = read(&format!("sgx/{}", entry.file));
        for case in &entry.cases {
            let name = &case.collateral;
            let collateral = collateral(&format!("sgx/{name}"));
            let genuine = appraise(&quote, Some(&collateral), &Anchors::vendor(), UnixTime(case.eval_time))
                .into_result()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(genuine.tcb_status().as_str(), case.expected.tcb_status, "{name}");
            assert_eq!(genuine.platform_status().as_str(), case.expected.platform_status, "{name}");
            assert_eq!(genuine.qe_status().as_str(), case.expected.qe_status, "{name}");
            let mut advisories = case.expected.advisories.clone();
            advisories.sort();
            assert_eq!(genuine.advisories(), advisories, "{name}");
            assert_eq!(genuine.tcb_evaluation(), case.tcb_eval_number.min(case.qe_eval_number), "{name}");
            assert_eq!(genuine.validity(), (UnixTime(case.valid_from), UnixTime(case.valid_to)), "{name}");
            assert_eq!(genuine.platform(), PlatformKind::Sgx);
            assert_eq!(genuine.measurement().to_string(), entry.mrenclave);
            assert_eq!(genuine.signer().to_string(), entry.mrsigner);
            assert_eq!((genuine.product_id(), genuine.svn()), (entry.isvprodid, entry.isvsvn));
            assert_eq!(hex::encode(genuine.report_data()), entry.report_data);
            assert_eq!(hex::encode(genuine.hardware_id()), *entry.ppid.as_ref().unwrap());
            assert_eq!(genuine.enclave_id(), enclave_id(PlatformKind::Sgx, genuine.hardware_id()));
            assert_eq!(genuine.debug(), entry.debug);
            cases += 1;
        }
    }
    assert_eq!(cases, 20);
}

#[test]
fn the_last_second_is_valid_and_the_next_is_not() {
    let Some(_) = vectors() else { return };
    for entry in sgx_manifest().entries {
        let quote = read(&format!("sgx/{}", entry.file));
        for case in &entry.cases {
            let collateral = collateral(&format!("sgx/{}", case.collateral));
            let at = |time| appraise(&quote, Some(&collateral), &Anchors::vendor(), UnixTime(time));
            assert_eq!(at(case.valid_from).verdict(), Verdict::Accepted);
            assert_eq!(at(case.valid_to).verdict(), Verdict::Accepted);
            for (time, early) in [(case.valid_to + 1, false), (case.valid_from - 1, true)] {
                let appraisal = at(time);
                let check = failed(&appraisal).unwrap();
                assert_eq!(check.id, CheckId::CollateralCurrent);
                assert_eq!(early, matches!(check.reason, Reason::NotYetValid { .. }), "{:?}", check.reason);
            }
        }
    }
}

#[test]
fn checked_collateral_gives_the_same_list_and_looks_at_the_clock_each_time() {
    let Some(_) = vectors() else { return };
    for entry in sgx_manifest().entries {
        let quote = read(&format!("sgx/{}", entry.file));
        for case in &entry.cases {
            let collateral = collateral(&format!("sgx/{}", case.collateral));
            let at = UnixTime(case.eval_time);
            let checked = collateral.check(&Anchors::vendor(), at).into_result().unwrap();
            let direct = appraise(&quote, Some(&collateral), &Anchors::vendor(), at);
            let cached = appraise_checked(&quote, &checked, at);
            assert_eq!(direct.checks(), cached.checks());
            assert_eq!(direct.value(), cached.value());
            for time in [case.valid_to + 1, case.valid_from - 1] {
                let late = appraise_checked(&quote, &checked, UnixTime(time));
                assert_eq!(failed(&late).unwrap().id, CheckId::CollateralCurrent);
            }
        }
    }
}

#[test]
fn an_appraisal_lists_every_check_once_and_in_order() {
    let Some(_) = vectors() else { return };
    let whole: Vec<_> = CheckId::of_evidence().collect();
    let quote = read("simulated/base/quote3.bin");
    let collateral = collateral("simulated/base/collateral-sgx.json");
    let anchors = anchors("simulated/base");
    for (evidence, collateral) in
        [(&quote[..], Some(&collateral)), (&quote[..], None), (&quote[..600], Some(&collateral)), (&[][..], None)]
    {
        let appraisal = appraise(evidence, collateral, &anchors, UnixTime(SIMULATED_AT));
        assert_eq!(appraisal.checks().iter().map(|check| check.id).collect::<Vec<_>>(), whole);
    }
}

#[test]
fn without_collateral_the_rest_is_checked_and_nothing_accepted() {
    let Some(_) = vectors() else { return };
    for entry in sgx_manifest().entries.into_iter().filter(|entry| !entry.cases.is_empty()) {
        let quote = read(&format!("sgx/{}", entry.file));
        let at = UnixTime(entry.cases[0].eval_time);
        let appraisal = appraise(&quote, None, &Anchors::vendor(), at);
        assert_eq!(appraisal.verdict(), Verdict::Undetermined);
        assert!(appraisal.value().is_none());
        let passed: Vec<_> =
            appraisal.checks().iter().filter(|check| check.outcome == Outcome::Pass).map(|check| check.id).collect();
        let expected = [
            CheckId::Format,
            CheckId::Structure,
            CheckId::PckChain,
            CheckId::QeReport,
            CheckId::AttestationKey,
            CheckId::QuoteSignature,
        ];
        assert_eq!(passed, expected);
        let mut forged = quote.clone();
        forged[120] ^= 1;
        assert_eq!(appraise(&forged, None, &Anchors::vendor(), at).verdict(), Verdict::Rejected);
    }
}

#[test]
fn certification_by_name_is_unsupported_and_never_accepted() {
    let Some(_) = vectors() else { return };
    let quote = read("sgx/sgx-eppid-cert3/quote.bin");
    let collateral = collateral("sgx/sgx-606a-oasis/collateral-2023-01-18-eval14.json");
    for collateral in [None, Some(&collateral)] {
        let appraisal = appraise(&quote, collateral, &Anchors::vendor(), UnixTime(1_675_375_269));
        let error = appraisal.into_result().unwrap_err();
        assert_eq!(error.verdict, Verdict::Undetermined);
        if collateral.is_some() {
            assert_eq!((error.check, error.reason), (CheckId::PckChain, Reason::UnsupportedCertification(3)));
        }
    }
}

#[test]
fn known_formats_that_are_not_read_yet_are_undetermined() {
    let Some(_) = vectors() else { return };
    for path in [
        "tdx/tdx5-90c0-google/quote.bin",
        "simulated/base/quote4.bin",
        "snp/snp-genoa-ms/report.bin",
        "nvidia/h100-sdk-570.86.10/report.bin",
    ] {
        let appraisal = appraise(&read(path), None, &Anchors::vendor(), UnixTime(SIMULATED_AT));
        assert_eq!(appraisal.verdict(), Verdict::Undetermined, "{path}");
        assert!(matches!(appraisal.checks()[0].reason, Reason::Unsupported(_)), "{path}");
    }
}

const SIMULATED_AT: u64 = 1_768_435_200;

#[test]
fn simulated_evidence_is_genuine_under_its_root_and_called_simulated() {
    let Some(_) = vectors() else { return };
    let quote = read("simulated/base/quote3.bin");
    let json = read("simulated/base/collateral-sgx.json");
    let genuine = run(&quote, &json, "simulated/base", SIMULATED_AT).into_result().unwrap();
    assert_eq!(genuine.platform(), PlatformKind::Simulated);
    assert_eq!(genuine.tcb_status().as_str(), "UpToDate");
    assert_eq!(&genuine.report_data()[..6], b"hello\0");
    assert_ne!(genuine.enclave_id(), enclave_id(PlatformKind::Sgx, genuine.hardware_id()));
}

#[test]
fn simulated_evidence_is_refused_under_the_vendors_roots() {
    let Some(_) = vectors() else { return };
    let collateral = collateral("simulated/base/collateral-sgx.json");
    let quote = read("simulated/base/quote3.bin");
    for collateral in [Some(&collateral), None] {
        let appraisal = appraise(&quote, collateral, &Anchors::vendor(), UnixTime(SIMULATED_AT));
        assert_eq!(appraisal.verdict(), Verdict::Rejected);
        assert!(matches!(failed(&appraisal).unwrap().reason, Reason::UntrustedRoot(_)));
    }
}

#[test]
fn collateral_of_another_root_than_the_quote_is_refused() {
    let Some(_) = vectors() else { return };
    let quote = read("simulated/pceid-mismatch/quote3.bin");
    let anchors = anchors("simulated/pceid-mismatch").with_root_der(&read("simulated/base/root.der"));
    let collateral = collateral("simulated/base/collateral-sgx.json");
    let appraisal = appraise(&quote, Some(&collateral), &anchors, UnixTime(SIMULATED_AT));
    let check = failed(&appraisal).unwrap();
    assert_eq!((check.id, &check.reason), (CheckId::PckChain, &Reason::OtherIssuer));
}

#[test]
fn pce_ids_that_differ_are_refused() {
    let Some(_) = vectors() else { return };
    let quote = read("simulated/pceid-mismatch/quote3.bin");
    let json = read("simulated/pceid-mismatch/collateral-sgx.json");
    let appraisal = run(&quote, &json, "simulated/pceid-mismatch", SIMULATED_AT);
    let check = failed(&appraisal).unwrap();
    assert_eq!((check.id, &check.reason), (CheckId::PlatformModel, &Reason::OtherProvisioning));
}

#[test]
fn tdx_collateral_for_an_sgx_quote_is_refused() {
    let Some(_) = vectors() else { return };
    let quote = read("simulated/base/quote3.bin");
    let appraisal = run(&quote, &read("simulated/base/collateral-tdx.json"), "simulated/base", SIMULATED_AT);
    let check = failed(&appraisal).unwrap();
    assert_eq!(check.id, CheckId::TcbInfo);
    assert!(matches!(check.reason, Reason::Document { part: Part::TcbInfo, .. }));
}

#[test]
fn a_revoked_pck_certificate_is_refused() {
    let Some(_) = vectors() else { return };
    // The same chip signs all simulated quotes; its revocation came with TDX collateral. The list
    // is put beside the SGX documents of the same issuer.
    let mut json: serde_json::Value = serde_json::from_slice(&read("simulated/base/collateral-sgx.json")).unwrap();
    let revoked: serde_json::Value =
        serde_json::from_slice(&read("simulated/base/collateral-tdx-revoked.json")).unwrap();
    json["pck_crl"] = revoked["pck_crl"].clone();
    let quote = read("simulated/base/quote3.bin");
    let appraisal = run(&quote, &serde_json::to_vec(&json).unwrap(), "simulated/base", SIMULATED_AT);
    let check = failed(&appraisal).unwrap();
    assert_eq!((check.id, &check.reason), (CheckId::PckRevocation, &Reason::Revoked(Part::Pck)));
}

#[test]
fn every_sgx_mutation_is_refused_and_a_negated_signature_harmless() {
    let Some(_) = vectors() else { return };
    let (mut refused, mut valid) = (0, 0);
    for mutation in intel_mutations().cases {
        if !mutation.base.starts_with("sgx/") && !mutation.base.ends_with("quote3.bin") {
            continue;
        }
        let (quote, json) = (mutation.quote(), mutation.collateral_json());
        let appraisal = run(&quote, &json, &mutation.base, mutation.eval_time);
        if mutation.verdict.starts_with("valid ECDSA") {
            // (r, n−s) is as good as (r, s): the statement is the same, so nothing may be named by
            // the quote's bytes.
            let plain = run(&read(&mutation.base), &json, &mutation.base, mutation.eval_time);
            assert_eq!(appraisal.value(), plain.value());
            assert_eq!(appraisal.verdict(), Verdict::Accepted);
            valid += 1;
        } else {
            assert_eq!(appraisal.verdict(), Verdict::Rejected, "{}", mutation.id);
            refused += 1;
        }
    }
    assert_eq!((refused, valid), (46, 1));
}

#[test]
fn dcap_qvl_agrees_on_every_case() {
    let Some(_) = vectors() else { return };
    for entry in sgx_manifest().entries {
        let quote = read(&format!("sgx/{}", entry.file));
        for case in &entry.cases {
            let json = read(&format!("sgx/{}", case.collateral));
            let theirs: QuoteCollateralV3 = serde_json::from_slice(&json).unwrap();
            let verifier = QuoteVerifier::new_prod().allow_debug(true);
            // Not at the very edges: it does not look at a revocation list's thisUpdate, and takes
            // its nextUpdate for the first second after.
            for time in [case.eval_time, case.valid_to - 1, case.valid_to + 1, case.valid_from] {
                let ours = run(&quote, &json, "sgx", time);
                let theirs = verifier.verify(&quote, &theirs, time);
                match (ours.value(), theirs) {
                    (Some(ours), Ok(theirs)) => {
                        assert_eq!(ours.tcb_status().as_str(), theirs.status);
                        assert_eq!(ours.platform_status().as_str(), theirs.platform_status.status.to_string());
                        assert_eq!(ours.qe_status().as_str(), theirs.qe_status.status.to_string());
                        let mut advisories = theirs.advisory_ids;
                        advisories.sort();
                        assert_eq!(ours.advisories(), advisories);
                        assert_eq!(ours.hardware_id(), theirs.ppid);
                    }
                    (None, Err(_)) => {}
                    (ours, theirs) => panic!("{} at {time}: {ours:?}, {theirs:?}", case.collateral),
                }
            }
        }
    }
}
