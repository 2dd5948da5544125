//! `glacier proxy`: other people's clients, in front of an attested node.

use crate::{
    args::{NodeArg, PolicyArg},
    command::node::asked_to_end,
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
    output::{GOOD, Report, WARN, field, paint},
    units::{Size, Span},
};
use glacier::Freshness;
use glacier_proxy::{Config, ModelName, Pooling, StartError, Text};
use serde::Serialize;
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Where clients call
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8484")]
    listen: SocketAddr,
    /// A served model under a name of yours; repeatable [default: what you serve there yourself]
    #[arg(long = "model", value_name = "NAME=DEPLOYMENT")]
    models: Vec<ModelName>,
    /// The model's tokenizer.json: text becomes tokens on this machine, for /v1/embeddings
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// How the vectors of a text's tokens become one: mean or first
    #[arg(long, value_name = "HOW", default_value = "mean")]
    pooling: Pooling,
    /// Leave vectors as long as the model makes them
    #[arg(long)]
    no_normalise: bool,
    /// Most tokens of one text; longer text is refused
    #[arg(long, value_name = "N", default_value = "512")]
    max_tokens: usize,
    /// Keep each Work Proof as a file in this folder
    #[arg(long, value_name = "DIR")]
    proofs: Option<PathBuf>,
    /// Largest body of a request
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    max_body: Size,
    /// Most requests that the node does for you at a time
    #[arg(long, value_name = "N", default_value = "8")]
    sessions: usize,
    /// Attest the enclave again after so long
    #[arg(long, value_name = "SPAN", default_value = "10m")]
    reattest: Span,
    /// Have the chip make a new quote for each session
    #[arg(long)]
    fresh: bool,
    /// Let other machines call: they use your key, and their rows are plain text on the way here
    #[arg(long)]
    danger_listen_anywhere: bool,
    /// A name of this machine that callers use, beside localhost and its addresses; repeatable
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let Door { node, policy, key } = Door::find(&args.node, &args.policy, cx)?;
    let (pooling, normalise, max_tokens) = (args.pooling, !args.no_normalise, args.max_tokens);
    let config = Config {
        listen: args.listen,
        danger_listen_anywhere: args.danger_listen_anywhere,
        names: args.names,
        models: args.models,
        text: args.tokenizer.map(|tokenizer| Text { tokenizer, pooling, normalise, max_tokens }),
        proofs: args.proofs,
        max_body: usize::try_from(args.max_body.0).unwrap_or(usize::MAX),
        sessions: args.sessions,
        reattest: args.reattest.0,
        freshness: if args.fresh { Freshness::Fresh } else { Freshness::Cached },
    };
    let mut asked_to_end = asked_to_end()?;
    let models = config.models.iter().map(|model| model.name.clone()).collect();
    let running = glacier_proxy::start(node, policy, key, config).await.map_err(explain)?;
    let attested = running.attest().await;
    let listening = Listening {
        address: format!("http://{}", running.address()),
        models,
        fault: attested.as_ref().err().map(ToString::to_string),
        attestation: attested.ok(),
    };
    cx.output.report(&listening)?;
    cx.output.remark("Ctrl-C ends it");
    asked_to_end.recv().await;
    cx.output.remark("ending: requests under way have a few seconds");
    running.shutdown().await;
    Ok(Exit::Yes)
}

fn explain(error: StartError) -> Failure {
    let (code, help) = match &error {
        StartError::Exposed(_) => ("usage", "listen on 127.0.0.1, or pass --danger-listen-anywhere if you mean it"),
        StartError::Listen { .. } => ("port", "choose another port with --listen, or end what listens there"),
        StartError::Proofs(_) => ("file-write", "name a folder that you may write"),
        StartError::Text(_) => {
            ("file-format", "pass the tokenizer.json that lies beside the model where it is published")
        }
        _ => ("proxy", "try again with a newer glacier"),
    };
    Failure::trouble(code, error.to_string(), help)
}

#[derive(Serialize)]
struct Listening {
    address: String,
    models: Vec<String>,
    /// Why every request fails for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<serde_json::Value>,
}

impl Report for Listening {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "proxy {}", self.address)?;
        field(page, "REST, gRPC", "Open Inference Protocol v2")?;
        field(page, "OpenAI", format_args!("{}/v1", self.address))?;
        if !self.models.is_empty() {
            field(page, "models", self.models.join(", "))?;
        }
        match (&self.attestation, &self.fault) {
            (Some(said), _) => {
                let text = |name: &str| said[name].as_str().unwrap_or_default();
                field(page, "enclave", paint(GOOD, "accepted"))?;
                field(page, "measurement", text("measurement"))?;
                field(page, "enclave id", text("enclave_id"))?;
                if said["simulated"] == true {
                    field(
                        page,
                        "platform",
                        paint(WARN, "SIMULATED: no hardware protects what is given to this enclave"),
                    )?;
                }
                Ok(())
            }
            (None, fault) => {
                let fault = fault.as_deref().unwrap_or_default();
                field(page, "enclave", paint(WARN, format_args!("not accepted, every request fails: {fault}")))
            }
        }
    }
}
