//! Every recorded SGX and TDX quote: what it must be, at the edges of its validity too.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use common::*;
use glacier_attest::{
    Anchors, CheckId, Endorsements, Exposure, Format, Genuine, Outcome, Part, Reason, Register, Registers, Tcb,
    Verdict, appraise, appraise_checked, enclave_id,
};
use glacier_wire::{PlatformKind, UnixTime};

#[test]
fn every_case_is_what_the_manifest_says() {
    let Some(_) = vectors() else { return };
    let (mut sgx, mut tdx) = (0, 0);
    for entry in quotes() {
        let quote = read(&entry.file);
        for case in &entry.cases {
            let name = &case.collateral;
            let (tcb_status, platform_status, qe_status, mut advisories) = match &case.expected {
                Expected::Genuine { tcb_status, platform_status, qe_status, advisories } => {
                    (tcb_status.as_str(), platform_status.as_str(), qe_status.as_str(), advisories.clone())
                }
                Expected::Refused { .. } => continue,
            };
            let genuine = appraise(&quote, &collateral(name), &Anchors::vendor(), UnixTime(case.eval_time));
            let genuine = genuine.into_result().unwrap_or_else(|error| panic!("{name}: {error}"));
            let Tcb::Intel(tcb) = genuine.tcb() else { panic!("{name}: {:?}", genuine.tcb()) };
            assert_eq!(tcb.status.as_str(), tcb_status, "{name}");
            assert_eq!(tcb.platform_status.as_str(), platform_status, "{name}");
            assert_eq!(tcb.qe_status.as_str(), qe_status, "{name}");
            advisories.sort();
            assert_eq!(genuine.advisories(), advisories, "{name}");
            assert_eq!(tcb.evaluation, case.tcb_eval_number.min(case.qe_eval_number), "{name}");
            assert_eq!(genuine.validity(), (UnixTime(case.valid_from), UnixTime(case.valid_to)), "{name}");
            assert_eq!(hex::encode(genuine.hardware_id().unwrap()), *entry.ppid.as_ref().unwrap());
            assert_eq!(
                genuine.enclave_id(),
                Some(enclave_id(genuine.platform(), &hex::decode(entry.ppid.as_ref().unwrap()).unwrap()))
            );
            says_what_was_measured(&genuine, &entry);
            match genuine.platform() {
                PlatformKind::Sgx => sgx += 1,
                PlatformKind::Tdx => tdx += 1,
                other => panic!("{name}: {other}"),
            }
        }
    }
    assert_eq!((sgx, tdx), (20, 30));
}

fn says_what_was_measured(genuine: &Genuine, entry: &Entry) {
    let name = &entry.id;
    assert_eq!(hex::encode(genuine.report_data()), entry.report_data, "{name}");
    assert_eq!(genuine.debug(), entry.debug, "{name}");
    match (&entry.measured, genuine.registers()) {
        (Measured::Sgx(expected), Registers::Sgx(found)) => {
            assert_eq!(genuine.platform(), PlatformKind::Sgx);
            assert_eq!(genuine.measurement().to_string(), expected.mrenclave);
            assert_eq!(genuine.signer().unwrap().to_string(), expected.mrsigner);
            assert_eq!((found.product_id, found.svn), (expected.isvprodid, expected.isvsvn));
        }
        (Measured::Tdx(expected), Registers::Tdx(found)) => {
            assert_eq!(genuine.platform(), PlatformKind::Tdx);
            assert_eq!(genuine.signer(), None);
            assert_eq!(found.mrtd.to_string(), expected.mrtd, "{name}");
            assert_eq!(found.mrseam.to_string(), expected.mrseam, "{name}");
            assert_eq!(found.rtmr.map(|register| register.to_string()), expected.rtmr, "{name}");
            assert_eq!(found.mrconfigid.to_string(), expected.mrconfigid, "{name}");
            assert_eq!(found.mrservicetd.map(|register| register.to_string()), expected.mrservicetd, "{name}");
            assert_eq!(found.mrsignerseam, Register::ZERO, "{name}");
            assert_eq!(hex::encode(found.attributes.to_le_bytes()), expected.td_attributes, "{name}");
            assert_eq!(hex::encode(found.xfam.to_le_bytes()), expected.xfam, "{name}");
            assert_eq!(hex::encode(found.tee_tcb_svn), expected.tee_tcb_svn, "{name}");
        }
        (_, found) => panic!("{name}: {found:?}"),
    }
}

#[test]
fn what_is_below_every_level_is_refused() {
    let Some(_) = vectors() else { return };
    let mut refused = 0;
    for entry in quotes() {
        for case in &entry.cases {
            let Expected::Refused { dcap_qvl_error } = &case.expected else { continue };
            if dcap_qvl_error != "No matching TCB level found" {
                continue;
            }
            let quote = read(&entry.file);
            let appraisal =
                appraise(&quote, &collateral(&case.collateral), &Anchors::vendor(), UnixTime(case.eval_time));
            let check = failed(&appraisal).unwrap();
            assert_eq!((check.id, &check.reason), (CheckId::TcbLevel, &Reason::NoLevel), "{}", entry.id);
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
}

#[test]
fn attributes_that_let_somebody_in_are_reported_and_left_to_policy() {
    let Some(_) = vectors() else { return };
    for entry in quotes() {
        let expected: &[Exposure] = match entry.id.as_str() {
            "sgx-606a-debug" | "tdx4-5080-debug-td" => &[Exposure::Debug],
            "tdx4-8056-azure-septve" => &[Exposure::SeptVeDisableClear],
            "tdx5-90c0-alibaba" => &[Exposure::ServiceTd],
            _ => &[],
        };
        for case in &entry.cases {
            let at = UnixTime(case.eval_time);
            let appraisal = appraise(&read(&entry.file), &collateral(&case.collateral), &Anchors::vendor(), at);
            match appraisal.value() {
                Some(genuine) => assert_eq!(genuine.exposures(), expected, "{}", entry.id),
                None => assert!(["tdx4-5080-spr-e4", "tdx5-90c0-tooold"].contains(&entry.id.as_str()), "{}", entry.id),
            }
        }
    }
}

#[test]
fn the_last_second_is_valid_and_the_next_is_not() {
    let Some(_) = vectors() else { return };
    for entry in quotes() {
        let quote = read(&entry.file);
        for case in &entry.cases {
            if let Expected::Refused { .. } = case.expected {
                continue;
            }
            let collateral = collateral(&case.collateral);
            let at = |time| appraise(&quote, &collateral, &Anchors::vendor(), UnixTime(time));
            assert_eq!(at(case.valid_from).verdict(), Verdict::Accepted);
            assert_eq!(at(case.valid_to).verdict(), Verdict::Accepted);
            for (time, early) in [(case.valid_to + 1, false), (case.valid_from - 1, true)] {
                let appraisal = at(time);
                let check = failed(&appraisal).unwrap();
                // Some PCK certificates are younger than the collateral that was put beside them.
                let younger = matches!(check.reason, Reason::NotYetValid { part: Part::Pck, .. });
                let expected = if younger { CheckId::PckChain } else { CheckId::CollateralCurrent };
                assert_eq!(check.id, expected, "{}", case.collateral);
                assert_eq!(early, matches!(check.reason, Reason::NotYetValid { .. }), "{:?}", check.reason);
            }
        }
    }
}

#[test]
fn checked_collateral_gives_the_same_list_and_looks_at_the_clock_each_time() {
    let Some(_) = vectors() else { return };
    for entry in quotes() {
        let quote = read(&entry.file);
        for case in &entry.cases {
            let collateral = collateral(&case.collateral);
            let at = UnixTime(case.eval_time);
            let checked = collateral.check(&Anchors::vendor(), at);
            let direct = appraise(&quote, &collateral, &Anchors::vendor(), at);
            let cached = appraise_checked(&quote, &checked, at);
            assert_eq!(direct.checks(), cached.checks());
            assert_eq!(direct.value(), cached.value());
            for time in [case.valid_to + 1, case.valid_from - 1] {
                let late = appraise_checked(&quote, &checked, UnixTime(time));
                assert!(matches!(failed(&late).unwrap().id, CheckId::CollateralCurrent | CheckId::PckChain));
            }
        }
    }
}

#[test]
fn an_appraisal_lists_every_check_once_and_in_order() {
    let Some(_) = vectors() else { return };
    let anchors = anchors("simulated/base");
    for (file, documents) in [("quote3", "sgx"), ("quote4", "tdx"), ("quote5", "tdx"), ("quote5", "sgx")] {
        let quote = read(&format!("simulated/base/{file}.bin"));
        let whole = CheckId::of_evidence(Format::detect(&quote).unwrap());
        let collateral = collateral(&format!("simulated/base/collateral-{documents}.json"));
        let none = Endorsements::default();
        for (evidence, endorsements) in [(&quote[..], &collateral), (&quote[..], &none), (&quote[..600], &collateral)] {
            let appraisal = appraise(evidence, endorsements, &anchors, UnixTime(SIMULATED_AT));
            assert_eq!(appraisal.checks().iter().map(|check| check.id).collect::<Vec<_>>(), whole);
        }
    }
}

#[test]
fn without_collateral_the_rest_is_checked_and_nothing_accepted() {
    let Some(_) = vectors() else { return };
    let mut quotes_seen = 0;
    for entry in quotes() {
        if entry.id.contains("preprod") || entry.id == "sgx-eppid-cert3" {
            continue;
        }
        let quote = read(&entry.file);
        // One without collateral was recorded late in 2024.
        let at = UnixTime(entry.cases.first().map_or(1_735_000_000, |case| case.eval_time));
        let appraisal = appraise(&quote, &Endorsements::default(), &Anchors::vendor(), at);
        assert_eq!(appraisal.verdict(), Verdict::Undetermined, "{}", entry.id);
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
        assert_eq!(passed, expected, "{}", entry.id);
        let mut forged = quote.clone();
        forged[120] ^= 1;
        let forged = appraise(&forged, &Endorsements::default(), &Anchors::vendor(), at);
        assert_eq!(forged.verdict(), Verdict::Rejected);
        quotes_seen += 1;
    }
    assert_eq!(quotes_seen, 26);
}

#[test]
fn the_root_of_parts_before_production_is_refused() {
    let Some(_) = vectors() else { return };
    for (id, other, at) in [
        ("tdx4-preprod-root", "tdx4-b0c0-phala/collateral-2025-06-19-eval17", 1_751_624_191),
        ("tdx5-preprod-root", "tdx5-90c0-google/collateral-2026-02-01-eval18", 1_771_028_279),
    ] {
        let quote = read(&format!("tdx/{id}/quote.bin"));
        let at = UnixTime(at);
        let appraisal = appraise(&quote, &Endorsements::default(), &Anchors::vendor(), at);
        let check = failed(&appraisal).unwrap();
        assert_eq!(check.id, CheckId::PckChain);
        assert!(matches!(check.reason, Reason::UntrustedRoot(_)));
        let appraisal = appraise(&quote, &collateral(&format!("tdx/{other}.json")), &Anchors::vendor(), at);
        let check = appraisal.checks().iter().find(|check| check.id == CheckId::PckChain).unwrap();
        assert_eq!((check.outcome, &check.reason), (Outcome::Fail, &Reason::OtherIssuer));
    }
}

#[test]
fn certification_by_name_is_unsupported_and_never_accepted() {
    let Some(_) = vectors() else { return };
    let quote = read("sgx/sgx-eppid-cert3/quote.bin");
    let given = collateral("sgx/sgx-606a-oasis/collateral-2023-01-18-eval14.json");
    for (endorsements, first) in [(Endorsements::default(), false), (given, true)] {
        let appraisal = appraise(&quote, &endorsements, &Anchors::vendor(), UnixTime(1_675_375_269));
        let error = appraisal.into_result().unwrap_err();
        assert_eq!(error.verdict, Verdict::Undetermined);
        if first {
            assert_eq!((error.check, error.reason), (CheckId::PckChain, Reason::UnsupportedCertification(3)));
        }
    }
}
