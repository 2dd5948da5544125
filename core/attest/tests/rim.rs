//! Real reference manifests: an independent check's answers, their dates, and every changed copy.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/manifests.rs"]
mod manifests;

use glacier_attest::{CheckId, Outcome, Reason, Rim, RimFault, RimKind, Verdict};
use glacier_wire::{PlatformKind, UnixTime};
use manifests::*;

#[test]
fn every_manifest_is_answered_as_the_independent_check_answered() {
    let Some(known) = manifests() else { return };
    assert!(known.len() >= 25);
    for rim in &known {
        // The edited one with another chain has two certificates.
        if !rim.chain_ok {
            assert_eq!(Rim::parse(&rim.xml), Err(RimFault::Certificates), "{}", rim.file);
            continue;
        }
        let appraisal = rim.check(rim.inside());
        let ids: Vec<_> = appraisal.checks().iter().map(|check| check.id).collect();
        assert_eq!(ids, CheckId::of_manifest().collect::<Vec<_>>());
        if rim.genuine() {
            assert_eq!(appraisal.verdict(), Verdict::Accepted, "{}", rim.file);
            continue;
        }
        let check = failed(&appraisal).unwrap();
        assert_eq!(check.id, CheckId::RimSignature, "{}", rim.file);
        match &check.reason {
            Reason::BadSignature(_) => assert!(!rim.signature_ok, "{}", rim.file),
            Reason::Rim { fault: RimFault::Digest, .. } => assert!(!rim.digest_ok, "{}", rim.file),
            other => panic!("{}: {other}", rim.file),
        }
        assert!(appraisal.value().is_none());
    }
}

#[test]
fn what_a_genuine_manifest_says_is_read() {
    let Some(known) = manifests() else { return };
    for rim in known.iter().filter(|rim| rim.genuine()) {
        let parsed = Rim::parse(&rim.xml).unwrap();
        let checked = rim.check(rim.inside()).into_result().unwrap();
        let kind = match (&*rim.edition, rim.version.split('.').count()) {
            ("SWITCH", _) => RimKind::Switch,
            (_, 5) => RimKind::Vbios,
            _ => RimKind::Driver,
        };
        assert_eq!((checked.kind(), checked.version(), checked.product()), (kind, &*rim.version, &*rim.product));
        assert_eq!((parsed.kind(), parsed.version(), parsed.product()), (kind, &*rim.version, &*rim.product));
        assert_eq!(parsed.as_bytes(), rim.xml);
        assert_eq!(checked.platform(), PlatformKind::Nvidia);
        assert_eq!(checked.golden().iter().map(|(index, _)| *index).collect::<Vec<_>>(), rim.active);
        assert!(checked.golden().iter().all(|(_, values)| !values.is_empty()));
        let (from, until) = checked.validity();
        assert_eq!((from.0 / DAY * DAY, until.0 / DAY * DAY), (rim.from_day, rim.until_day), "{}", rim.file);
    }
}

#[test]
fn the_edited_chain_made_up_to_four_certificates_ends_in_a_root_that_nobody_trusts() {
    let Some(known) = manifests() else { return };
    let rim = known.iter().find(|rim| !rim.chain_ok).unwrap();
    let xml = String::from_utf8(rim.xml.clone()).unwrap();
    let (before, rest) = xml.split_once("<ds:X509Certificate>").unwrap();
    let (certificates, after) = rest.split_once("</ds:X509Data>").unwrap();
    let xml = format!("{before}{0}{0}</ds:X509Data>{after}", format_args!("<ds:X509Certificate>{certificates}"));
    // Its content is the only one of Blackwell's here: it is of the same form.
    let parsed = Rim::parse(xml.as_bytes()).unwrap();
    assert_eq!((parsed.kind(), parsed.version(), parsed.product()), (RimKind::Vbios, "97.00.83.00.09", "GB100"));
    let appraisal = parsed.check(&glacier_attest::Anchors::vendor(), rim.inside());
    let check = failed(&appraisal).unwrap();
    assert_eq!(check.id, CheckId::RimChain);
    assert!(matches!(check.reason, Reason::UntrustedRoot(_)));
}

#[test]
fn alternatives_and_zero_values_are_kept() {
    let Some(known) = manifests() else { return };
    let rim = known.iter().find(|rim| rim.version == "550.90.07").unwrap();
    let checked = rim.check(rim.inside()).into_result().unwrap();
    let values = |wanted| &checked.golden().iter().find(|(index, _)| *index == wanted).unwrap().1;
    assert_eq!(values(35).len(), 4);
    assert_eq!(values(28)[..], [glacier_attest::Register::ZERO]);
    assert_eq!(values(23)[1], glacier_attest::Register::ZERO);
    assert!(values(7)[0].to_string().starts_with("80161aac5e7509f0"));
}

#[test]
fn a_manifest_holds_from_its_chains_first_second_to_the_last() {
    let Some(known) = manifests() else { return };
    for rim in known.iter().filter(|rim| rim.genuine()) {
        let (from, until) = rim.check(rim.inside()).into_result().unwrap().validity();
        for at in [from, until] {
            assert_eq!(rim.check(at).verdict(), Verdict::Accepted, "{}", rim.file);
        }
        let late = rim.check(UnixTime(until.0 + 1));
        let check = failed(&late).unwrap();
        assert_eq!(check.id, CheckId::RimCurrent);
        assert!(matches!(check.reason, Reason::Expired { until: last, .. } if last == until), "{}", rim.file);
        assert!(late.value().is_none());
        let early = rim.check(UnixTime(from.0 - 1));
        assert!(matches!(failed(&early).unwrap().reason, Reason::NotYetValid { from: first, .. } if first == from));
        // Its signature is as good as it was: only the date stands in the way.
        assert_eq!(late.checks().iter().filter(|check| check.outcome == Outcome::Pass).count(), 3);
    }
}

/// What a hostile document of the largest size costs: its parts are cheap and not many.
#[test]
#[ignore = "a measurement, not a test"]
fn speed_of_hostile_documents() {
    let attributes: String = (0..60).map(|n| format!(" a{n}='\"\"'")).collect();
    let namespaces: String = (0..60).map(|n| format!(" xmlns:a{n}='urn:{n}'")).collect();
    for part in ["<a/>", "<a>", "&#x41;", "<!---->", &format!("<a{attributes}/>"), &format!("<a{namespaces}/>")] {
        let xml = format!("<r>{}", part.repeat((Rim::MAX_BYTES - 8) / part.len()));
        let took = median_us(|| Rim::parse(xml.as_bytes()).unwrap_err());
        println!("{:<12} {took:>8.1} us", part.get(..10).unwrap_or(part));
    }
}

/// `cargo test --release -p glacier-attest --test rim -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a test"]
fn speed_of_a_manifest() {
    let Some(known) = manifests() else { return };
    let known = known.iter().find(|rim| rim.version == "550.90.07").unwrap();
    let rim = Rim::parse(&known.xml).unwrap();
    let parse = median_us(|| Rim::parse(&known.xml).unwrap());
    let check = median_us(|| rim.check(&glacier_attest::Anchors::vendor(), known.inside()).into_result().unwrap());
    println!("parse, both canonical forms, content, {} bytes  {parse:>8.1} us", known.xml.len());
    println!("four P-384 signatures, digest, dates            {check:>8.1} us");
}

fn median_us<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut times: Vec<_> = (0..100)
        .map(|_| {
            let start = std::time::Instant::now();
            std::hint::black_box(work());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
