//! The ceremony, act by act.

use super::{
    host_view::{self, HostView},
    payment::{self, Payment},
    score::{Known, Score},
    stage::{Folder, Party, Stage},
    story::{Story, short},
};
use crate::{
    checks::{self, Line, mark},
    command::{job::status::tell, verify::Proven},
    context::now,
    error::Failure,
    explain, files,
    output::{BOLD, Output, WARN, paint},
    units::{Size, grouped},
};
use glacier::{Draft, Finished, Freshness, Job, Policy, Release, Session, session::ConnectError};
use glacier_attest::{Outcome, Verdict};
use glacier_proof::Bundle;
use glacier_wire::{
    Address, Digest, EnclaveId, ManifestHash, Measurement, Role, UnixTime,
    api::{Event, JobStatus},
};
use serde::Serialize;
use std::path::PathBuf;

/// The hospital's measurements, without diagnoses.
pub(super) const DATA: &[u8] = include_bytes!("../../../../models/breast-cancer/data.csv");
/// The firm's classifier.
pub(super) const MODEL: &[u8] = include_bytes!("../../../../models/breast-cancer/model.onnx");
/// The diagnoses. They take no part: they only tell how good the answers are.
const KNOWN: &str = include_str!("../../../../models/breast-cancer/labels.csv");

/// What was seen, for programs. The story tells the same.
#[derive(Serialize)]
pub(super) struct Facts {
    simulated: bool,
    parties: Vec<PartyFacts>,
    measurement: Measurement,
    enclave_id: EnclaveId,
    assets: Vec<AssetFacts>,
    job: ManifestHash,
    /// The checks by which each party accepted the enclave.
    attestation: Vec<Attested>,
    /// The check at which a party that expects other code turned away.
    other_code_refused_at: Option<&'static str>,
    events: Vec<Event>,
    rows: u64,
    accuracy_held_out: Score,
    accuracy: Score,
    proof: Proven,
    /// The check at which a proof with one changed bit failed.
    altered_proof_refused_at: Option<&'static str>,
    payment: Payment,
    host: HostView,
    wiped: bool,
    enclave_ended: bool,
    pub(super) kept_in: Option<PathBuf>,
    pub(super) seconds: f64,
}

impl Facts {
    /// Whether everything came out as it must. A story that does not is no demonstration.
    pub(super) fn good(&self) -> bool {
        self.proof.verdict == Verdict::Accepted
            && self.other_code_refused_at.is_some()
            && self.altered_proof_refused_at.is_some()
            && self.payment.good()
            && self.host.clean()
            && self.wiped
            && self.enclave_ended
    }
}

#[derive(Serialize)]
struct PartyFacts {
    name: &'static str,
    address: Address,
}

#[derive(Serialize)]
pub(super) struct AssetFacts {
    pub(super) role: Role,
    digest: Digest,
    bytes: u64,
    sealed_bytes: u64,
}

#[derive(Serialize)]
struct Attested {
    party: &'static str,
    platform: glacier_wire::PlatformKind,
    post_quantum: bool,
    checks: Vec<Line>,
}

/// Plays all of it and returns what was seen.
pub(super) async fn play(folder: &Folder, output: Output) -> Result<Facts, Failure> {
    let mut story = Story::new(output);
    story.say(paint(BOLD, "Private inference between three parties"));
    story.say(
        "A hospital has measurements of tumours. A diagnostics firm has a model that tells malignant from benign. \
         Neither shows the other what it has, and neither trusts whoever runs the computer.",
    );
    let simulated = paint(WARN, "*SIMULATED*");
    story.say(format_args!(
        "{simulated}: a program on this machine plays the security chip, so nothing here is protected by hardware. \
         All else is the real path: the same verifier, channel, enclave program and proofs."
    ));

    let stage = Stage::set(folder).await?;
    let Stage { hospital, firm, operator, .. } = &stage;
    let registered = payment::register(&stage).await?;
    story.section("Three parties, each with keys of its own");
    for (party, what) in [
        (hospital, "has the data, gets the labels"),
        (firm, "has the model"),
        (operator, "runs the node, pays for the run, has neither"),
    ] {
        story.row(party.name, format_args!("{}  {what}", short(&party.key.address().to_string())));
    }

    story.section("A node, and what is expected of it");
    story.say(
        "The operator started a node: an untrusted host, and an enclave behind it. Each party measured its own copy \
         of the enclave program and wrote down in a policy what it will accept.",
    );
    story.row("node", &stage.address);
    story.row("code", format_args!("{}  measured from the program", short(&stage.measurement.to_string())));
    story.row("chip", format_args!("{}  the Enclave ID {simulated}", short(&stage.enclave_id.to_string())));
    registered.tell(&story);

    story.section("Sealing: each owner encrypts its file");
    let data = seal(&story, hospital, Role::Data, &folder.file("data.csv"), DATA)?;
    let model = seal(&story, firm, Role::Model, &folder.file("model.onnx"), MODEL)?;
    story.say("The keys stay in the owners' key stores. The ciphertext may go anywhere.");

    story.section("One job, signed by all three");
    let job = sign(&stage, &data, &model)?;
    job.write_new(&folder.file("job.json")).map_err(|error| explain::job(&folder.file("job.json"), error))?;
    let signed = job.complete().map_err(|error| explain::job(&folder.file("job.json"), error))?;
    story.row("job", short(&job.hash().to_string()));
    story.say(
        "It names both files by digest, the code and the one chip that may run it, who may open the result, and the \
         limits. One changed bit makes it another job, which nobody signed.",
    );

    story.section("Who attests whom");
    let (firm_session, firm_seen) = attest(&story, firm, &stage.policy, true).await?;
    let (hospital_session, hospital_seen) = attest(&story, hospital, &stage.policy, false).await?;
    story.say(
        "The enclave in turn knows each of them: they signed this very connection with the keys that the job names. \
         The host in between has none of these keys.",
    );
    let other_code_refused_at = expect_other_code(&story, hospital, &stage.policy).await?;

    story.section("Keys are released, the enclave works");
    bring(&stage, firm, &firm_session, &model, Role::Model, signed).await?;
    bring(&stage, hospital, &hospital_session, &data, Role::Data, signed).await?;
    let status = watch(&hospital_session, &job, output).await?;
    for event in &status.events {
        story.say(format_args!("{} {}", mark(Outcome::Pass), tell(event)));
    }

    story.section("The answer: only the hospital can open it");
    let finished = hospital_session
        .collect(&hospital.node, signed, &hospital.key, &stage.policy, &mut |_, _| {})
        .await
        .map_err(explain::client)?;
    let (held_out, all) = score(&finished)?;
    finished
        .results
        .write_file(&folder.file("labels.csv"))
        .map_err(|error| explain::output(&folder.file("labels.csv"), error))?;
    tell_answer(&story, &finished, held_out, all);

    story.section("The Work Proof: what anyone can check");
    files::write_new(&folder.file("proof.cbor"), &glacier_wire::cbor::encode(&finished.bundle))?;
    let proven = Proven::judge(&finished.bundle, Some(&stage.policy), now());
    story.tree(&proven.checks);
    story.say(format_args!(
        "{}: this code, on this chip {simulated}, ran this model over this data and gave this result, for {} multiply-accumulates.",
        checks::verdict(proven.verdict),
        grouped(proven.proof.units)
    ));
    let altered_proof_refused_at = alter(&story, &finished.bundle, &stage.policy);

    story.section("What the node is paid");
    let payment = payment::settle(&story, &stage, &finished.bundle, registered).await?;

    story.section("What the host saw");
    let host = host_view::look(&stage, &finished, [&data, &model])?;
    host.tell(&story);

    let mut facts = Facts {
        simulated: true,
        parties: [hospital, firm, operator]
            .map(|party| PartyFacts { name: party.name, address: party.key.address() })
            .into(),
        measurement: stage.measurement,
        enclave_id: stage.enclave_id,
        assets: vec![data.facts, model.facts],
        job: job.hash(),
        attestation: vec![firm_seen, hospital_seen],
        other_code_refused_at,
        events: status.events.clone(),
        rows: finished.results.rows(),
        accuracy_held_out: held_out,
        accuracy: all,
        proof: proven,
        altered_proof_refused_at,
        payment,
        host,
        wiped: status.events.contains(&Event::Wiped),
        enclave_ended: false,
        kept_in: folder.kept(),
        seconds: 0.0,
    };
    story.section("What is left inside");
    if facts.wiped {
        story.say(format_args!(
            "{} file keys were overwritten, and the process that held model and data had ended, memory and all, before \
             the proof was signed.",
            mark(Outcome::Pass)
        ));
    }
    drop((firm_session, hospital_session));
    facts.enclave_ended = stage.end().await;
    if facts.enclave_ended {
        story.say(format_args!(
            "{} the node was stopped: its enclave has ended, and with it the only keys that could sign such a proof.",
            mark(Outcome::Pass)
        ));
    }
    Ok(facts)
}

/// An asset as its owner has it.
pub(super) struct Asset {
    pub(super) digest: Digest,
    pub(super) file: PathBuf,
    pub(super) facts: AssetFacts,
}

fn seal(story: &Story, party: &Party, role: Role, plain: &std::path::Path, content: &[u8]) -> Result<Asset, Failure> {
    files::write_new(plain, content)?;
    let mut name = plain.as_os_str().to_owned();
    name.push(".age");
    let file = PathBuf::from(name);
    let sealed = glacier::seal_for(&party.keys, &party.key, plain, &file, &mut |_, _| {})
        .map_err(|error| explain::seal(plain, &file, error))?;
    story.row(
        party.name,
        format_args!(
            "{} of {} -> {} of ciphertext, digest {}",
            Size(sealed.content),
            role.as_str(),
            Size(sealed.bytes),
            short(&sealed.digest.to_string())
        ),
    );
    let facts = AssetFacts { role, digest: sealed.digest, bytes: sealed.content, sealed_bytes: sealed.bytes };
    Ok(Asset { digest: sealed.digest, file, facts })
}

fn sign(stage: &Stage, data: &Asset, model: &Asset) -> Result<Job, Failure> {
    let Stage { hospital, firm, operator, .. } = stage;
    let mut draft = Draft::inference(
        (hospital.key.address(), data.digest),
        (firm.key.address(), model.digest),
        (stage.measurement, stage.enclave_id),
        vec![hospital.key.recipient()],
        UnixTime(now().0 + HOUR),
    );
    let deployment = stage.part.keeper.operator().deployment();
    draft.settlement.chain_id = deployment.chain_id;
    draft.settlement.ledger = glacier_wire::Address(deployment.ledger.into_array());
    draft.settlement.payer = operator.key.address();
    let failed = |error| explain::client(glacier::Error::Job(error));
    let mut job = Job::propose(draft).map_err(failed)?;
    for party in [hospital, firm, operator] {
        job.sign(party.key.identity()).map_err(failed)?;
    }
    Ok(job)
}

const HOUR: u64 = 3600;

/// One party meets the enclave. The checks are the same for each, and shown once in full.
async fn attest(story: &Story, party: &Party, policy: &Policy, full: bool) -> Result<(Session, Attested), Failure> {
    let session = party.connect(policy, Freshness::Cached).await.map_err(explain::connect)?;
    let checks = checks::lines(session.appraisal());
    story.say(format_args!(
        "{} the {} accepts the enclave: {} of {} checks hold{}",
        mark(Outcome::Pass),
        party.name,
        checks.iter().filter(|line| line.outcome == Outcome::Pass).count(),
        checks.len(),
        if session.post_quantum() { ", over a channel that withstands quantum computers" } else { "" }
    ));
    if full {
        story.tree(&checks);
    }
    let platform = session.accepted().platform();
    let seen = Attested { party: party.name, platform, post_quantum: session.post_quantum(), checks };
    Ok((session, seen))
}

/// The same party, expecting another program, turns away before anything is sent.
async fn expect_other_code(story: &Story, party: &Party, policy: &Policy) -> Result<Option<&'static str>, Failure> {
    let mut other = policy.clone();
    other.measurements = vec![Measurement([0x5a; 32]).into()];
    match party.connect(&other, Freshness::Cached).await {
        Err(ConnectError::Evidence { error, .. }) => {
            story.say(format_args!(
                "{} had the {} expected another program, it would have stopped here: check {} fails, and nothing is sent.",
                mark(Outcome::Fail),
                party.name,
                error.check
            ));
            Ok(Some(error.check.as_str()))
        }
        Err(error) => Err(explain::connect(error)),
        Ok(_) => Ok(None),
    }
}

async fn bring(
    stage: &Stage,
    party: &Party,
    session: &Session,
    asset: &Asset,
    role: Role,
    manifest: &glacier_wire::SignedManifest,
) -> Result<(), Failure> {
    party.node.upload(&asset.digest, &asset.file, &mut |_, _| {}).await.map_err(explain::node)?;
    let file_key = party.keys.file_key(&asset.digest).map_err(explain::keystore)?;
    stage.keep_from_host(file_key.expose());
    let not_after = manifest.manifest.limits.not_after;
    let release = Release { role, manifest, file_key, uses: 1, not_after };
    session.join(party.key.identity(), release).await.map_err(explain::client)?;
    Ok(())
}

async fn watch(session: &Session, job: &Job, output: Output) -> Result<JobStatus, Failure> {
    let progress = crate::command::job::status::Progress::new(output);
    let status = session.wait(&job.hash(), &mut |status| progress.show(status)).await;
    progress.finish();
    status.map_err(explain::client)
}

fn score(finished: &Finished) -> Result<(Score, Score), Failure> {
    let labels = finished.results.labels.as_deref().unwrap_or_default();
    Known::parse(KNOWN).and_then(|known| known.score(labels)).ok_or_else(|| {
        Failure::trouble(
            "demo",
            "the answer has other rows than the question",
            "this is a fault of glacier; please report it",
        )
    })
}

fn tell_answer(story: &Story, finished: &Finished, held_out: Score, all: Score) {
    let labels = finished.results.labels.as_deref().unwrap_or_default();
    let malignant = labels.iter().filter(|label| *label == "malignant").count();
    story.say(format_args!(
        "{} rows came back: {malignant} malignant, {} benign. Against the known diagnoses, which took no part:",
        grouped(finished.results.rows()),
        labels.len() - malignant
    ));
    story.row("held out", format_args!("{held_out}: rows that the model was not trained on"));
    story.row("all rows", all);
}

/// A proof that claims one unit more.
fn alter(story: &Story, bundle: &Bundle, policy: &Policy) -> Option<&'static str> {
    let mut altered = bundle.clone();
    altered.proof.proof.units ^= 1;
    let judged = Proven::judge(&altered, Some(policy), now());
    let failed = judged.checks.iter().find(|line| line.outcome == Outcome::Fail)?;
    story.say(format_args!(
        "{} with one bit of it changed: {}, at check {}.",
        mark(Outcome::Fail),
        checks::verdict(judged.verdict),
        failed.id
    ));
    (judged.verdict == Verdict::Rejected).then_some(failed.id)
}
