//! `glacier app ask`: data in, an answer out, with a proof; and first of all a look at the code's name.

use crate::{
    args::{NodeArg, PolicyArg},
    checks::{self, Line},
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{Report, field, simulated},
    units::grouped,
};
use glacier::{AppInfo, Freshness};
use glacier_proof::WorkProof;
use glacier_wire::{Digest, ManifestHash, PlatformKind, app::AppResult};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app: the name that `glacier app run` printed
    #[arg(value_name = "APP")]
    app: ManifestHash,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// The component that it must be (`glacier measure app.wasm` prints this); nothing is sent to another one
    #[arg(long, value_name = "DIGEST")]
    code: Option<Digest>,
    /// Which of its functions is wanted, in the app's own words
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// What is sent [default: nothing]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where to write the answer [default: print it, where it is text]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    files::require_absent([args.output.as_ref()])?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let body = args.input.as_deref().map(|path| files::read(path, AppResult::MAX_BYTES as u64)).transpose()?;
    let session = door.open(if args.fresh { Freshness::Fresh } else { Freshness::Cached }, cx).await?;
    let info = session.app(&args.app).await.map_err(explain::client)?;
    if let Some(code) = args.code.filter(|code| *code != info.code) {
        let message = format!("the app is the component {}, and not {code}: nothing was sent to it", info.code);
        return Err(Failure::no("other-code", message, "ask its owner which component it runs, and read its source"));
    }
    let spinner = crate::progress::spinner(cx.output, "asking");
    let answer = session.call_app(&args.app, &args.path, body.unwrap_or_default().into()).await;
    spinner.finish_and_clear();
    let answer = answer.map_err(explain::client)?;
    if let Some(path) = &args.output {
        files::write_private(path, &answer.body)?;
    }
    let text = args.output.is_none().then(|| std::str::from_utf8(&answer.body).ok().map(str::to_owned)).flatten();
    if args.output.is_none() && text.is_none() {
        let message = "the answer is no text, and cannot be printed";
        return Err(Failure::trouble("usage", message, "name a file for it with --output"));
    }
    cx.output.report(&Answered {
        info,
        platform: session.accepted().platform(),
        checks: checks::lines(session.appraisal()),
        bytes: answer.body.len() as u64,
        answer: text,
        output: args.output,
        proof: answer.proof.signed().proof.clone(),
    })?;
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Answered {
    #[serde(flatten)]
    info: AppInfo,
    platform: PlatformKind,
    checks: Vec<Line>,
    bytes: u64,
    answer: Option<String>,
    output: Option<PathBuf>,
    proof: WorkProof,
}

impl Report for Answered {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        match (&self.answer, &self.output) {
            // Whatever the app says is not to move the terminal's cursor.
            (Some(text), _) => {
                let shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
                writeln!(page, "{}", text.trim_end().chars().filter(shown).collect::<String>())?;
            }
            (None, Some(file)) => writeln!(page, "{}", file.display())?,
            (None, None) => {}
        }
        field(page, "code", self.info.code)?;
        field(page, "owner", self.info.owner)?;
        field(page, "proof", format_args!("Work Proof {}, checked against this exchange", self.proof.sequence))?;
        field(page, "units", format_args!("{} of fuel", grouped(self.proof.units)))
    }
}
