//! What was typed, exactly. Each command turns its part into working values before it begins.

use crate::command::{
    app, chain, completions, dashboard, demo, federation, infer, job, key, measure, node, proxy, seal, serve, train,
    verifier, verify,
};
use clap::{Parser, Subcommand};
use glacier::Settle;
use glacier_wire::Address;
use std::path::PathBuf;

const STATUS: &str = "\
Exit status:
  0    done, or the answer is yes
  1    the answer is no: rejected, refused, does not verify
  2    no answer: misuse, a file or node out of reach, evidence that could not be judged
  130  ended by a signal, such as Ctrl-C

With --json, stdout holds exactly one JSON object: the result, or
{\"error\": {\"code\", \"message\", \"help\"}}. Without it, errors go to stderr.";

/// Confidential computing between parties that do not trust each other: models and data meet in an
/// attested enclave, and nobody else sees either.
#[derive(Debug, Parser)]
#[command(name = "glacier", version, after_help = STATUS, propagate_version = true, max_term_width = 100)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no remarks
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Folder of keys and node state [default: ~/.glacier]
    #[arg(long, global = true, value_name = "DIR", env = "GLACIER_HOME", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,
    /// Which identity acts
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "default",
        env = "GLACIER_KEY",
        hide_env_values = true
    )]
    pub(crate) key: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole path on this machine: three parties, one enclave, real data (simulated platform)
    Demo(demo::Args),
    /// Run a node, or ask one how it is
    #[command(subcommand)]
    Node(node::Command),
    /// Identities of parties, kept in this machine's key store
    #[command(subcommand)]
    Key(key::Command),
    /// Encrypt a file into an asset that only its owner can open or release
    Seal(seal::SealArgs),
    /// Open an asset or a result with a key from the key store
    Open(seal::OpenArgs),
    /// The measurement of an enclave or a confidential machine, as a policy names it
    Measure(measure::Args),
    /// The three-party path, each party on its own machine
    #[command(subcommand)]
    Job(job::Command),
    /// Send rows to a served model, get predictions and a Work Proof
    Infer(infer::Args),
    /// Refine a model on your data in an attested enclave: get the weights, and a proof of how they came about
    Train(Box<train::Args>),
    /// Train one model at several sites, on rows that never leave them
    #[command(subcommand)]
    Federation(federation::Command),
    /// Open a deployment: load your model into an attested enclave, for others to call
    Serve(serve::Args),
    /// Programs inside enclaves: your own, or a WebAssembly component of somebody's
    #[command(subcommand)]
    App(app::Command),
    /// Serve Triton's and OpenAI's clients on this machine out of an attested node
    Proxy(Box<proxy::Args>),
    /// Judge evidence, proofs and nodes
    #[command(subcommand)]
    Verify(verify::Command),
    /// Look at a node through your own copy of its page, served on this machine
    Dashboard(dashboard::Args),
    /// Where nodes register and are paid
    #[command(subcommand)]
    Chain(chain::Command),
    /// Watch a network: are its keys, its settled logs and its rewards what they must be?
    ///
    /// Each look reads the chain's events since the last one, judges the quote of every live registration
    /// anew, holds each settled head against the logs of the nodes that are named, and recomputes the
    /// rewards. With --once the exit status tells: 0 nothing found, 1 something found, 2 something could
    /// not be told. Without it each finding is one line, and with --json one JSON object.
    Verifier(Box<verifier::Args>),
    /// Completions for a shell, on stdout
    Completions(completions::Args),
}

/// A node to talk to.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArg {
    /// Address of the node, such as http://127.0.0.1:8480
    #[arg(long, value_name = "URL", env = "GLACIER_NODE", hide_env_values = true)]
    pub(crate) node: String,
}

/// What the caller accepts.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArg {
    /// Policy that the enclave must meet (TOML); what it does not name is refused
    #[arg(long, value_name = "FILE", env = "GLACIER_POLICY", hide_env_values = true)]
    pub(crate) policy: PathBuf,
}

/// Where the Work Proof is to count.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct SettleArgs {
    /// Contract where the Work Proof counts [default: where the node settles, by its host's word]
    #[arg(long, value_name = "ADDR", requires = "chain_id")]
    ledger: Option<Address>,
    /// Chain of that contract (EIP-155)
    #[arg(long, value_name = "ID", requires = "ledger")]
    chain_id: Option<u64>,
    /// Have the Work Proof count nowhere: nobody earns by it
    #[arg(long, conflicts_with_all = ["ledger", "chain_id"])]
    no_settle: bool,
}

impl SettleArgs {
    pub(crate) fn settle(&self) -> Settle {
        match (self.chain_id, self.ledger) {
            (Some(chain_id), Some(ledger)) => Settle::At { chain_id, ledger },
            _ if self.no_settle => Settle::Nowhere,
            _ => Settle::AsNode,
        }
    }
}
