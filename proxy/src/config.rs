//! What a proxy is told when it starts.

use glacier::{Freshness, wire::ManifestHash};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// How a proxy serves. Node, policy and key are handed in beside it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients call. Another address than a loopback one needs `danger_listen_anywhere`.
    pub listen: SocketAddr,
    /// Lets other machines call. What they send, and what they get, is plain text on the way to this proxy.
    pub danger_listen_anywhere: bool,
    /// Names of this machine that clients call by, beside those of loopback. Another name is refused, since a page in a
    /// browser can make its own point here.
    pub names: Vec<String>,
    /// Deployments under names that people can type.
    pub models: Vec<ModelName>,
    /// How text becomes tokens; without it there are no embeddings of text.
    pub text: Option<Text>,
    /// Where each proof is kept as a file; without it the latest are kept in memory alone.
    pub proofs: Option<PathBuf>,
    /// Most bytes of a request's body, before and after it is inflated.
    pub max_body: usize,
    /// Most sessions at a time. Each does one request at a time; who finds all at work waits.
    pub sessions: usize,
    /// Age at which a session ends and the enclave is attested again.
    pub reattest: Duration,
    /// Whether the chip makes a new quote for each session.
    pub freshness: Freshness,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8484)),
            danger_listen_anywhere: false,
            names: Vec::new(),
            models: Vec::new(),
            text: None,
            proofs: None,
            max_body: 64 << 20,
            sessions: 8,
            reattest: Duration::from_secs(600),
            freshness: Freshness::Cached,
        }
    }
}

/// A deployment under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    /// What clients call it.
    pub name: String,
    /// What the node calls it.
    pub deployment: ManifestHash,
}

/// Not `NAME=DEPLOYMENT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a model is named NAME=DEPLOYMENT: letters, digits and . _ -, then the 64 digits that `glacier serve` printed")]
pub struct NotAModelName;

/// Longest name of a model.
const MAX_NAME: usize = 128;

impl FromStr for ModelName {
    type Err = NotAModelName;

    fn from_str(text: &str) -> Result<Self, NotAModelName> {
        let (name, deployment) = text.split_once('=').ok_or(NotAModelName)?;
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fine) {
            return Err(NotAModelName);
        }
        let deployment = deployment.parse().map_err(|_| NotAModelName)?;
        Ok(Self { name: name.to_owned(), deployment })
    }
}

/// From text to vectors, on this machine.
#[derive(Debug, Clone)]
pub struct Text {
    /// The model's `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// How the vectors of a text's tokens become one.
    pub pooling: Pooling,
    /// Whether vectors are scaled to length one.
    pub normalise: bool,
    /// Most tokens of one text, the special ones included. Longer text is refused, never cut.
    pub max_tokens: usize,
}

/// How many vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over the tokens that the mask names.
    Mean,
    /// The first token's.
    First,
}

impl FromStr for Pooling {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "mean" => Ok(Self::Mean),
            "first" => Ok(Self::First),
            _ => Err("pooling is `mean` or `first`"),
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::First => "first",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_by_name_and_hash() {
        let hash = ManifestHash([7; 32]);
        let named: ModelName = format!("mini-lm={hash}").parse().unwrap();
        assert_eq!(named, ModelName { name: "mini-lm".to_owned(), deployment: hash });
        for bad in
            ["x", "=12", "x=12", &format!("a/b={hash}"), &format!("={hash}"), &format!("{}={hash}", "x".repeat(129))]
        {
            assert_eq!(bad.parse::<ModelName>(), Err(NotAModelName), "{bad}");
        }
    }
}
