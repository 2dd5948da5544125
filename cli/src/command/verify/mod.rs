//! `glacier verify`: judge evidence, proofs and nodes.

pub(crate) mod chain;
mod evidence;
mod given;
mod node;
mod proof;
mod replay;
mod rim;
mod shown;

use crate::{
    context::Context,
    error::{Exit, Outcome},
};
use glacier_attest::Verdict;

pub(crate) use proof::Proven;
pub(crate) use replay::{ReplayArgs, Replayed, replay};

/// Judge evidence, proofs and nodes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Is this evidence genuine, and does it meet a policy?
    ///
    /// Without --policy the question is only whether the vendor's hardware made it: signatures,
    /// chain, revocation, quoting enclave, TCB level or reference manifests, all current at --at. A
    /// platform that is behind, or a debug enclave, is reported then, and judged by a policy. What kind
    /// of evidence it is shows from its content.
    Evidence(Box<evidence::Args>),
    /// Is this reference manifest NVIDIA's, unchanged and current?
    Rim(rim::Args),
    /// Does this Work Proof hold together, and does its enclave meet a policy?
    ///
    /// Without --chain what is signed is checked: the proof, its enclave's evidence, its manifest, and where the
    /// file holds them the head of its log and its key's registration. With --chain the registry and the
    /// ledger are asked too: the key must be registered there by a quote that still holds, and the proof settled.
    Proof(Box<proof::Args>),
    /// Is the enclave behind a node genuine, and does it meet a policy?
    ///
    /// Without --policy nothing is accepted: the command prints what the enclave showed, and the lines
    /// of a policy that would pin it.
    Node(node::Args),
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Evidence(args) => evidence::run(*args, cx.output),
        Command::Rim(args) => rim::run(&args, cx.output),
        Command::Proof(args) => proof::run(*args, cx.output).await,
        Command::Node(args) => node::run(args, cx).await,
    }
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Accepted => Exit::Yes,
        Verdict::Rejected => Exit::No,
        Verdict::Undetermined => Exit::Trouble,
    }
}
