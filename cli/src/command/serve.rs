//! `glacier serve`: the model provider opens a deployment.

use crate::{
    args::{NodeArg, PolicyArg, SettleArgs},
    checks::{self, Line},
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
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
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model (ONNX). It is sealed here, and opened in the enclave alone
    #[arg(long, value_name = "FILE|URL")]
    model: PathBuf,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    #[command(flatten)]
    terms: Terms,
}

/// On which terms something answers callers.
#[derive(Debug, clap::Args)]
pub(crate) struct Terms {
    /// How many requests it answers
    #[arg(long, value_name = "N", default_value = "1M")]
    runs: Count,
    /// How long it answers
    #[arg(long = "for", value_name = "SPAN", default_value = "1h")]
    lasts: Span,
    /// How much memory its worker may take; of an app's, a quarter is the component's own
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: Size,
    /// How much all requests together may spend: multiply-accumulates of a model, fuel of an app
    #[arg(long, value_name = "N", default_value = "10T")]
    units: Count,
    #[command(flatten)]
    settle: SettleArgs,
    /// What each answer pays, in the token's smallest unit: you pay, out of a `glacier chain deposit` for what answers
    #[arg(long, value_name = "N", default_value = "0")]
    price: u64,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
}

impl Terms {
    pub(crate) fn options(&self) -> Options {
        Options {
            memory: self.memory.0,
            units: self.units.0,
            runs: self.runs.0,
            lasts: self.lasts.0.as_secs(),
            freshness: if self.fresh { Freshness::Fresh } else { Freshness::Cached },
            settle: self.settle.settle(),
            price: self.price,
        }
    }
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let model = cx.bring(&args.model).await?;
    require_plain(&model)?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let options = args.terms.options();
    let (mut watcher, mut seen) = (Watcher::new(cx.output), None);
    let served = glacier::serve(&door.node, &door.policy, &door.key, &*model, &options, &mut |step| {
        if let Step::Accepted(session) = &step {
            seen = Some((session.accepted().platform(), checks::lines(session.appraisal())));
        }
        watcher.see(&step);
    })
    .await;
    watcher.finish();
    let deployment = served.map_err(|error| explain::with_file(error, &args.model))?;
    let (platform, checks) = seen.unzip();
    cx.output.report(&Served {
        deployment: deployment.name,
        model: deployment.manifest.manifest.model,
        node: door.node.url().to_owned(),
        platform,
        runs: options.runs,
        until: rfc3339(deployment.manifest.manifest.limits.not_after),
        checks: checks.unwrap_or_default(),
    })?;
    cx.output.remark(format_args!(
        "next: others run `glacier infer --node {} --model {} --input X.csv --policy P`",
        door.node.url(),
        deployment.name
    ));
    Ok(Exit::Yes)
}

/// Sealing what is sealed gives the enclave an age file where it looks for a model.
pub(crate) fn require_plain(file: &Path) -> Result<(), Failure> {
    if file.extension().is_some_and(|extension| extension == "age") {
        let message = format!("{} is sealed already, and this command seals under a key of its own", file.display());
        return Err(Failure::trouble(
            "usage",
            message,
            "pass the file itself, or use the sealed one with `glacier job`",
        ));
    }
    Ok(())
}

#[derive(Serialize)]
struct Served {
    deployment: ManifestHash,
    model: Digest,
    node: String,
    platform: Option<PlatformKind>,
    runs: u64,
    until: String,
    checks: Vec<Line>,
}

impl Report for Served {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        writeln!(page, "the model serves")?;
        field(page, "deployment", self.deployment)?;
        field(page, "model", self.model)?;
        field(page, "answers", format_args!("{} requests, until {}", grouped(self.runs), self.until))
    }
}
