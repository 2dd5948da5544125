//! What dcap-qvl says of the same bytes: the same, but for the gaps that are named here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use common::{
    forge::{Shape, World, level, td_level},
    *,
};
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use glacier_attest::{
    Anchors, CheckedEndorsements, Collateral, Endorsements, Exposure, Genuine, Tcb, appraise_checked,
};
use glacier_wire::UnixTime;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

fn theirs(quote: &[u8], json: &[u8], time: u64) -> Result<dcap_qvl::verify::VerifiedReport, String> {
    let collateral: QuoteCollateralV3 = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let verifier = QuoteVerifier::new_prod().allow_debug(true).allow_service_td(true);
    verifier.verify(quote, &collateral, time).map_err(|error| format!("{error:#}"))
}

fn assert_same(ours: &Genuine, theirs: dcap_qvl::verify::VerifiedReport, name: &str) {
    let Tcb::Intel(tcb) = ours.tcb() else { panic!("{name}: {:?}", ours.tcb()) };
    assert_eq!(tcb.status.as_str(), theirs.status, "{name}");
    assert_eq!(tcb.platform_status.as_str(), theirs.platform_status.status.to_string(), "{name}");
    assert_eq!(tcb.qe_status.as_str(), theirs.qe_status.status.to_string(), "{name}");
    let mut advisories = theirs.advisory_ids;
    advisories.sort();
    advisories.dedup();
    assert_eq!(ours.advisories(), advisories, "{name}");
    assert_eq!(ours.hardware_id(), Some(&theirs.ppid[..]), "{name}");
}

#[test]
fn it_agrees_on_every_recorded_case() {
    let Some(_) = vectors() else { return };
    for entry in quotes() {
        let quote = read(&entry.file);
        for case in &entry.cases {
            let json = read(&case.collateral);
            // Not at the very edges: it does not look at a revocation list's thisUpdate, and takes
            // its nextUpdate for the first second after.
            for time in [case.eval_time, case.valid_to - 1, case.valid_to + 1, case.valid_from] {
                let ours = run(&quote, &json, &entry.file, time);
                match (ours.value(), theirs(&quote, &json, time)) {
                    (Some(ours), Ok(theirs)) => assert_same(ours, theirs, &case.collateral),
                    (None, Err(_)) => {}
                    // What it refuses by its own policy, we leave to the relying party's.
                    (Some(ours), Err(error)) if error.contains("SEPT_VE_DISABLE") => {
                        assert_eq!(ours.exposures(), [Exposure::SeptVeDisableClear]);
                    }
                    (ours, theirs) => panic!("{} at {time}: {ours:?}, {theirs:?}", case.collateral),
                }
            }
        }
    }
}

/// A genuine quote with its collateral, and where its parts are.
struct Sample {
    quote: Vec<u8>,
    json: Vec<u8>,
    checked: CheckedEndorsements,
    at: u64,
    /// Outer certification type and length, in versions 4 and 5.
    outer: core::ops::Range<usize>,
    /// Where the PEM chain's length begins, and the chain.
    inner: usize,
    pem: usize,
}

impl Sample {
    fn read(file: &str, documents: &str, at: u64) -> Self {
        let quote = read(file);
        let json = read(documents);
        let data = match quote[0] {
            3 => 436,
            4 => 636,
            _ => 706,
        };
        let outer = data + 128..if quote[0] == 3 { data + 128 } else { data + 134 };
        let pem = (0..quote.len()).find(|at| quote[*at..].starts_with(b"-----BEGIN")).unwrap();
        let checked = Endorsements::from(Collateral::parse(&json).unwrap()).check(&Anchors::vendor(), UnixTime(at));
        Self { outer, inner: pem - 4, pem, quote, json, checked, at }
    }
}

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    if vectors().is_none() {
        return Vec::new();
    }
    [
        ("sgx/sgx-606a-svr2-2026/quote.bin", "sgx/sgx-606a-svr2-2026/collateral-2026-07-30-eval21.json", 1_786_432_758),
        ("tdx/tdx4-b0c0-phala/quote.bin", "tdx/tdx4-b0c0-phala/collateral-2025-06-19-eval17.json", 1_751_624_191),
        (
            "tdx/tdx5-90c0-modupdate/quote.bin",
            "tdx/tdx5-90c0-modupdate/collateral-2026-01-12-eval18.json",
            1_769_529_299,
        ),
    ]
    .map(|(quote, documents, at)| Sample::read(quote, documents, at))
    .into()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn it_agrees_on_changed_quotes(which in 0..3usize, at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let Some(sample) = SAMPLES.get(which) else { return Ok(()) };
        let mut quote = sample.quote.clone();
        let at = at.index(quote.len());
        quote[at] ^= flip;
        let ours = appraise_checked(&quote, &sample.checked, UnixTime(sample.at));
        match (ours.value(), theirs(&quote, &sample.json, sample.at)) {
            (Some(ours), Ok(theirs)) => {
                prop_assert!(at >= sample.pem, "signed bytes changed at {}", at);
                assert_same(ours, theirs, "changed");
            }
            (None, Err(_)) => {}
            (Some(_), Err(error)) => prop_assert!(false, "at {at}: only we accept: {error}"),
            // It looks neither at the outer certification data's type, nor at bytes after the data
            // inside, nor at what the quote names as root, and reads PEM with fewer questions.
            (None, Ok(_)) => prop_assert!(sample.outer.contains(&at) || at >= sample.inner, "at {}: only it accepts", at),
        }
    }

    #[test]
    fn it_agrees_on_changed_signed_bytes(which in 0..3usize, at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let Some(sample) = SAMPLES.get(which) else { return Ok(()) };
        let mut quote = sample.quote.clone();
        let at = at.index(sample.inner);
        quote[at] ^= 1 << bit;
        prop_assume!(!sample.outer.contains(&at));
        prop_assert!(appraise_checked(&quote, &sample.checked, UnixTime(sample.at)).value().is_none());
        prop_assert!(theirs(&quote, &sample.json, sample.at).is_err());
    }

    #[test]
    fn it_agrees_on_changed_collateral(which in 0..3usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let Some(sample) = SAMPLES.get(which) else { return Ok(()) };
        let mut json = sample.json.clone();
        let at = at.index(json.len());
        json[at] = byte;
        let ours = Collateral::parse(&json).ok().map(|collateral| {
            let checked = Endorsements::from(collateral).check(&Anchors::vendor(), UnixTime(sample.at));
            appraise_checked(&sample.quote, &checked, UnixTime(sample.at))
        });
        match (ours.as_ref().and_then(|ours| ours.value()), theirs(&sample.quote, &json, sample.at)) {
            (Some(ours), Ok(theirs)) => {
                let original = appraise_checked(&sample.quote, &sample.checked, UnixTime(sample.at));
                prop_assert_eq!(Some(ours), original.value());
                assert_same(ours, theirs, "changed");
            }
            (None, Err(_)) => {}
            (Some(_), Err(error)) => prop_assert!(false, "at {at}: only we accept: {error}"),
            (None, Ok(_)) => prop_assert!(in_a_chain(&sample.json, at), "at {}: only it accepts", at),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Evidence of our own vendor whose every number is chosen at random, mostly near the levels.
    #[test]
    fn it_agrees_on_the_level_of_a_domain(
        shape in prop::sample::select(&Shape::DOMAINS[..]),
        launch in svn(),
        current in svn(),
        asks in prop::collection::vec((prop::array::uniform3(0..3u8), 0..2u8, 12..14u16, 0..7usize), 1..4),
        module in prop::collection::vec((0..4u8, 0..3usize), 1..4),
        qe in prop::sample::select(&[5, 6, 8, 8, 8][..]),
        signer in prop::sample::select(&[0, 0, 0, 0, 0, 0, 0, 1][..]),
        seam in prop::sample::select(&[0, 0, 0, 0, 0, 0, 0, 2][..]),
    ) {
        let mut world = World::tdx(shape);
        world.td_report[..3].copy_from_slice(&launch);
        world.td_report[584..587].copy_from_slice(&current);
        world.td_report[64] = signer;
        world.td_report[112] = seam;
        world.qe_report[258] = qe;
        let levels = (1..).zip(&asks).map(|(id, (tdx, svn, pce, status))| {
            td_level(level(*svn, *pce, PLATFORM[*status], &[&format!("INTEL-SA-0000{id}")]), tdx)
        });
        world.tcb_info["tcbLevels"] = levels.collect();
        // It takes a module's levels in the order in which they come, which is Intel's: best first.
        let mut module = module;
        module.sort_by_key(|(svn, _)| core::cmp::Reverse(*svn));
        module.dedup_by_key(|(svn, _)| *svn);
        let levels = module.iter().map(|(svn, status)| json!({
            "tcb": {"isvsvn": svn}, "tcbDate": "2024-03-01T00:00:00Z", "tcbStatus": PART[*status],
            "advisoryIDs": [format!("INTEL-SA-0001{svn}")]
        }));
        world.tcb_info["tdxModuleIdentities"][0]["tcbLevels"] = levels.collect();
        let ours = world.appraise();
        let collateral: QuoteCollateralV3 = serde_json::from_slice(&world.collateral_json()).unwrap();
        let theirs = QuoteVerifier::new(world.root.der()).verify(&world.quote(), &collateral, world.now);
        match (ours.value(), theirs) {
            (Some(ours), Ok(theirs)) => assert_same(ours, theirs, "forged"),
            (None, Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?}, {theirs:?}"),
        }
    }
}

/// A module of a version that is mostly known, at numbers around the levels.
fn svn() -> impl Strategy<Value = [u8; 3]> {
    (1..5u8, prop::sample::select(&[0, 1, 1, 1, 1, 2][..]), 0..4u8)
        .prop_map(|(isv, version, platform)| [isv, version, platform])
}

const PLATFORM: [&str; 7] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
];
const PART: [&str; 3] = ["UpToDate", "OutOfDate", "Revoked"];

/// Whether a place in collateral lies in one of the PEM chains: it takes no root from them, and reads
/// PEM with fewer questions.
fn in_a_chain(json: &[u8], at: usize) -> bool {
    let text = core::str::from_utf8(json).unwrap();
    let begins = text[..at].rfind("\":").unwrap_or_default();
    let name = text[..begins].rsplit('"').next().unwrap();
    name.ends_with("_chain")
}
