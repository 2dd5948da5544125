//! `glacier app run`: the owner of a component opens it to callers.

use crate::{
    args::{NodeArg, PolicyArg},
    checks::{self, Line},
    command::serve::{Terms, require_plain},
    context::Context,
    door::Door,
    error::{Exit, Outcome},
    explain,
    output::{Report, field, simulated},
    units::{grouped, rfc3339},
    watch::Watcher,
};
use glacier::Step;
use glacier_wire::{Digest, ManifestHash, PlatformKind};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component (.wasm), of the world glacier:app/app. It is sealed here, and opened in the enclave alone
    #[arg(value_name = "FILE|URL")]
    component: PathBuf,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    #[command(flatten)]
    terms: Terms,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let component = cx.bring(&args.component).await?;
    require_plain(&component)?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let options = args.terms.options();
    let (mut watcher, mut seen) = (Watcher::new(cx.output), None);
    let started = glacier::run_app(&door.node, &door.policy, &door.key, &component, &options, &mut |step| {
        if let Step::Accepted(session) = &step {
            seen = Some((session.accepted().platform(), checks::lines(session.appraisal())));
        }
        watcher.see(&step);
    })
    .await;
    watcher.finish();
    let app = started.map_err(|error| explain::with_file(error, &args.component))?;
    let (platform, checks) = seen.unzip();
    let manifest = &app.manifest.manifest;
    cx.output.report(&Running {
        app: app.name,
        code: manifest.plan,
        asset: manifest.model,
        node: door.node.url().to_owned(),
        platform,
        runs: options.runs,
        units: options.units,
        until: rfc3339(manifest.limits.not_after),
        checks: checks.unwrap_or_default(),
    })?;
    cx.output.remark(format_args!(
        "next: others run `glacier app ask {} --node {} --policy P --code {} --input FILE`",
        app.name,
        door.node.url(),
        manifest.plan
    ));
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Running {
    app: ManifestHash,
    code: Digest,
    asset: Digest,
    node: String,
    platform: Option<PlatformKind>,
    runs: u64,
    units: u64,
    until: String,
    checks: Vec<Line>,
}

impl Report for Running {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        writeln!(page, "the app runs")?;
        field(page, "app", self.app)?;
        field(page, "code", self.code)?;
        field(page, "asset", self.asset)?;
        field(page, "answers", format_args!("{} requests, until {}", grouped(self.runs), self.until))?;
        field(page, "fuel", format_args!("{} units", grouped(self.units)))
    }
}
