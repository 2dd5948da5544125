//! Everything that can go wrong on the client's side, sorted by who can put it right.

use crate::{
    input::InputError, job::JobError, keystore::KeystoreError, node::NodeError, output::OutputError,
    policy::PolicyError, seal::SealError, session::ConnectError, session::RequestError,
};
use glacier_channel::ChannelError;
use glacier_proof::{ProofCheckId, ProofFault};
use glacier_wire::{
    BadSignature,
    api::{Refusal, RefusalCode},
    cbor::CborError,
};

/// Why a call of this crate has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // What the caller brought.
    /// The keystore says no.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The job document cannot be used.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A file was not sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The input is no table and no tensor.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The result cannot be read or written as wanted.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The manifest does not give this key that role.
    #[error("the manifest does not name this key in that role")]
    NotYourRole,
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes")]
    Random,

    // What the host and the network do.
    /// The node's host does not do its part.
    #[error(transparent)]
    Node(#[from] NodeError),

    // What the enclave is, and what it says.
    /// There is no session with an acceptable enclave.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The manifest was signed for another enclave than this session's: no key was released.
    #[error("the manifest names another {0} than the enclave of this session has")]
    Elsewhere(Place),
    /// The enclave's evidence names no chip (a VLEK, or a masked chip key), and a manifest must name one.
    #[error("the enclave's evidence names no chip")]
    NoChip,
    /// A request has no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The job ended without a result.
    #[error(transparent)]
    Refused(Refusal),

    // What must not be believed.
    /// The result is not the one that an accepted enclave proves: it was not opened, or is not handed out.
    #[error("the result is not proved: {0}")]
    Unproved(#[from] Unproved),
}

/// In which respect an enclave is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its code.
    Code,
    /// Its hardware.
    Chip,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Code => "code measurement",
            Self::Chip => "Enclave ID",
        })
    }
}

/// Why a result is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproved {
    /// A check of the proof itself does not hold.
    #[error("{check}: {fault}")]
    Check {
        /// Which.
        check: ProofCheckId,
        /// What it found.
        fault: ProofFault,
    },
    /// The proof beside an answer is missing or cannot be read.
    #[error("the proof cannot be read: {0}")]
    Unreadable(CborError),
    /// The signature is not the named key's.
    #[error("{0}")]
    Signature(BadSignature),
    /// Signed by another key than this session's enclave holds.
    #[error("the proof is signed by another enclave key than this session's")]
    OtherEnclave,
    /// A proof of another job.
    #[error("the proof is about another job")]
    OtherJob,
    /// A proof about another input than was sent.
    #[error("the proof is about another input")]
    OtherInput,
    /// A proof about another output than was received.
    #[error("the proof is about another output")]
    OtherOutput,
}

/// Who can put it right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Actor {
    /// The caller: another file, key, policy or command.
    Caller,
    /// Another party of the job.
    OtherParty,
    /// Whoever runs the node.
    Operator,
    /// Nobody by trying again: somebody or something is not what it claims to be.
    Nobody,
}

impl Error {
    /// Who can put it right.
    pub fn actor(&self) -> Actor {
        match self {
            Self::Node(_) => Actor::Operator,
            Self::Connect(error) => match error {
                ConnectError::Unreachable(_) | ConnectError::Closed => Actor::Operator,
                ConnectError::Channel(
                    ChannelError::Deadline
                    | ChannelError::Io(_)
                    | ChannelError::NoQuote(_)
                    | ChannelError::OtherProtocol,
                ) => Actor::Operator,
                ConnectError::Evidence { .. } => Actor::Caller,
                _ => Actor::Nobody,
            },
            Self::Request(RequestError::Refused(refusal)) | Self::Refused(refusal) => actor(refusal.code),
            Self::Request(RequestError::Request) => Actor::Caller,
            Self::Request(RequestError::Malformed(_) | RequestError::SetBack { .. }) => Actor::Nobody,
            Self::Request(RequestError::Memory(_)) => Actor::Caller,
            Self::Request(_) => Actor::Operator,
            Self::Unproved(_) => Actor::Nobody,
            _ => Actor::Caller,
        }
    }

    /// The enclave's refusal, where that is what it is.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Request(RequestError::Refused(refusal)) | Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

fn actor(code: RefusalCode) -> Actor {
    match code {
        RefusalCode::AssetMissing
        | RefusalCode::AssetDigest
        | RefusalCode::Busy
        | RefusalCode::Host
        | RefusalCode::Platform => Actor::Operator,
        RefusalCode::ModelInvalid | RefusalCode::ModelUnsupported | RefusalCode::NotReady => Actor::OtherParty,
        _ => Actor::Caller,
    }
}
