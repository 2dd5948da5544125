//! `glacier verify proof`: offline.

use super::exit;
use crate::{
    checks::{self, Line},
    error::{Failure, Outcome},
    files,
    output::{Output, Report, field},
    units::{Moment, grouped, rfc3339},
};
use glacier_attest::{Anchors, Policy, Verdict};
use glacier_proof::{Bundle, Judge, ProofAppraisal, WorkProof};
use glacier_wire::{PlatformKind, UnixTime};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

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
}

pub(crate) fn run(args: Args, output: Output) -> Outcome {
    let policy = args.policy.as_deref().map(files::policy).transpose()?;
    let bytes = files::read(&args.proof, Bundle::MAX_BYTES as u64)?;
    let bundle = Bundle::decode(&bytes).map_err(|error| {
        Failure::not_a("a Work Proof", &args.proof, error, "pass the file that `glacier job result --proof` wrote")
    })?;
    let at = args.at.map_or_else(crate::context::now, |moment| moment.0);
    let proven = Proven::judge(&bundle, policy.as_ref(), at);
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
    pub(crate) proof: WorkProof,
}

impl Proven {
    /// Without a policy the question is whether the enclave is genuine hardware's.
    pub(crate) fn judge(bundle: &Bundle, policy: Option<&Policy>, at: UnixTime) -> Self {
        let vendor = Anchors::vendor();
        let judge = policy.map_or(Judge::Genuine(&vendor), Judge::Policy);
        let appraisal: ProofAppraisal = bundle.verify(judge, at);
        Self {
            verdict: appraisal.verdict(),
            at: rfc3339(at),
            checks: appraisal.checks.iter().map(line).collect(),
            evidence: checks::lines(&appraisal.evidence),
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
        field(page, "units", format_args!("{} multiply-accumulates", grouped(proof.units)))
    }
}
