//! Evidence of the simulated chip before two verifiers: an independent one as oracle, and ours.

use glacier_attest::{Anchors, CheckId, Collateral as Parsed, Outcome, TcbStatus, Verdict, appraise};
use glacier_simulator::{Attributes, Body, Chip, Collateral, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{Measurement, PlatformKind, UnixTime};

const NOW: UnixTime = UnixTime(1_800_000_000);

struct Case {
    vendor: Vendor,
    chip: Chip,
    quote: Vec<u8>,
}

fn case() -> Case {
    let vendor = Vendor::generate(NOW).unwrap();
    let chip = vendor.chip(Hardware::new(Seed::random()), NOW).unwrap();
    let quote = chip.quote(&body()).unwrap();
    Case { vendor, chip, quote }
}

fn body() -> Body {
    Body::new(Measurement([0xab; 32]), [0xcd; 64])
}

impl Case {
    fn collateral(&self, change: impl FnOnce(&mut Recipe)) -> Collateral {
        let mut recipe = Recipe::new(NOW);
        change(&mut recipe);
        self.vendor.collateral(self.chip.hardware(), &recipe).unwrap()
    }

    /// The oracle's status, or its refusal.
    fn oracle(&self, collateral: &Collateral, at: UnixTime) -> Result<String, String> {
        oracle(self.vendor.root_der(), &self.quote, collateral, at)
    }

    /// The first check that our verifier does not pass; `None` when the evidence is genuine.
    fn ours(&self, collateral: &Collateral, at: UnixTime) -> Option<CheckId> {
        let anchors = Anchors::vendor().with_root_der(self.vendor.root_der());
        let parsed = Parsed::parse(collateral.to_json().as_bytes()).unwrap();
        let appraisal = appraise(&self.quote, &parsed.clone().into(), &anchors, at);
        appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail).map(|check| check.id)
    }
}

fn oracle(root: &[u8], quote: &[u8], collateral: &Collateral, at: UnixTime) -> Result<String, String> {
    let bytes = |text: &String| hex::decode(text).unwrap();
    let collateral = dcap_qvl::QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain.clone(),
        root_ca_crl: bytes(&collateral.root_ca_crl),
        pck_crl: bytes(&collateral.pck_crl),
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.clone(),
        tcb_info: collateral.tcb_info.clone(),
        tcb_info_signature: bytes(&collateral.tcb_info_signature),
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.clone(),
        qe_identity: collateral.qe_identity.clone(),
        qe_identity_signature: bytes(&collateral.qe_identity_signature),
        pck_certificate_chain: None,
    };
    dcap_qvl::verify::QuoteVerifier::new(root.to_vec())
        .verify(quote, &collateral, at.0)
        .map(|report| report.status)
        .map_err(|error| format!("{error:#}"))
}

#[test]
fn good_evidence_is_up_to_date() {
    let case = case();
    let collateral = case.collateral(|_| ());
    assert_eq!(case.oracle(&collateral, NOW).as_deref(), Ok("UpToDate"));
    assert_eq!(case.ours(&collateral, NOW), None);
}

#[test]
fn our_verifier_reads_what_the_chip_said() {
    let case = case();
    let anchors = Anchors::vendor().with_simulated(case.vendor.root_fingerprint());
    let parsed = Parsed::parse(case.collateral(|_| ()).to_json().as_bytes()).unwrap();
    let genuine = appraise(&case.quote, &parsed.clone().into(), &anchors, NOW).into_result().unwrap();
    assert_eq!(genuine.platform(), PlatformKind::Simulated);
    assert_eq!(genuine.measurement(), Measurement([0xab; 32]));
    assert_eq!(genuine.report_data(), &[0xcd; 64]);
    assert_eq!(genuine.hardware_id(), Some(case.chip.hardware().ppid().as_slice()));
    assert_eq!(genuine.enclave_id(), Some(case.chip.enclave_id()));
    assert_eq!(genuine.tcb_status(), Some(TcbStatus::UpToDate));
    assert!(!genuine.debug());
}

#[test]
fn no_vendor_root_accepts_it() {
    let case = case();
    let collateral = case.collateral(|_| ());
    let parsed = Parsed::parse(collateral.to_json().as_bytes()).unwrap();
    assert_eq!(appraise(&case.quote, &parsed.clone().into(), &Anchors::vendor(), NOW).verdict(), Verdict::Rejected);
}

#[test]
fn intels_root_refuses_it_at_the_oracle() {
    let case = case();
    let intel = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/sgx/roots/intel-sgx-root-ca.der");
    let Ok(intel) = std::fs::read(intel) else {
        println!("skipped: no vectors");
        return;
    };
    assert!(oracle(&intel, &case.quote, &case.collateral(|_| ()), NOW).is_err());
}

#[test]
fn another_machines_root_refuses_it() {
    let (mut case, other) = (case(), Vendor::generate(NOW).unwrap());
    let collateral = case.collateral(|_| ());
    case.vendor = other;
    assert!(case.oracle(&collateral, NOW).is_err());
    assert_eq!(case.ours(&collateral, NOW), Some(CheckId::TrustAnchor));
}

#[test]
fn a_revoked_chip_is_refused() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.revoked_chips = vec![case.chip.serial()]);
    assert!(case.oracle(&collateral, NOW).unwrap_err().contains("CertRevoked"));
    assert_eq!(case.ours(&collateral, NOW), Some(CheckId::PckRevocation));
}

#[test]
fn another_revoked_chip_changes_nothing() {
    let case = case();
    let other = case.vendor.chip(Hardware::new(Seed::random()), NOW).unwrap();
    let collateral = case.collateral(|recipe| recipe.revoked_chips = vec![other.serial()]);
    assert_eq!(case.oracle(&collateral, NOW).as_deref(), Ok("UpToDate"));
    assert_eq!(case.ours(&collateral, NOW), None);
}

#[test]
fn a_revoked_platform_ca_is_refused() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.revoked_platform_ca = true);
    assert!(case.oracle(&collateral, NOW).unwrap_err().contains("CertRevoked"));
    assert_eq!(case.ours(&collateral, NOW), Some(CheckId::PckCrl));
}

#[test]
fn a_platform_that_is_behind_says_so() {
    let case = case();
    for status in [
        TcbStatus::OutOfDate,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDateConfigurationNeeded,
    ] {
        let collateral = case.collateral(|recipe| recipe.status = status);
        assert_eq!(case.oracle(&collateral, NOW).as_deref(), Ok(status.as_str()));
        assert_eq!(case.ours(&collateral, NOW), None);
    }
}

#[test]
fn a_quoting_enclave_that_is_behind_says_so() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.qe_status = TcbStatus::OutOfDate);
    assert_eq!(case.oracle(&collateral, NOW).as_deref(), Ok("OutOfDate"));
}

#[test]
fn a_revoked_level_is_refused() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.status = TcbStatus::Revoked);
    assert_ne!(case.oracle(&collateral, NOW).as_deref(), Ok("UpToDate"));
    assert_eq!(case.ours(&collateral, NOW), Some(CheckId::TcbLevel));
}

#[test]
fn collateral_is_refused_before_and_after_its_time() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.next_update = UnixTime(NOW.0 + 100));
    for at in [UnixTime(NOW.0 - 1), UnixTime(NOW.0 + 101)] {
        assert!(case.oracle(&collateral, at).is_err());
        assert_eq!(case.ours(&collateral, at), Some(CheckId::CollateralCurrent));
    }
}

#[test]
fn another_quoting_enclave_is_refused() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.qe_signer = Some([1; 32]));
    assert!(case.oracle(&collateral, NOW).is_err());
    assert_eq!(case.ours(&collateral, NOW), Some(CheckId::QuotingEnclave));
}

#[test]
fn tcb_info_of_another_family_is_refused() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.fmspc = Some([9; 6]));
    assert!(case.oracle(&collateral, NOW).is_err());
    assert_eq!(case.ours(&collateral, NOW), Some(CheckId::PlatformModel));
}

#[test]
fn tcb_info_of_another_pce_is_refused_by_ours_alone() {
    let case = case();
    let collateral = case.collateral(|recipe| recipe.pce_id = Some([0, 1]));
    assert_eq!(case.oracle(&collateral, NOW).as_deref(), Ok("UpToDate"));
    assert_eq!(case.ours(&collateral, NOW), Some(CheckId::PlatformModel));
}

#[test]
fn a_debug_enclave_is_told_apart() {
    let mut case = case();
    case.quote = case.chip.quote(&Body { attributes: Attributes::DEBUG, ..body() }).unwrap();
    let collateral = case.collateral(|_| ());
    assert!(case.oracle(&collateral, NOW).unwrap_err().contains("Debug"));
    let anchors = Anchors::vendor().with_simulated(case.vendor.root_fingerprint());
    let parsed = Parsed::parse(collateral.to_json().as_bytes()).unwrap();
    assert!(appraise(&case.quote, &parsed.clone().into(), &anchors, NOW).into_result().unwrap().debug());
}

#[test]
fn lengths_are_true_to_life() {
    let case = case();
    assert!((4599..=5030).contains(&case.quote.len()), "{}", case.quote.len());
    let collateral = case.collateral(|_| ());
    assert_eq!(collateral.tcb_info_signature.len(), 128);
    assert_eq!(collateral.qe_identity_signature.len(), 128);
}

#[test]
fn certificates_say_simulated_and_never_intel() {
    let case = case();
    let chain = &case.quote[436 + 584 + 32..];
    for (_, der) in pems(chain) {
        let text = String::from_utf8_lossy(&der);
        assert!(text.contains("SIMULATED"));
        assert!(!text.to_lowercase().contains("intel"));
    }
    assert_eq!(pems(chain).len(), 3);
}

fn pems(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = std::str::from_utf8(text).unwrap().trim_end_matches('\0');
    text.split_inclusive("-----END CERTIFICATE-----\n")
        .map(|pem| der::pem::decode_vec(pem.as_bytes()).map(|(label, der)| (label.to_owned(), der)).unwrap())
        .collect()
}
