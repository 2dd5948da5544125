//! Evidence and proofs in hand: every front end has its answers from here.
//!
//! The enclave is played, on SIMULATED evidence.

use glacier::{
    attest::{Collateral, Endorsements, Fingerprint, Outcome, Policy, Verdict},
    judgement::{
        DocumentError, EvidenceJudgement, Question, Subject, add_amd, conclusion, documents, judge_evidence,
        judge_proof,
    },
    proof::{Bundle, Checkpoint, Log, Registration, Settled, SignedProof, WorkProof},
    wire::{
        Address, Claims, Commitment, Digest, Evidence, Identity, ManifestHash, Measurement, PlatformKind, ProofHash,
        Purpose, ReportData, Settlement, UnixTime, Work, cbor,
    },
};
use glacier_simulator::{Body, Chip, Hardware, Recipe, Seed, Vendor};

const NOW: UnixTime = UnixTime(1_800_000_000);
const CODE: Measurement = Measurement([2; 32]);
const SECRET: [u8; 32] = [3; 32];
const CHAIN: u64 = 7;
const LEDGER: Address = Address([8; 20]);

struct Scene {
    vendor: Vendor,
    chip: Chip,
    collateral: String,
}

impl Scene {
    fn new() -> Self {
        let vendor = Vendor::generate(NOW).unwrap();
        let chip = vendor.chip(Hardware::new(Seed::new([1; 32])), NOW).unwrap();
        let collateral = vendor.collateral(chip.hardware(), &Recipe::new(NOW)).unwrap().to_json();
        Self { vendor, chip, collateral }
    }

    fn quote(&self, data: ReportData) -> Vec<u8> {
        self.chip.quote(&Body::new(CODE, data)).unwrap()
    }

    fn root(&self) -> Fingerprint {
        self.vendor.root_fingerprint()
    }

    fn endorsements(&self) -> Endorsements {
        Collateral::parse(self.collateral.as_bytes()).unwrap().into()
    }

    fn policy(&self) -> Policy {
        Policy {
            platforms: vec![PlatformKind::Simulated],
            simulated_roots: vec![self.root()],
            measurements: vec![CODE.into()],
            ..Policy::default()
        }
    }

    fn evidence(&self) -> Evidence {
        let claims = Claims {
            purpose: Purpose::Channel,
            channel_key: [4; 32],
            enclave_key: key(),
            issued_at: NOW,
            nonce: None,
            devices: None,
        };
        Evidence::new(self.quote(claims.report_data()), claims.encode(), self.collateral.clone().into_bytes())
    }

    /// A proof in a log whose key is registered by a quote over this registration.
    fn bundle(&self, quoted: &Registration) -> Bundle {
        let proof = self.proof();
        let log: Log = [proof.proof.hash()].into_iter().collect();
        let head = Checkpoint {
            enclave_id: self.chip.enclave_id(),
            enclave_key: key(),
            size: log.size(),
            root: log.head().root,
            units: 10,
            chain_id: CHAIN,
            ledger: LEDGER,
        };
        let settled = Settled {
            checkpoint: head.sign(&SECRET).unwrap(),
            path: log.inclusion(0, 1).unwrap(),
            registration: registration(),
            quote: self.quote(quoted.report_data()),
            collateral: self.collateral.clone().into_bytes(),
        };
        Bundle {
            proof,
            evidence: self.evidence(),
            manifest: None,
            logged: None,
            settled: Some(settled),
            training: None,
            federation: None,
        }
    }

    fn proof(&self) -> SignedProof {
        let proof = WorkProof {
            enclave_id: self.chip.enclave_id(),
            enclave_key: key(),
            measurement: CODE,
            platform: PlatformKind::Simulated,
            work: Work::App,
            manifest: ManifestHash::ZERO,
            model: Digest::ZERO,
            input: Commitment([4; 32]),
            output: Commitment([5; 32]),
            units: 10,
            sequence: 0,
            previous: ProofHash::ZERO,
            settlement: Settlement { chain_id: CHAIN, ledger: LEDGER, payer: Address([9; 20]), price: 5 },
        };
        proof.sign(&SECRET).unwrap()
    }
}

fn key() -> Address {
    Identity::from_secret(&SECRET).unwrap().address()
}

fn registration() -> Registration {
    Registration { chain_id: CHAIN, registry: Address([6; 20]), enclave_key: key(), owner: Address([1; 20]), number: 0 }
}

fn question<'a>(endorsements: Endorsements) -> Question<'a> {
    Question { at: NOW, endorsements, trust_root: None, policy: None, expected: None }
}

/// What the last line says, where it is about report data.
fn carried(judged: &EvidenceJudgement) -> Option<Outcome> {
    judged.checks.iter().find(|check| check.id.as_str() == "report-data").map(|check| check.outcome)
}

#[test]
fn genuine_evidence_carries_what_is_expected_or_is_rejected() {
    let scene = Scene::new();
    let subject = Subject::read(scene.quote([7; 64]));
    let judge = |expected, policy| {
        let question = question(scene.endorsements());
        let question = Question { trust_root: Some(scene.root()), expected, policy, ..question };
        judge_evidence(&subject, question).unwrap()
    };
    let judged = judge(None, None);
    assert_eq!((judged.verdict, carried(&judged)), (Verdict::Accepted, None));
    assert!(judged.genuine.is_some());
    let policy = scene.policy();
    for policy in [None, Some(&policy)] {
        let judged = judge(subject.report_data(&[7; 64]), policy);
        assert_eq!((judged.verdict, carried(&judged)), (Verdict::Accepted, Some(Outcome::Pass)));
        let judged = judge(subject.report_data(&[8; 64]), policy);
        assert_eq!((judged.verdict, carried(&judged)), (Verdict::Rejected, Some(Outcome::Fail)));
        assert!(judged.genuine.is_some());
    }
}

#[test]
fn other_report_data_is_rejected_even_where_nothing_else_is_known() {
    let scene = Scene::new();
    let subject = Subject::read(scene.quote([7; 64]));
    let policy = scene.policy();
    for policy in [None, Some(&policy)] {
        let judge = |data: [u8; 64]| {
            let (trust_root, expected) = (Some(scene.root()), subject.report_data(&data));
            let question = question(Endorsements::default());
            judge_evidence(&subject, Question { trust_root, policy, expected, ..question }).unwrap()
        };
        let judged = judge([7; 64]);
        assert_eq!((judged.verdict, carried(&judged)), (Verdict::Undetermined, Some(Outcome::Skip)));
        let judged = judge([8; 64]);
        assert_eq!((judged.verdict, carried(&judged)), (Verdict::Rejected, Some(Outcome::Fail)));
        assert!(judged.genuine.is_none());
    }
}

#[test]
fn what_is_judged_shows_from_its_content() {
    let scene = Scene::new();
    let quote = scene.quote([7; 64]);
    let text = format!("0x{}\n", hex::encode(&quote));
    for bytes in [quote.clone(), text.into_bytes()] {
        assert_eq!(Subject::read(bytes).signed(), quote);
    }
    let evidence = scene.evidence();
    let subject = Subject::read(cbor::encode(&evidence));
    assert_eq!(subject.signed(), evidence.quote);
    // Its own collateral is enough; the root is nobody's.
    let trusting = Question { trust_root: Some(scene.root()), ..question(Endorsements::default()) };
    assert_eq!(judge_evidence(&subject, trusting).unwrap().verdict, Verdict::Accepted);
    assert_eq!(judge_evidence(&subject, question(Endorsements::default())).unwrap().verdict, Verdict::Rejected);
    assert_eq!(subject.report_data(&[7; 32]), None);
    assert_eq!(Subject::read(b"nothing".to_vec()).report_data(&[7; 63]), None);
}

#[test]
fn a_registration_that_does_not_hold_turns_the_verdict_and_is_shown() {
    let scene = Scene::new();
    let policy = scene.policy();
    let good = judge_proof(&scene.bundle(&registration()), Some(&policy), NOW);
    assert_eq!(good.verdict(), Verdict::Accepted, "{:?} {:?}", good.proof.checks, good.settlement);

    let other = Registration { owner: Address([2; 20]), ..registration() };
    let judged = judge_proof(&scene.bundle(&other), Some(&policy), NOW);
    assert_eq!((judged.proof.verdict(), judged.verdict()), (Verdict::Accepted, Verdict::Rejected));
    let shown = judged.settlement.unwrap();
    assert!(shown.checks.iter().any(|check| check.outcome() == Outcome::Fail));
    assert!(!shown.quote.is_empty());

    // Nobody vouches for this root.
    assert_eq!(judge_proof(&scene.bundle(&registration()), None, NOW).verdict(), Verdict::Rejected);
}

#[test]
fn the_worst_verdict_counts() {
    use Verdict::{Accepted, Rejected, Undetermined};
    assert_eq!(conclusion(Accepted, []), Accepted);
    assert_eq!(conclusion(Accepted, [Undetermined, Accepted]), Undetermined);
    assert_eq!(conclusion(Undetermined, [Rejected, Accepted]), Rejected);
    assert_eq!(conclusion(Rejected, [Accepted, Undetermined]), Rejected);
}

#[test]
fn documents_come_as_vendors_give_them() {
    let scene = Scene::new();
    let (der, pem) = (scene.vendor.root_der().to_vec(), scene.vendor.root_pem());
    assert_eq!(documents(der.clone()), Ok(vec![der.clone()]));
    let two = format!("of two\n{pem}and\n{pem}");
    assert_eq!(documents(two.clone().into_bytes()), Ok(vec![der.clone(), der.clone()]));
    let cut = two.trim_end().strip_suffix("-----END CERTIFICATE-----").unwrap();
    assert_eq!(documents(cut.as_bytes().to_vec()), Err(DocumentError::Form));
    assert_eq!(documents(b"-----".to_vec()), Err(DocumentError::Form));
    let broken = pem.replacen("MII", "M*I", 1).into_bytes();
    assert!(matches!(documents(broken), Err(DocumentError::Pem(_))));

    let parsed: serde_json::Value = serde_json::from_str(&scene.collateral).unwrap();
    let list = hex::decode(parsed["root_ca_crl"].as_str().unwrap()).unwrap();
    let mut endorsements = Endorsements::default();
    add_amd(&mut endorsements, vec![list.clone(), der.clone()]);
    assert_eq!((endorsements.amd_authorities, endorsements.amd_crls), (vec![der], vec![list]));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_a_crash(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        label in "[-A-Z ]{0,12}",
    ) {
        let mut text = format!("-----BEGIN {label}").into_bytes();
        text.extend_from_slice(&bytes);
        text.extend_from_slice(format!("-----END {label}-----").as_bytes());
        let _ = documents(text);
        add_amd(&mut Endorsements::default(), vec![bytes.clone()]);
        let _ = documents(bytes.clone());
        let _ = Subject::read(bytes);
    }
}
