//! What goes wrong, as the exceptions of the package: who must act decides the class, and each says what to do.

use crate::check::{self, Line};
use glacier::{
    ChannelError, Error, FileError,
    input::InputError,
    keystore::KeystoreError,
    node::NodeError,
    policy::PolicyError,
    seal::SealError,
    session::{ConnectError, RequestError},
    wire::api::{Refusal, RefusalCode},
};
use pyo3::{prelude::*, types::PyDict};

/// Which exception; the names are those of the classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Glacier,
    NodeUnreachable,
    NotAccepted,
    Refused,
    ProofInvalid,
    Policy,
    Data,
    Key,
    Seal,
    Cancelled,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Glacier => "GlacierError",
            Self::NodeUnreachable => "NodeUnreachable",
            Self::NotAccepted => "NotAccepted",
            Self::Refused => "Refused",
            Self::ProofInvalid => "ProofInvalid",
            Self::Policy => "PolicyError",
            Self::Data => "DataError",
            Self::Key => "KeyStoreError",
            Self::Seal => "SealError",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// One thing that went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    help: String,
    code: Option<&'static str>,
    checks: Vec<Line>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: help.into(), code: None, checks: Vec::new() }
    }

    /// The same, with what it is about in front.
    pub(crate) fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The exception, ready to be raised.
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        let made = || -> PyResult<PyErr> {
            let class = py.import("glacier_tee.errors")?.getattr(self.kind.class())?;
            let members = PyDict::new(py);
            members.set_item("help", &self.help)?;
            if let Some(code) = self.code {
                members.set_item("code", code)?;
            }
            if self.kind == Kind::NotAccepted {
                members.set_item("checks", check::to_json(&self.checks))?;
            }
            Ok(PyErr::from_value(class.call((&self.message,), Some(&members))?))
        };
        made().unwrap_or_else(|error| error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Keystore(error) => error.into(),
            Error::Policy(error) => error.into(),
            Error::Seal(error) => error.into(),
            Error::Input(error) => error.into(),
            Error::Node(error) => error.into(),
            Error::Connect(error) => error.into(),
            Error::Request(error) => request(error, message),
            Error::Refused(error) => refused(&error),
            Error::Output(_) => {
                Self::new(Kind::Data, message, "the model gives outputs that do not fit together; tell its owner")
            }
            Error::Unproved(_) => Self::new(
                Kind::ProofInvalid,
                message,
                "do not use this result; show this message to the node's operator",
            ),
            Error::Elsewhere(_) => {
                Self::new(Kind::NotAccepted, message, "connect to the node that the job names, or start again")
            }
            _ => Self::new(Kind::Glacier, message, "try again; if it stays, ask the node's operator"),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let message = error.to_string();
        match error {
            ConnectError::Unreachable(_) | ConnectError::Closed => unreachable(message),
            ConnectError::Evidence { checks, .. } => Self {
                checks: check::lines(&checks),
                ..Self::new(
                    Kind::NotAccepted,
                    message,
                    "nothing was sent; `.checks` lists what was looked at; change the policy only if you trust what it shows",
                )
            },
            ConnectError::Collateral(_) => Self::new(
                Kind::NotAccepted,
                message,
                "nothing was sent; ask the operator to mend the node's collateral",
            ),
            // A way that broke down says nothing of who stands at its end.
            ConnectError::Channel(ChannelError::Io(_) | ChannelError::Deadline) => Self::new(
                Kind::NodeUnreachable,
                message,
                "nothing private was sent; try again, and if it stays, see what `glacier node status` says",
            ),
            ConnectError::Channel(ChannelError::NoQuote(_)) => Self::new(
                Kind::NodeUnreachable,
                message,
                "nothing private was sent; try again, and if it stays, ask the node's operator",
            ),
            ConnectError::Channel(ChannelError::IdentityRefused) => Self::new(
                Kind::Refused,
                message,
                "connect again, or with another key; if it stays, the node may run another version than this package",
            ),
            _ => Self::new(
                Kind::NotAccepted,
                message,
                "nothing private was sent; try again, and if it stays, somebody stands between you and the enclave",
            ),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let message = error.to_string();
        match error {
            NodeError::Unreachable => unreachable(message),
            NodeError::Address => Self::new(Kind::NodeUnreachable, message, "pass the address as http://HOST:PORT"),
            NodeError::Full => Self::new(Kind::NodeUnreachable, message, "ask the operator to make room"),
            NodeError::File(fault) => Self::new(Kind::Glacier, message, file(fault)),
            _ => Self::new(Kind::NodeUnreachable, message, "check the address: what answers may be no Glacier node"),
        }
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        let help = match &error {
            PolicyError::Unknown { meant: Some(meant), .. } => format!("did you mean `{meant}`?"),
            PolicyError::File(fault) => file(*fault).to_owned(),
            _ => "`glacier node run --write-policy FILE` writes one; docs/attestation.md lists the members".to_owned(),
        };
        Self::new(Kind::Policy, error.to_string(), help)
    }
}

impl From<KeystoreError> for Failure {
    fn from(error: KeystoreError) -> Self {
        let help = match &error {
            KeystoreError::NoHome => "pass a folder to Keystore, or set GLACIER_HOME".to_owned(),
            KeystoreError::Open(path) => format!("close it: chmod go-rwx {}", path.display()),
            KeystoreError::Exists(_) => "choose another name; keys are never replaced".to_owned(),
            KeystoreError::Missing(_) => "make it with Keystore.create, or pick one of Keystore.names()".to_owned(),
            KeystoreError::File(fault) => file(*fault).to_owned(),
            _ => "restore the file from a backup, or use the keystore that wrote it".to_owned(),
        };
        Self::new(Kind::Key, error.to_string(), help)
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        let message = error.to_string();
        match error {
            SealError::Keystore(error) => error.into(),
            SealError::Read(fault) | SealError::Write(fault) => Self::new(Kind::Seal, message, file(fault)),
            SealError::TooLarge { .. } => Self::new(Kind::Seal, message, "open it into a file instead"),
            _ => Self::new(Kind::Seal, message, "pass the file as it was sealed, and the key that it was sealed to"),
        }
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        let help = match &error {
            InputError::TooLarge { .. } => "send fewer rows at once",
            InputError::MissingColumn(_) => "add the column, or rename the one that is meant",
            InputError::ColumnTwice(_) => "drop one of the two columns",
            InputError::Unfit(_) => "mend the numbers, or see that each column is the one that the model wants",
            InputError::Dtype => "convert it with x.astype(numpy.float32)",
            InputError::Format => "name a file that ends in .csv, .npy or .npz",
            _ => "mend the data",
        };
        Self::new(Kind::Data, error.to_string(), help)
    }
}

fn unreachable(message: String) -> Failure {
    Failure::new(Kind::NodeUnreachable, message, "check the address, and that `glacier node run` runs there")
}

fn request(error: RequestError, message: String) -> Failure {
    match error {
        RequestError::Refused(error) => refused(&error),
        RequestError::Cut | RequestError::Deadline => Failure::new(
            Kind::NodeUnreachable,
            message,
            "connect again; if it stays, see what `glacier node status` says",
        ),
        RequestError::TooLarge { .. } => Failure::new(Kind::Data, message, "ask about fewer rows at once"),
        _ => Failure::new(Kind::Glacier, message, "the node may run another version than this package"),
    }
}

fn refused(refusal: &Refusal) -> Failure {
    use RefusalCode as Code;
    let help = match refusal.code {
        Code::NotFound => "check the name; after a restart the enclave knows no earlier deployment",
        Code::NotYours => "pass the key that the job names",
        Code::GrantExhausted => "ask the model's owner to serve it again with more runs",
        Code::ModelInvalid | Code::ModelUnsupported => "export the model again: ONNX, opset and sizes as the docs say",
        Code::DataInvalid => "mend the data: the message names what does not fit",
        Code::MemoryLimit => "pass a larger memory=",
        Code::UnitLimit => "pass a larger units=",
        Code::TooLarge => "send fewer rows at once",
        Code::Busy | Code::NotReady => "try again later",
        Code::EngineCrashed => "try another export of the model; nothing else was touched",
        Code::GrantExpired | Code::JobExpired => "start again, with a larger expires=",
        _ => "ask the node's operator",
    };
    let message = format!("the enclave refused: {refusal}");
    Failure { code: Some(refusal.code.as_str()), ..Failure::new(Kind::Refused, message, help) }
}

fn file(fault: FileError) -> &'static str {
    match fault {
        FileError::Exists => "move the file away, or name another",
        FileError::Missing => "check the path",
        FileError::Denied => "check who may read and write there",
        FileError::Full => "make room on the disk",
        _ => "check the disk and the path",
    }
}
