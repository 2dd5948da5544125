//! Why a request has no answer, before it is put into the words of a protocol.

use glacier::{
    ChannelError, Error, Unproved,
    attest::Check,
    session::{ConnectError, RequestError},
    wire::api::Refusal,
};

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}; {help}")]
pub struct Fault {
    /// HTTP status that carries it.
    pub status: u16,
    /// Stable word for programs.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: &'static str,
    /// The checks that the enclave went through, where it was refused.
    pub checks: Vec<Check>,
}

impl Fault {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>, help: &'static str) -> Self {
        Self { status, code, message: message.into(), help, checks: Vec::new() }
    }

    /// The caller's own fault.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "bad-request", message, "mend the request")
    }

    /// The body has more bytes than are read.
    pub(crate) fn too_large(max: usize) -> Self {
        let message = format!("the body has more than {max} bytes");
        Self::new(413, "too-large", message, "send fewer rows at once, or start the proxy with a larger --max-body")
    }

    /// Nothing at this path.
    pub(crate) fn nowhere() -> Self {
        Self::new(404, "not-found", "there is nothing at this path", "/openapi.json lists the paths")
    }

    /// Whether the session it came from can go on: the enclave answered, and said no.
    pub(crate) fn is_refusal(error: &RequestError) -> bool {
        matches!(error, RequestError::Refused(_))
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        let said = error.to_string();
        match error {
            ConnectError::Unreachable(_) => Self::new(
                503,
                "node-unreachable",
                said,
                "nothing was sent; check --node, and that `glacier node run` runs there",
            ),
            ConnectError::Evidence { error, checks } => {
                let message =
                    format!("the enclave is not what the policy accepts: check `{}`: {said}", error.check.as_str());
                let help = "nothing was sent; see what the node shows with `glacier verify node`, and change the policy only if you trust that";
                Self { checks, ..Self::new(503, "evidence-rejected", message, help) }
            }
            ConnectError::Collateral(_) => Self::new(
                503,
                "evidence-rejected",
                said,
                "nothing was sent; ask the operator to mend the node's collateral",
            ),
            ConnectError::Channel(ChannelError::Io(_) | ChannelError::Deadline | ChannelError::NoQuote(_)) => {
                Self::new(503, "node", said, "nothing private was sent; try again, and if it stays, ask the operator")
            }
            ConnectError::Channel(ChannelError::IdentityRefused) => Self::new(
                503,
                "identity-refused",
                said,
                "your key's address was sent, and nothing else; try again, and if it stays, compare `glacier --version` with the node's",
            ),
            ConnectError::Channel(_) => Self::new(
                503,
                "channel",
                said,
                "nothing private was sent; try again, and if it stays, somebody stands between you and the enclave",
            ),
            _ => Self::new(503, "node", said, "nothing was sent; try again, and if it stays, ask the operator"),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let message = format!("the enclave refused: {refusal}");
        Self::new(
            refusal.code.status(),
            refusal.code.as_str(),
            message,
            "mend the request, or ask who serves the model",
        )
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        let said = error.to_string();
        match error {
            RequestError::Refused(refusal) => refusal.into(),
            RequestError::Cut => {
                Self::new(503, "session-cut", said, "the host cut the session or the enclave ended: try again")
            }
            RequestError::Deadline => Self::new(504, "deadline", said, "try again with fewer rows at once"),
            RequestError::Request => Self::new(400, "bad-request", said, "mend the request"),
            _ => Self::new(502, "node", said, "the node may run another version; compare `glacier --version`"),
        }
    }
}

impl From<Unproved> for Fault {
    fn from(error: Unproved) -> Self {
        let message = format!("the answer is not proved and is not handed out: {error}");
        Self::new(502, "unproved", message, "show this message to the node's operator")
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Connect(error) => error.into(),
            Error::Request(error) => error.into(),
            Error::Unproved(error) => error.into(),
            other => Self::new(500, "client", other.to_string(), "try again with a newer glacier"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn a_handshake_that_ended_early_is_no_attack() {
        let said = |error| {
            let fault = Fault::from(ConnectError::Channel(error));
            (fault.code, fault.help.contains("somebody stands between"))
        };
        assert_eq!(said(ChannelError::Io(ErrorKind::ConnectionReset)), ("node", false));
        assert_eq!(said(ChannelError::Deadline), ("node", false));
        assert_eq!(said(ChannelError::IdentityRefused), ("identity-refused", false));
        assert_eq!(said(ChannelError::Relayed), ("channel", true));
    }
}
