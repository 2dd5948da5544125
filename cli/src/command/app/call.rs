//! `glacier app call`: one request to an application, and the proof of its answer.

use crate::{
    args::{NodeArg, PolicyArg},
    checks::{self, Line},
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{GOOD, Report, WARN, field, paint},
};
use glacier::{Error, Freshness, StateMemory};
use glacier_proof::WorkProof;
use glacier_wire::{ManifestHash, PlatformKind, Work};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Path of the application, such as /hello
    #[arg(value_name = "PATH")]
    path: String,
    /// What to send; `@FILE` reads a file
    #[arg(value_name = "JSON", default_value = "null")]
    body: String,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
    /// Take an answer without Work Proof too
    #[arg(long)]
    unproved: bool,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let body = body(&args.body)?;
    // Who calls needs a name and no more: one is made where there is none.
    cx.operator()?;
    let mut door = Door::find(&args.node, &args.policy, cx)?;
    let file = cx.home.join(STATES);
    let states = StateMemory::open(&file).map_err(|error| Failure::reading(&file, &error))?;
    door.node = door.node.remembering(states);
    let freshness = if args.fresh { Freshness::Fresh } else { Freshness::Cached };
    let session = door.open(freshness, cx).await?;
    let headers = [("content-type", "application/json")];
    let asked = session.request("POST".try_into().unwrap_or_default(), &args.path, &headers, body.clone().into()).await;
    let response = asked.map_err(|error| explain::client(Error::from(error)))?;
    let proof = match response.header("glacier-proof") {
        None if args.unproved => None,
        None => {
            let message = "the answer carries no Work Proof, and was not taken";
            return Err(Failure::no("unproved", message, "pass --unproved to read answers that are not proved"));
        }
        Some(_) => {
            let checked = session.check_answer(Work::App, &ManifestHash::ZERO, &body, &response);
            Some(checked.map_err(|error| explain::client(error.into()))?.signed().proof.clone())
        }
    };
    let answer = serde_json::from_slice(&response.body);
    let answer: Value = answer.unwrap_or_else(|_| String::from_utf8_lossy(&response.body).into_owned().into());
    cx.output.report(&Called {
        platform: session.accepted().platform(),
        checks: checks::lines(session.appraisal()),
        answer,
        proof,
    })?;
    Ok(Exit::Yes)
}

/// JSON that was typed, or that a file holds; to the byte as it is sent.
fn body(typed: &str) -> Result<Vec<u8>, Failure> {
    let bytes = match typed.strip_prefix('@') {
        Some(file) => files::read(file.as_ref(), MAX_BODY)?,
        None => typed.as_bytes().to_vec(),
    };
    let json: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&bytes);
    json.map_err(|error| {
        Failure::trouble("usage", format!("the request is not JSON: {error}"), "quote it for the shell: '{\"a\": 1}'")
    })?;
    Ok(bytes)
}

#[derive(Serialize)]
struct Called {
    platform: PlatformKind,
    checks: Vec<Line>,
    answer: Value,
    /// Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<WorkProof>,
}

impl Report for Called {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        checks::tree(page, &self.checks, None)?;
        if self.platform == PlatformKind::Simulated {
            field(page, "platform", paint(WARN, "SIMULATED: no hardware protects what was sent"))?;
        }
        match &self.proof {
            Some(proof) => field(
                page,
                "proof",
                paint(
                    GOOD,
                    format_args!("of this request and this answer, {} units, number {}", proof.units, proof.sequence),
                ),
            )?,
            None => field(page, "proof", paint(WARN, "none"))?,
        }
        writeln!(page, "{}", serde_json::to_string_pretty(&self.answer).unwrap_or_default())
    }
}

/// What enclaves said of their sealed state.
const STATES: &str = "states.json";
/// The largest request that is read from a file.
const MAX_BODY: u64 = 64 << 20;
