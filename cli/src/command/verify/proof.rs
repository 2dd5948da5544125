//! `glacier verify proof`: offline, or with a chain that answers.

use super::{
    chain::{self, ChainArgs, Found},
    exit,
    replay::{ReplayArgs, Replayed, replay},
};
use crate::{
    checks::{self, Line},
    error::{Failure, Outcome},
    files,
    output::{DIM, Output, Report, field},
    units::{Moment, grouped, rfc3339},
};
use glacier::judgement::{conclusion, judge_proof};
use glacier_attest::{Anchors, Policy, Verdict};
use glacier_chain::Question;
use glacier_proof::{Bundle, Judge, SettlementAppraisal, WorkProof};
use glacier_wire::{PlatformKind, UnixTime, Work, cbor, training::TrainingRecord};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};
use url::Url;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The proof with its evidence, as `glacier job result --proof` wrote it
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// Policy that its enclave must meet (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The moment to judge the evidence at (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
    /// Look the proof up on a chain: is its key registered, by a quote that still holds, and is it settled?
    #[command(flatten)]
    chain: ChainArgs,
    /// Node that shows where the proof stands in the settled log; not believed, only followed
    #[arg(long, value_name = "URL", env = "GLACIER_NODE", hide_env_values = true)]
    node: Option<Url>,
    /// Collateral that judges the registration [default: the proof's own]
    #[arg(long, value_name = "FILE", requires = "chain")]
    collateral: Option<PathBuf>,
    /// Write the proof with what the chain showed, to be checked without it
    #[arg(long, value_name = "FILE", requires = "chain")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    replay: ReplayArgs,
}

pub(crate) async fn run(args: Args, output: Output) -> Outcome {
    let policy = args.policy.as_deref().map(files::policy).transpose()?;
    let bytes = files::read(&args.proof, Bundle::MAX_BYTES as u64)?;
    let mut bundle = Bundle::decode(&bytes).map_err(|error| {
        Failure::not_a("a Work Proof", &args.proof, error, "pass the file that `glacier job result --proof` wrote")
    })?;
    let at = args.at.map_or_else(crate::context::now, |moment| moment.0);
    let mut proven = Proven::judge(&bundle, policy.as_ref(), at);
    let collateral = match &args.collateral {
        Some(path) => files::read(path, glacier_attest::Collateral::MAX_BYTES as u64)?,
        None => bundle.evidence.collateral.clone(),
    };
    let vendor = Anchors::vendor();
    let judge = policy.as_ref().map_or(Judge::Genuine(&vendor), Judge::Policy);
    let question = Question { judge, at, collateral: &collateral, node: None };
    proven.chain = chain::look_up(&args.chain, args.node.as_ref(), &bundle, question, output).await?;
    proven.replay = replay(&args.replay, &bundle, output)?;
    let chain = proven.chain.as_ref().map(|found| found.verdict);
    let replayed = proven.replay.as_ref().map(|replayed| replayed.verdict);
    proven.verdict = conclusion(proven.verdict, chain.into_iter().chain(replayed));
    if let Some(path) = &args.keep {
        let settled = proven.chain.as_ref().and_then(|found| found.live.settled.clone());
        bundle.settled = Some(settled.ok_or_else(|| {
            let help = "name a node with --node that has the settled log, and see the checks without --keep";
            Failure::trouble("not-found", "the chain and the node did not show all that a file would hold", help)
        })?);
        files::write_new(path, &cbor::encode(&bundle))?;
    }
    output.report(&proven)?;
    Ok(exit(proven.verdict))
}

/// A proof and what was found of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Proven {
    pub(crate) verdict: Verdict,
    at: String,
    pub(crate) checks: Vec<Line>,
    pub(crate) evidence: Vec<Line>,
    /// From the proof to the registration's quote, where the file holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    settlement: Option<Registered>,
    /// What a chain said, if one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<Found>,
    /// How a training went.
    #[serde(skip_serializing_if = "Option::is_none")]
    training: Option<TrainingRecord>,
    /// What training again showed, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Replayed>,
    pub(crate) proof: WorkProof,
}

/// What stands behind the key, checked without a chain.
#[derive(Debug, Clone, Serialize)]
struct Registered {
    verdict: Verdict,
    checks: Vec<Line>,
    quote: Vec<Line>,
}

impl Registered {
    fn new(appraisal: &SettlementAppraisal) -> Self {
        let line = |check: &glacier_proof::SettlementCheck| {
            let reason = check.fault.as_ref().map(ToString::to_string).unwrap_or_default();
            Line { device: None, id: check.id.as_str(), outcome: check.outcome(), reason }
        };
        Self {
            verdict: appraisal.verdict(),
            checks: appraisal.checks.iter().map(line).collect(),
            quote: checks::lines(&appraisal.quote),
        }
    }
}

impl Proven {
    /// Without a policy the question is whether the enclave is genuine hardware's.
    pub(crate) fn judge(bundle: &Bundle, policy: Option<&Policy>, at: UnixTime) -> Self {
        let judged = judge_proof(bundle, policy, at);
        Self {
            verdict: judged.verdict(),
            at: rfc3339(at),
            checks: judged.proof.checks.iter().map(line).collect(),
            evidence: checks::lines(&judged.proof.evidence),
            settlement: judged.settlement.as_ref().map(Registered::new),
            chain: None,
            training: bundle.training.clone(),
            replay: None,
            proof: bundle.proof.proof.clone(),
        }
    }
}

fn line(check: &glacier_proof::ProofCheck) -> Line {
    let reason = check.fault.as_ref().map(ToString::to_string).unwrap_or_default();
    Line { device: None, id: check.id.as_str(), outcome: check.outcome(), reason }
}

impl Report for Proven {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let proof = &self.proof;
        let simulated = if proof.platform == PlatformKind::Simulated { " (SIMULATED)" } else { "" };
        writeln!(page, "Work Proof {} of enclave key {}{simulated}", proof.sequence, proof.enclave_key)?;
        checks::tree(page, &self.checks, Some(("evidence", &self.evidence)))?;
        if let Some(registered) = &self.settlement {
            writeln!(page, "registered key, as the enclave and its vendor signed it")?;
            checks::tree(page, &registered.checks, Some(("registration-quote", &registered.quote)))?;
            if self.chain.is_none() {
                let aside = "that a ledger settled it, only its chain can say: --chain asks there";
                writeln!(page, "{DIM}{aside}{DIM:#}")?;
            }
        }
        if let Some(found) = &self.chain {
            found.human(page)?;
        }
        if let Some(replayed) = &self.replay {
            replayed.human(page)?;
        }
        writeln!(page, "verdict: {}", checks::verdict(self.verdict))?;
        if self.verdict != Verdict::Accepted {
            return Ok(());
        }
        field(page, "work", proof.work.as_str())?;
        field(page, "code", proof.measurement)?;
        field(page, "chip", proof.enclave_id)?;
        field(page, "job", proof.manifest)?;
        field(page, "model", proof.model)?;
        field(page, "input", proof.input)?;
        field(page, "output", proof.output)?;
        let unit = if proof.work == Work::App { "of the app's own counting" } else { "multiply-accumulates" };
        field(page, "units", format_args!("{} {unit}", grouped(proof.units)))?;
        if let Some(record) = &self.training {
            let epochs = record.weights.len().saturating_sub(1);
            let (steps, rows) = (grouped(record.steps), grouped(record.rows));
            field(
                page,
                "training",
                format_args!("{epochs} epochs, {steps} steps, {rows} rows; result of epoch {}", record.best),
            )?;
            field(page, "result", record.result)?;
            if let Some(spent) = &record.privacy {
                field(page, "privacy", format_args!("epsilon {}, delta {}", spent.epsilon, spent.delta))?;
            }
        }
        self.chain.as_ref().map_or(Ok(()), |found| found.facts(page))
    }
}
