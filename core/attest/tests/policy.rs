//! Genuine is not acceptable: each clause of a policy, absent and present.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod forge;
}

use common::forge::*;
use glacier_attest::{
    Accepted, Age, Appraisal, Binding, CheckId, Fingerprint, Format, Genuine, Outcome, Policy, Reason, Signer,
    TcbStatus, Verdict,
};
use glacier_wire::{Address, Claims, EnclaveId, Measurement, PlatformKind, Purpose, UnixTime};

fn genuine(change: impl FnOnce(&mut World)) -> (Genuine, Policy) {
    let mut world = World::new();
    change(&mut world);
    let policy = Policy {
        platforms: vec![PlatformKind::Simulated],
        simulated_roots: vec![Fingerprint::of(&world.root.der())],
        measurements: vec![Measurement([0xaa; 32]).into()],
        ..Policy::default()
    };
    (world.appraise().into_result().unwrap(), policy)
}

fn judge(world: impl FnOnce(&mut World), policy: impl FnOnce(&mut Policy)) -> Appraisal<Accepted> {
    let (genuine, mut asked) = genuine(world);
    policy(&mut asked);
    genuine.judge(&asked, Binding::Unbound, UnixTime(NOW))
}

fn refused(world: impl FnOnce(&mut World), policy: impl FnOnce(&mut Policy)) -> (CheckId, Reason) {
    let appraisal = judge(world, policy);
    assert_eq!(appraisal.verdict(), Verdict::Rejected);
    let error = appraisal.into_result().unwrap_err();
    (error.check, error.reason)
}

#[test]
fn the_list_holds_the_genuine_checks_and_then_the_policys() {
    let appraisal = judge(|_| (), |_| ());
    assert_eq!(appraisal.verdict(), Verdict::Accepted);
    let expected: Vec<_> =
        CheckId::of_evidence(Format::SgxQuoteV3).iter().copied().chain(CheckId::of_policy()).collect();
    assert_eq!(appraisal.checks().iter().map(|check| check.id).collect::<Vec<_>>(), expected);
}

#[test]
fn an_empty_policy_accepts_nothing() {
    let (genuine, _) = genuine(|_| ());
    let appraisal = genuine.judge(&Policy::default(), Binding::Unbound, UnixTime(NOW));
    let failed: Vec<_> =
        appraisal.checks().iter().filter(|check| check.outcome == Outcome::Fail).map(|check| check.id).collect();
    assert_eq!(failed, [CheckId::PolicyPlatform, CheckId::PolicyCode]);
}

#[test]
fn simulated_needs_to_be_listed_as_platform() {
    let expected = (CheckId::PolicyPlatform, Reason::PlatformNotListed(PlatformKind::Simulated));
    assert_eq!(refused(|_| (), |policy| policy.platforms.clear()), expected);
    assert_eq!(refused(|_| (), |policy| policy.platforms = vec![PlatformKind::Sgx]), expected);
}

#[test]
fn simulated_needs_its_root_listed() {
    let (id, reason) = refused(|_| (), |policy| policy.simulated_roots = vec![Fingerprint([1; 32])]);
    assert_eq!(id, CheckId::PolicyPlatform);
    assert!(matches!(reason, Reason::RootNotListed(_)));
}

#[test]
fn no_code_named_is_refused() {
    assert_eq!(refused(|_| (), |policy| policy.measurements.clear()), (CheckId::PolicyCode, Reason::NoCodeNamed));
}

#[test]
fn other_code_is_refused() {
    assert_eq!(
        refused(|_| (), |policy| policy.measurements = vec![Measurement([1; 32]).into()]),
        (CheckId::PolicyCode, Reason::MeasurementNotListed(Measurement([0xaa; 32])))
    );
}

#[test]
fn a_signer_stands_in_for_measurements_and_narrows_them() {
    let by_signer = |signer: u8| {
        move |policy: &mut Policy| {
            policy.measurements.clear();
            policy.signers = vec![Signer([signer; 32])];
        }
    };
    let other = (CheckId::PolicyCode, Reason::SignerNotListed(Some(Signer([0xbb; 32]))));
    assert_eq!(judge(|_| (), by_signer(0xbb)).verdict(), Verdict::Accepted);
    assert_eq!(refused(|_| (), by_signer(1)), other);
    assert_eq!(refused(|_| (), |policy| policy.signers = vec![Signer([1; 32])]), other);
}

#[test]
fn debug_is_refused_unless_allowed() {
    let debug = |world: &mut World| world.report[48] |= 2;
    assert_eq!(refused(debug, |_| ()), (CheckId::PolicyDebug, Reason::DebugEnabled));
    assert_eq!(judge(debug, |policy| policy.allow_debug = true).verdict(), Verdict::Accepted);
}

#[test]
fn a_status_below_the_floor_is_refused() {
    let behind = |world: &mut World| world.chip.as_mut().unwrap().pce_svn = 10;
    assert_eq!(
        refused(behind, |_| ()),
        (CheckId::PolicyTcbStatus, Reason::StatusBelow { found: TcbStatus::OutOfDate, floor: TcbStatus::UpToDate })
    );
    let lower = |policy: &mut Policy| {
        policy.min_tcb = TcbStatus::OutOfDate;
        policy.allowed_advisories = vec!["INTEL-SA-00002".into()];
    };
    assert_eq!(judge(behind, lower).verdict(), Verdict::Accepted);
}

#[test]
fn an_open_advisory_is_refused_unless_allowed() {
    let behind = |world: &mut World| world.chip.as_mut().unwrap().pce_svn = 10;
    assert_eq!(
        refused(behind, |policy| policy.min_tcb = TcbStatus::OutOfDate),
        (CheckId::PolicyAdvisories, Reason::AdvisoryNotAllowed("INTEL-SA-00002".into()))
    );
}

#[test]
fn an_old_evaluation_is_refused() {
    let old = |world: &mut World| world.qe_identity["tcbEvaluationDataNumber"] = 18.into();
    assert_eq!(
        refused(old, |policy| policy.min_tcb_evaluation = Some(19)),
        (CheckId::PolicyTcbEvaluation, Reason::EvaluationBelow { found: 18, floor: 19 })
    );
    assert_eq!(judge(old, |policy| policy.min_tcb_evaluation = Some(18)).verdict(), Verdict::Accepted);
}

#[test]
fn old_collateral_is_refused() {
    let age = 14 * 24 * 3600;
    assert_eq!(judge(|_| (), |policy| policy.max_collateral_age = Some(Age(age))).verdict(), Verdict::Accepted);
    assert_eq!(
        refused(|_| (), |policy| policy.max_collateral_age = Some(Age(age - 1))),
        (CheckId::PolicyCollateralAge, Reason::TooOld { age, max: age - 1 })
    );
}

#[test]
fn judged_after_its_collateral_expired_it_is_refused() {
    let (genuine, policy) = genuine(|_| ());
    let until = genuine.validity().1;
    let accepted = |at| genuine.clone().judge(&policy, Binding::Unbound, UnixTime(at)).verdict();
    assert_eq!(accepted(until.0), Verdict::Accepted);
    assert_eq!(accepted(until.0 + 1), Verdict::Rejected);
    assert_eq!(accepted(genuine.validity().0.0 - 1), Verdict::Rejected);
}

#[test]
fn another_chip_than_the_pinned_one_is_refused() {
    let id = genuine(|_| ()).0.enclave_id().unwrap();
    assert_eq!(judge(|_| (), |policy| policy.enclave_ids = vec![id]).verdict(), Verdict::Accepted);
    assert_eq!(
        refused(|_| (), |policy| policy.enclave_ids = vec![EnclaveId([1; 32])]),
        (CheckId::PolicyEnclaveId, Reason::EnclaveIdNotPinned(id))
    );
}

#[test]
fn report_data_has_to_be_what_is_expected() {
    let (genuine, policy) = genuine(|_| ());
    let mut expected = [0; 64];
    expected[..5].copy_from_slice(b"hello");
    let judge = |data: &_| genuine.clone().judge(&policy, Binding::ReportData(data), UnixTime(NOW)).into_result();
    assert_eq!(judge(&expected).unwrap().bound_report_data(), Some(&expected));
    expected[63] = 1;
    let error = judge(&expected).unwrap_err();
    assert_eq!((error.check, error.reason), (CheckId::ReportData, Reason::ReportDataDiffers));
}

#[test]
fn unbound_is_told() {
    let accepted = judge(|_| (), |_| ()).into_result().unwrap();
    assert_eq!(accepted.bound_report_data(), None);
}

fn claims(issued_at: u64) -> Claims {
    Claims {
        purpose: Purpose::Channel,
        channel_key: [3; 32],
        enclave_key: Address([4; 20]),
        issued_at: UnixTime(issued_at),
        nonce: None,
        devices: None,
    }
}

fn judge_claims(in_quote: &Claims, shown: &Claims, max: Option<Age>) -> Appraisal<Accepted> {
    let (genuine, policy) = genuine(|world| world.report[320..].copy_from_slice(&in_quote.report_data()));
    genuine.judge(&Policy { max_evidence_age: max, ..policy }, Binding::Claims(shown), UnixTime(NOW))
}

#[test]
fn claims_bind_and_tell_the_age() {
    let fresh = claims(NOW - 100);
    let accepted = judge_claims(&fresh, &fresh, None).into_result().unwrap();
    assert_eq!(accepted.bound_report_data(), Some(&fresh.report_data()));
    assert_eq!(judge_claims(&fresh, &fresh, Some(Age(100))).verdict(), Verdict::Accepted);
    let error = judge_claims(&fresh, &fresh, Some(Age(99))).into_result().unwrap_err();
    assert_eq!((error.check, error.reason), (CheckId::PolicyEvidenceAge, Reason::TooOld { age: 100, max: 99 }));
}

#[test]
fn claims_that_the_quote_does_not_commit_to_are_refused() {
    let error = judge_claims(&claims(NOW - 100), &claims(NOW), None).into_result().unwrap_err();
    assert_eq!((error.check, error.reason), (CheckId::ReportData, Reason::ReportDataDiffers));
}

#[test]
fn a_silent_policy_still_limits_the_age_of_claims() {
    let stale = claims(NOW - Policy::DEFAULT_EVIDENCE_AGE.0 - 1);
    assert_eq!(judge_claims(&stale, &stale, None).verdict(), Verdict::Rejected);
}

#[test]
fn claims_from_the_future_are_refused() {
    let ahead = |seconds| judge_claims(&claims(NOW + seconds), &claims(NOW + seconds), None).verdict();
    assert_eq!(ahead(Policy::CLOCK_SKEW), Verdict::Accepted);
    assert_eq!(ahead(Policy::CLOCK_SKEW + 1), Verdict::Rejected);
}

#[test]
fn a_limit_on_age_that_nothing_can_answer_is_undetermined() {
    let appraisal = judge(|_| (), |policy| policy.max_evidence_age = Some(Age(1)));
    assert_eq!(appraisal.verdict(), Verdict::Undetermined);
    let error = appraisal.into_result().unwrap_err();
    assert_eq!((error.check, error.reason), (CheckId::PolicyEvidenceAge, Reason::AgeUnknown));
}

#[test]
fn documents_read_strictly() {
    let read = |text: &str| serde_json::from_str::<Policy>(text);
    assert_eq!(read("{}").unwrap(), Policy::default());
    assert!(read(r#"{"measurement": ["aa"]}"#).is_err());
    assert!(read(r#"{"measurements": ["aa"]}"#).is_err());
    assert!(read(r#"{"gpu": {"required": 7}}"#).is_err());
    assert!(read(r#"{"gpu": {"require": true}}"#).is_err());
    let policy =
        read(r#"{"max_collateral_age": "30d", "max_evidence_age": 90, "min_tcb": "SWHardeningNeeded"}"#).unwrap();
    assert_eq!(policy.max_collateral_age, Some(Age(30 * 24 * 3600)));
    assert_eq!(policy.max_evidence_age, Some(Age(90)));
    assert_eq!(policy.min_tcb, TcbStatus::SWHardeningNeeded);
    for age in ["-1", "\"\"", "\"d\"", "\"1\"", "\"1w\"", "\"+1d\"", "\"99999999999999999999d\"", "1.5"] {
        assert!(read(&format!(r#"{{"max_evidence_age": {age}}}"#)).is_err(), "{age}");
    }
    let again = serde_json::to_string(&policy).unwrap();
    assert_eq!(read(&again).unwrap(), policy);
}
