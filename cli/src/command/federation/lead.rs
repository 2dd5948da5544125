//! `glacier federation lead`: the owner of the initial model, from the first round to the last model.

use crate::{
    args::{NodeArg, PolicyArg},
    command::job::{holds, signed, told},
    context::Context,
    door::Door,
    error::{Exit, Outcome},
    explain, files,
    output::{Report, field, simulated},
    progress,
};
use glacier::{
    Job,
    federation::{Merged, Place, lead},
};
use glacier_proof::WorkProof;
use glacier_wire::{Digest, ManifestHash, PlatformKind, federation::FederationRecord};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job, signed by all its parties
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// Your sealed initial model
    #[arg(long, value_name = "FILE|URL")]
    asset: PathBuf,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Where to write the model of the last round
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Where to write the combined Work Proof
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    files::require_absent([Some(&args.output), args.proof.as_ref()])?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let job = Job::read(&args.job).map_err(|error| explain::job(&args.job, error))?;
    let manifest = signed(&job, &args.job)?;
    let file = cx.bring(&args.asset).await?;
    let asset = holds(&file, &[manifest.manifest.model], "model")?;
    let file_key = cx.keystore()?.file_key(&asset).map_err(explain::keystore)?;
    door.upload(&asset, &file, cx).await?;

    let (hash, mut forgotten) = (job.hash(), None);
    let told = told::recall(cx, &hash)?;
    let rounds = manifest.federation.as_ref().map_or(0, |plan| plan.rounds);
    let bar = progress::steps(cx.output, rounds.into());
    let place = Place::new(&door.node, &door.policy);
    let merged = lead(manifest, place, &file_key, &door.key, told, &mut |status| {
        forgotten = forgotten.take().or_else(|| told::remember(cx, &hash, status.checkpoint).err());
        bar.set_position(status.round.saturating_sub(1).into());
        let late = if status.overdue { ", overdue" } else { "" };
        bar.set_message(format!("round {}: {} delivered{late}", status.round, status.delivered.len()));
    })
    .await;
    bar.finish_and_clear();
    if let Some(failure) = forgotten {
        cx.output.remark(format_args!("the newest round could not be noted here: {}", failure.message));
    }
    let merged = merged.map_err(explain::client)?;
    files::write_private(&args.output, &merged.model)?;
    if let Some(path) = &args.proof {
        files::write_new(path, &glacier_wire::cbor::encode(&merged.bundle))?;
    }
    cx.output.report(&Led::new(&merged, &job, args.output, args.proof))?;
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Led {
    platform: PlatformKind,
    job: ManifestHash,
    record: FederationRecord,
    output: PathBuf,
    output_bytes: u64,
    proof_file: Option<PathBuf>,
    proof: WorkProof,
    #[serde(skip)]
    digest: Digest,
}

impl Led {
    fn new(merged: &Merged, job: &Job, output: PathBuf, proof_file: Option<PathBuf>) -> Self {
        let proof = merged.proof.proof().clone();
        Self {
            platform: proof.platform,
            job: job.hash(),
            digest: merged.record.result,
            record: merged.record.clone(),
            output,
            output_bytes: merged.model.len() as u64,
            proof_file,
            proof,
        }
    }
}

impl Report for Led {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the federation is done{}", simulated(self.platform))?;
        for (number, round) in (1u32..).zip(&self.record.rounds) {
            let sites: Vec<_> = round.updates.iter().map(|update| update.site.saturating_add(1).to_string()).collect();
            let rows: u64 = round.updates.iter().map(|update| update.rows).sum();
            field(page, &format!("round {number}"), format_args!("sites {}   {rows} rows", sites.join(", ")))?;
        }
        field(page, "proof", format_args!("Work Proof {}, of all rounds", self.proof.sequence))?;
        field(page, "model", format_args!("{} ({} bytes)", self.output.display(), self.output_bytes))?;
        field(page, "  digest", self.digest)?;
        if let Some(path) = &self.proof_file {
            field(page, "proof file", path.display())?;
        }
        Ok(())
    }
}
