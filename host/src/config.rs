//! What an operator can set.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::error::HostError;

/// A node's settings. In TOML every member but `home` may be left out; unknown ones are refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Where the one TCP port listens. Default `127.0.0.1:8480`; port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The node's folder: store, proofs, the simulated chip's state, sockets. Made private to the user.
    pub home: PathBuf,
    /// The program that plays the chip. Default: `glacier-chip` beside this program.
    #[serde(default = "default_chip")]
    pub chip: PathBuf,
    /// The enclave program. Default: `glacier-enclave` beside this program.
    #[serde(default = "default_enclave")]
    pub enclave: PathBuf,
    /// Most bytes of ciphertext kept, an eighth of them for what the enclave brings. Default 64 GiB.
    #[serde(default = "default_max_store_bytes")]
    pub max_store_bytes: u64,
    /// Most connections at once: so many relayed, and so many to the host's own API. Default 512.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// A relayed connection without a byte either way for so many seconds is closed. Default 600.
    #[serde(default = "default_idle_seconds")]
    pub idle_seconds: u64,
    /// An unfinished upload that nobody continued for so many seconds is removed. Default one day.
    #[serde(default = "default_upload_seconds")]
    pub upload_seconds: u64,
    /// Ciphertext that nobody has brought or read for so many days is removed, but for checkpoints of what goes on. Default 30; 0
    /// keeps all.
    #[serde(default = "default_blob_days")]
    pub blob_days: u64,
    /// Seconds that open connections have to end by themselves once the node is to end. Default 5; what is still open
    /// then is closed, and clients take up again what they were at.
    #[serde(default = "default_drain_seconds")]
    pub drain_seconds: u64,
    /// Other nodes that the enclave may have this host connect to, each `HOST:PORT`, to the letter. Default: none.
    #[serde(default)]
    pub dial: Vec<String>,
    /// Root of a collector of OTLP over HTTP, for spans. Like the chain it is for whoever starts the node. Default: none.
    #[serde(default)]
    pub traces: Option<String>,
    /// The chain that the node settles on. Default: one of its own, in this process.
    #[serde(default)]
    pub chain: ChainConfig,
}

/// The chain that a node settles on. Every member may be left out. The host itself does nothing with
/// it: whoever starts the node reads it here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainConfig {
    /// Whether the node registers and settles at all. Default true.
    pub enabled: bool,
    /// JSON-RPC of a chain that others keep (`http` or `https`). Default: none, a chain inside this process.
    pub rpc: Option<String>,
    /// The contracts, as `glacier chain deploy` wrote them. Default: `chain/deployment.json` in the home; the chain
    /// inside this process deploys its own.
    pub deployment: Option<PathBuf>,
    /// Blocks, its own included, until a transaction on a chain of others is final. Default 12.
    pub confirmations: u64,
    /// Where the chain inside this process answers JSON-RPC, on loopback. Default `127.0.0.1:0`, any free port.
    pub listen: SocketAddr,
    /// Settle once so many proofs wait. Default 64.
    pub checkpoint_proofs: u64,
    /// Settle what has waited for so many seconds. Default 600.
    pub checkpoint_seconds: u64,
    /// Whether the node claims by itself what it has earned, once for each root that comes into force. Default true.
    pub claim: bool,
    /// With `claim`: the least price of a proof, in the token's smallest unit, for which the node has the escrow told by itself, at
    /// a transaction each. Default: none, `glacier chain withdraw` does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect_price: Option<u64>,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            rpc: None,
            deployment: None,
            confirmations: 12,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            checkpoint_proofs: 64,
            checkpoint_seconds: 600,
            claim: true,
            collect_price: None,
        }
    }
}

impl NodeConfig {
    /// All defaults around one folder.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            listen: default_listen(),
            home: home.into(),
            chip: default_chip(),
            enclave: default_enclave(),
            max_store_bytes: default_max_store_bytes(),
            max_connections: default_max_connections(),
            idle_seconds: default_idle_seconds(),
            upload_seconds: default_upload_seconds(),
            blob_days: default_blob_days(),
            drain_seconds: default_drain_seconds(),
            dial: Vec::new(),
            traces: None,
            chain: ChainConfig::default(),
        }
    }

    /// Every member of the file and of its table `chain`, for those who misspell one.
    pub const MEMBERS: &[&str] = &[
        "listen",
        "home",
        "chip",
        "enclave",
        "max_store_bytes",
        "max_connections",
        "idle_seconds",
        "upload_seconds",
        "blob_days",
        "drain_seconds",
        "dial",
        "traces",
        "chain",
        "enabled",
        "rpc",
        "deployment",
        "confirmations",
        "checkpoint_proofs",
        "checkpoint_seconds",
        "claim",
        "collect_price",
    ];

    /// A `node.toml` with every member, what it is for, and its default.
    pub const TEMPLATE: &str = include_str!("../node.toml");

    /// Reads `node.toml`.
    ///
    /// # Errors
    /// [`HostError::Config`], which says line and member.
    pub fn from_toml(text: &str) -> Result<Self, HostError> {
        Ok(toml::from_str(text)?)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// `None` keeps all.
    pub(crate) fn blob_age(&self) -> Option<Duration> {
        (self.blob_days > 0).then(|| Duration::from_secs(self.blob_days.saturating_mul(86_400)))
    }

    pub(crate) fn upload_age(&self) -> Duration {
        Duration::from_secs(self.upload_seconds)
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8480))
}

fn default_chip() -> PathBuf {
    beside("glacier-chip")
}

fn default_enclave() -> PathBuf {
    beside("glacier-enclave")
}

fn default_max_store_bytes() -> u64 {
    64 << 30
}

fn default_max_connections() -> usize {
    512
}

fn default_idle_seconds() -> u64 {
    600
}

fn default_upload_seconds() -> u64 {
    24 * 60 * 60
}

fn default_blob_days() -> u64 {
    30
}

fn default_drain_seconds() -> u64 {
    5
}

fn beside(program: &str) -> PathBuf {
    std::env::current_exe().map(|this| this.with_file_name(program)).unwrap_or_else(|_| program.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_enough() {
        assert_eq!(NodeConfig::from_toml("home = '/n'").unwrap(), NodeConfig::new("/n"));
    }

    #[test]
    fn what_is_written_is_read() {
        let config = NodeConfig { idle_seconds: 3, ..NodeConfig::new("/n") };
        assert_eq!(NodeConfig::from_toml(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn the_template_says_every_default() {
        let home = PathBuf::from("/var/lib/glacier/node");
        let written = NodeConfig::from_toml(NodeConfig::TEMPLATE).unwrap();
        assert_eq!(written, NodeConfig::new(home.clone()));
        // With the lines in comments taken in as well, it says the same where they have a default.
        let lines = NodeConfig::TEMPLATE.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line));
        let all: toml::Table = toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        let mut names: Vec<_> = all.keys().chain(all["chain"].as_table().unwrap().keys()).map(String::as_str).collect();
        let mut known = NodeConfig::MEMBERS.to_vec();
        names.sort_unstable();
        // The chain's `listen` has the name of the node's.
        names.dedup();
        known.sort_unstable();
        assert_eq!(names, known);
        let config: NodeConfig = all.try_into().unwrap();
        let (chip, enclave, chain) = (default_chip(), default_enclave(), ChainConfig::default());
        assert_eq!(NodeConfig { chip, enclave, traces: None, chain, ..config }, written);
    }

    #[test]
    fn unknown_members_are_refused() {
        assert!(matches!(NodeConfig::from_toml("home = '/n'\nmax_stor_bytes = 1"), Err(HostError::Config(_))));
    }

    #[test]
    fn a_node_without_a_folder_is_refused() {
        assert!(matches!(NodeConfig::from_toml("listen = '127.0.0.1:1'"), Err(HostError::Config(_))));
    }
}
