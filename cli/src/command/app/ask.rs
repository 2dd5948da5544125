//! `glacier app ask`: data in, an answer out, with a proof; and first of all a look at the code's name.

use crate::{
    args::{NodeArg, PolicyArg},
    checks::{self, Line},
    command::{infer::keep, verify::Proven},
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{Report, field, simulated},
    units::grouped,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
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
    #[arg(long, value_name = "DIGEST", required_unless_present = "any_code")]
    code: Option<Digest>,
    /// Send the data to whatever component runs there: for data that anybody may have
    #[arg(long, conflicts_with = "code")]
    any_code: bool,
    /// Which of its functions is wanted, in the app's own words
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// What is sent [default: nothing]
    #[arg(long, value_name = "FILE|URL")]
    input: Option<PathBuf>,
    /// Where to write the answer [default: print it, as base64 where it is no text]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to write the Work Proof with its evidence and what the app's owner signed
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    // The data leaves and the run is spent once, whatever becomes of the answer here.
    files::require_absent([args.output.as_ref(), args.proof.as_ref()])?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let body = match &args.input {
        Some(input) => Some(files::read(&cx.bring(input).await?, AppResult::MAX_BYTES as u64)?),
        None => None,
    };
    let session = door.open(if args.fresh { Freshness::Fresh } else { Freshness::Cached }, cx).await?;
    let info = session.app(&args.app).await.map_err(explain::client)?;
    if let Some(code) = args.code.filter(|code| *code != info.code) {
        let message = format!("the app is the component {}, and not {code}: nothing was sent to it", info.code);
        return Err(Failure::no("other-code", message, "ask its owner which component it runs, and read its source"));
    }
    let manifest = match &args.proof {
        Some(_) => Some(session.served(&args.app).await.map_err(explain::client)?),
        None => None,
    };
    let spinner = crate::progress::spinner(cx.output, "asking");
    let answer = session.call_app(&args.app, &args.path, body.unwrap_or_default().into()).await;
    spinner.finish_and_clear();
    let answer = answer.map_err(explain::client)?;
    // Before the answer is looked at: a refusal is proved as well.
    let proven = keep(&answer.proof, &session, manifest, args.proof.as_deref(), &door.policy)?;
    let body = match answer.result {
        AppResult::Answer(body) => body,
        AppResult::Refusal(text) => return Err(explain::app_refusal(&text)),
    };
    let bytes = body.len() as u64;
    let said = match &args.output {
        Some(path) => {
            files::write_private(path, &body)?;
            Said::default()
        }
        None => Said::of(body),
    };
    cx.output.report(&Answered {
        info,
        platform: session.accepted().platform(),
        checks: checks::lines(session.appraisal()),
        bytes,
        said,
        output: args.output,
        proof_file: args.proof,
        proven,
        proof: answer.proof.signed().proof.clone(),
    })?;
    Ok(Exit::Yes)
}

/// An answer that went into no file: the one or the other.
#[derive(Default, Serialize)]
struct Said {
    answer: Option<String>,
    answer_base64: Option<String>,
}

impl Said {
    fn of(body: Vec<u8>) -> Self {
        match String::from_utf8(body) {
            Ok(text) => Self { answer: Some(text), answer_base64: None },
            Err(bytes) => Self { answer: None, answer_base64: Some(STANDARD.encode(bytes.as_bytes())) },
        }
    }
}

#[derive(Serialize)]
struct Answered {
    #[serde(flatten)]
    info: AppInfo,
    platform: PlatformKind,
    checks: Vec<Line>,
    bytes: u64,
    #[serde(flatten)]
    said: Said,
    output: Option<PathBuf>,
    proof_file: Option<PathBuf>,
    proven: Option<Proven>,
    proof: WorkProof,
}

impl Report for Answered {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        if let Some(text) = &self.said.answer {
            // Whatever the app says is not to move the terminal's cursor.
            let shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
            writeln!(page, "{}", text.trim_end().chars().filter(shown).collect::<String>())?;
        }
        if let Some(encoded) = &self.said.answer_base64 {
            writeln!(page, "{encoded}")?;
            field(page, "encoding", "base64, as the answer is no text; --output writes it to a file as it is")?;
        }
        if let Some(file) = &self.output {
            writeln!(page, "{}", file.display())?;
        }
        field(page, "code", self.info.code)?;
        field(page, "owner", self.info.owner)?;
        field(page, "proof", format_args!("Work Proof {}, checked against this exchange", self.proof.sequence))?;
        if let Some(file) = &self.proof_file {
            field(page, "proof file", file.display())?;
        }
        field(page, "units", format_args!("{} of fuel", grouped(self.proof.units)))?;
        self.proven.as_ref().map_or(Ok(()), |proven| proven.human(page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_text_or_base64_and_never_thrown_away() {
        let json = |body: &[u8]| serde_json::to_value(Said::of(body.to_vec())).expect("JSON");
        assert_eq!(json(b"yes"), serde_json::json!({"answer": "yes", "answer_base64": null}));
        assert_eq!(json(b"\xff\x00"), serde_json::json!({"answer": null, "answer_base64": "/wA="}));
    }
}
