//! `glacier app run`: the owner of a component opens it to callers.

use crate::{
    args::{NodeArg, PolicyArg, SettleArgs},
    checks::{self, Line},
    command::serve::require_plain,
    context::Context,
    door::Door,
    error::{Exit, Outcome},
    explain,
    output::{Report, field, simulated},
    units::{Count, Size, Span, grouped, rfc3339},
    watch::Watcher,
};
use glacier::{Freshness, Options, Step};
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
    #[arg(value_name = "COMPONENT")]
    component: PathBuf,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// How many requests it answers
    #[arg(long, value_name = "N", default_value = "1M")]
    runs: Count,
    /// How long it stays
    #[arg(long = "for", value_name = "SPAN", default_value = "1h")]
    lasts: Span,
    /// How much memory its worker may take; a quarter of it is the component's own
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: Size,
    /// How much fuel all requests together may burn; one instruction burns one unit
    #[arg(long, value_name = "N", default_value = "10T")]
    units: Count,
    #[command(flatten)]
    settle: SettleArgs,
    /// What each answer pays, in the token's smallest unit: you pay, out of a `glacier chain deposit` for the app
    #[arg(long, value_name = "N", default_value = "0")]
    price: u64,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    require_plain(&args.component)?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let options = Options {
        memory: args.memory.0,
        units: args.units.0,
        runs: args.runs.0,
        lasts: args.lasts.0.as_secs(),
        freshness: if args.fresh { Freshness::Fresh } else { Freshness::Cached },
        settle: args.settle.settle(),
        price: args.price,
    };
    let (mut watcher, mut seen) = (Watcher::new(cx.output), None);
    let started = glacier::run_app(&door.node, &door.policy, &door.key, &args.component, &options, &mut |step| {
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
