//! `glacier federation take-part`: one owner of rows, from the first round to the last.

use crate::{
    args::{NodeArg, PolicyArg},
    command::job::{holds, signed},
    context::Context,
    door::{self, Door},
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{Report, field, simulated},
    progress,
};
use glacier::{
    Job,
    federation::{Part, Participation, Place, SiteStep, take_part},
};
use glacier_proof::{Bundle, WorkProof};
use glacier_wire::{ManifestHash, PlatformKind, training::TrainingMetrics};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job, signed by all its parties
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// Your sealed rows
    #[arg(long, value_name = "FILE|URL")]
    asset: PathBuf,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Address of the aggregator's node
    #[arg(long, value_name = "URL")]
    aggregator: String,
    /// Policy that the aggregator's enclave must meet [default: --policy]
    #[arg(long, value_name = "FILE")]
    aggregator_policy: Option<PathBuf>,
    /// Folder for the Work Proof of each round on your rows
    #[arg(long, value_name = "DIR")]
    proofs: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let own = Door::find(&args.node, &args.policy, cx)?;
    let aggregator = door::node(&args.aggregator)?;
    let aggregator_policy = files::policy(args.aggregator_policy.as_ref().unwrap_or(&args.policy.policy))?;
    let job = Job::read(&args.job).map_err(|error| explain::job(&args.job, error))?;
    let manifest = signed(&job, &args.job)?;
    let mine: Vec<_> = manifest.manifest.data_sets().map(|set| set.data).collect();
    let file = cx.bring(&args.asset).await?;
    let data = holds(&file, &mine, "data")?;
    let file_key = cx.keystore()?.file_key(&data).map_err(explain::keystore)?;
    if let Some(folder) = &args.proofs {
        std::fs::create_dir_all(folder).map_err(|error| Failure::writing(folder, &error))?;
    }
    own.upload(&data, &file, cx).await?;

    let part = Part {
        federation: manifest,
        aggregator: Place::new(&aggregator, &aggregator_policy),
        site: Place::new(&own.node, &own.policy),
        data,
        file_key,
    };
    let rounds = manifest.federation.as_ref().map_or(0, |plan| plan.rounds);
    let bar = progress::steps(cx.output, rounds.into());
    let mut proofs = args.proofs.map(Proofs::new);
    let mut failed = None;
    let taken = take_part(&part, &own.key, &mut |step| match step {
        SiteStep::Begun { round } => bar.set_message(format!("round {round}: your node trains")),
        SiteStep::Trained { round, metrics } => {
            bar.set_message(format!("round {round}: trained{}", measured(metrics)));
        }
        SiteStep::Delivered { round, update } => {
            bar.set_position(round.into());
            let noted = proofs.as_mut().map_or(Ok(()), |proofs| proofs.put(round, &update.bundle));
            failed = failed.take().or(noted.err());
        }
        SiteStep::Late { round } => {
            cx.output.remark(format_args!("round {round} closed without your rows; going on with the next"));
        }
        SiteStep::Idle(status) => bar.set_message(format!("round {}: waiting for the others", status.round)),
        SiteStep::Waiting(why) => bar.set_message(format!("waiting: {why}")),
        _ => {}
    })
    .await;
    bar.finish_and_clear();
    let Participation { updates, .. } = taken.map_err(explain::client)?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let mut rounds = Vec::new();
    for update in updates {
        let proof_file = proofs.as_ref().and_then(|proofs| proofs.files.get(&update.round)).cloned();
        let proof = update.bundle.proof.proof;
        rounds.push(Round { round: update.round, metrics: update.metrics, proof, proof_file });
    }
    cx.output.report(&TookPart { job: job.hash(), rounds })?;
    Ok(Exit::Yes)
}

/// Where the proofs of this site's rounds go, each as soon as there is one.
struct Proofs {
    folder: PathBuf,
    /// By round.
    files: BTreeMap<u32, PathBuf>,
}

impl Proofs {
    fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new() }
    }

    /// A round that began anew has another proof, which takes the place of the one before. What was in the folder
    /// earlier stays: it may be another federation's, or of a round before this machine was started again.
    fn put(&mut self, round: u32, bundle: &Bundle) -> Result<(), Failure> {
        let bytes = glacier_wire::cbor::encode(bundle);
        if let Some(path) = self.files.get(&round) {
            let beside = path.with_extension("new");
            let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
            return written.map_err(|error| Failure::writing(path, &error));
        }
        let names = (1u32..).map(|number| match number {
            1 => format!("round-{round}.cbor"),
            _ => format!("round-{round}-{number}.cbor"),
        });
        let path = names.map(|name| self.folder.join(name)).find(|path| !path.exists()).unwrap_or_default();
        files::write_new(&path, &bytes)?;
        self.files.insert(round, path);
        Ok(())
    }
}

/// What the last epoch measured on the rows that this site holds out.
fn measured(metrics: &TrainingMetrics) -> String {
    let last = metrics.epochs.last().map(|epoch| epoch.validation.as_slice()).unwrap_or_default();
    last.iter().map(|measured| format!("  {} {:.4}", measured.metric, measured.value)).collect()
}

#[derive(Serialize)]
struct TookPart {
    job: ManifestHash,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Round {
    round: u32,
    /// For the owner of the rows alone.
    metrics: TrainingMetrics,
    proof: WorkProof,
    proof_file: Option<PathBuf>,
}

impl Report for TookPart {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let platform =
            self.rounds.iter().map(|round| round.proof.platform).find(|kind| *kind == PlatformKind::Simulated);
        let note = simulated(platform);
        writeln!(page, "the federation is done; your rows were in {} rounds of it{note}", self.rounds.len())?;
        for round in &self.rounds {
            let text = format!("Work Proof {}{}", round.proof.sequence, measured(&round.metrics));
            field(page, &format!("round {}", round.round), text)?;
            if let Some(path) = &round.proof_file {
                field(page, "  proof file", path.display())?;
            }
        }
        Ok(())
    }
}
