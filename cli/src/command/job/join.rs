//! `glacier job join`: the moment at which a key leaves its owner.

use super::{status::Progress, told};
use crate::{
    args::{NodeArg, PolicyArg},
    checks::{self, Line},
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{Report, field, simulated},
};
use glacier::{Freshness, Job, Release};
use glacier_wire::{Address, Digest, PlatformKind, Role, SignedManifest, api::JobStatus};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job, signed by all its parties
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// What you bring
    #[arg(long)]
    role: RoleArg,
    /// Your sealed asset
    #[arg(long, value_name = "FILE|URL")]
    asset: PathBuf,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
    /// Stay until the job is done
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RoleArg {
    Data,
    Model,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let door = Door::find(&args.node, &args.policy, cx)?;
    let job = Job::read(&args.job).map_err(|error| explain::job(&args.job, error))?;
    let manifest = signed(&job, &args.job)?;
    let (role, assets) = match args.role {
        RoleArg::Data => (Role::Data, manifest.manifest.data_sets().map(|set| set.data).collect()),
        RoleArg::Model => (Role::Model, vec![manifest.manifest.model]),
    };
    let file = cx.bring(&args.asset).await?;
    let asset = holds(&file, &assets, role.as_str())?;
    let file_key = cx.keystore()?.file_key(&asset).map_err(explain::keystore)?;

    let freshness = if args.fresh { Freshness::Fresh } else { Freshness::Cached };
    let session = door.open(freshness, cx).await?;
    door.upload(&asset, &file, cx).await?;

    let limits = &manifest.manifest.limits;
    let release = Release { role, manifest, file_key, uses: limits.runs, not_after: limits.not_after };
    let told = told::recall(cx, &job.hash())?;
    let mut status = session.join_with(door.key.identity(), release, asset, told).await.map_err(explain::client)?;
    if args.wait {
        let progress = Progress::new(cx.output);
        let waited = session.wait(&job.hash(), &mut |status| progress.show(status)).await;
        progress.finish();
        status = waited.map_err(explain::client)?;
    }
    cx.output.report(&Joined {
        role,
        asset,
        party: session.party(),
        platform: session.accepted().platform(),
        post_quantum: session.post_quantum(),
        checks: checks::lines(session.appraisal()),
        status,
    })?;
    Ok(Exit::Yes)
}

/// The manifest, if everybody has signed it.
pub(crate) fn signed<'a>(job: &'a Job, file: &Path) -> Result<&'a SignedManifest, Failure> {
    job.complete().map_err(|error| explain::unsigned(file, error))
}

/// Which of the job's assets a file is. One that is none is found out before anything is sent.
pub(crate) fn holds(file: &Path, assets: &[Digest], what: &str) -> Result<Digest, Failure> {
    let found = files::digest(file)?;
    if assets.contains(&found) {
        return Ok(found);
    }
    let wanted: Vec<_> = assets.iter().map(Digest::to_string).collect();
    let message = format!("{} is asset {found}, the job's {what} is {}", file.display(), wanted.join(" and "));
    Err(Failure::trouble(
        "asset-digest",
        message,
        "pass the very file that the job was proposed with; sealing it again makes another",
    ))
}

#[derive(Serialize)]
struct Joined {
    role: Role,
    asset: Digest,
    party: Address,
    platform: PlatformKind,
    post_quantum: bool,
    checks: Vec<Line>,
    status: JobStatus,
}

impl Report for Joined {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        writeln!(page, "the key of your {} was released to it, for this job alone", self.role.as_str())?;
        field(page, "asset", self.asset)?;
        let kept = if self.post_quantum { "TLS 1.3, X25519MLKEM768" } else { "TLS 1.3, without post-quantum exchange" };
        field(page, "channel", kept)?;
        super::status::Status::from(&self.status).human(page)
    }
}
