//! `glacier federation seat`: whose rows, and the one enclave that may train on them.

use crate::{
    args::{NodeArg, PolicyArg},
    checks::{self, Line},
    command::job::AssetRef,
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{Report, field, simulated},
};
use glacier::Freshness;
use glacier_wire::{Address, Digest, PlatformKind, federation::Seat};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Your sealed rows: a file, or its digest
    #[arg(long, value_name = "FILE|DIGEST")]
    data: AssetRef,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Where to write it
    #[arg(short, long, value_name = "FILE", default_value = "site.json")]
    output: PathBuf,
}

/// One site, as its file says it. Nothing in it is secret, and all of it is signed with the job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Site {
    /// Whose rows.
    pub(super) provider: Address,
    /// Which.
    pub(super) data: Digest,
    /// Where they are trained on.
    pub(super) seat: Seat,
}

impl Site {
    const MAX_BYTES: u64 = 16 << 10;

    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        serde_json::from_slice(&files::read(path, Self::MAX_BYTES)?).map_err(|error| {
            Failure::not_a("a site's file", path, error, "pass what `glacier federation seat` has written".to_owned())
        })
    }
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let door = Door::find(&args.node, &args.policy, cx)?;
    let data = args.data.digest()?;
    let session = door.open(Freshness::Cached, cx).await?;
    let seat = session.seat().map_err(explain::client)?;
    let site = Site { provider: door.key.address(), data, seat };
    let text = serde_json::to_vec_pretty(&site).unwrap_or_default();
    files::write_new(&args.output, &text)?;
    cx.output.report(&Seated {
        site,
        file: args.output,
        platform: session.accepted().platform(),
        checks: checks::lines(session.appraisal()),
    })?;
    cx.output.remark("next: send the file to whoever proposes the federation");
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Seated {
    #[serde(flatten)]
    site: Site,
    file: PathBuf,
    platform: PlatformKind,
    checks: Vec<Line>,
}

impl Report for Seated {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "your enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        field(page, "data", self.site.data)?;
        field(page, "  from", format_args!("{} (you)", self.site.provider))?;
        field(page, "code", self.site.seat.measurement)?;
        field(page, "on chip", self.site.seat.enclave_id)?;
        field(page, "file", self.file.display())
    }
}
