//! A host that does what a hostile operator would. For tests of everybody else: no configuration and
//! no command line leads here.

use std::sync::Arc;

use glacier_wire::{
    Digest,
    api::{HostReply, HostRequest},
};

use crate::{config::NodeConfig, error::HostError, node::Node};

/// Which way relayed bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the enclave.
    ToEnclave,
    /// From the enclave to the client.
    ToClient,
}

/// Sits in the middle of all that a host carries. It sees and may alter everything; by default it
/// alters nothing. Calls come from several threads.
pub trait Meddler: Send + Sync + 'static {
    /// Bytes about to be passed on between client and enclave. Connections count from one.
    fn relayed(&self, connection: u64, direction: Direction, bytes: &mut Vec<u8>) {
        let _ = (connection, direction, bytes);
    }

    /// A request of the enclave, before the host acts on it.
    fn called(&self, request: &mut HostRequest) {
        let _ = request;
    }

    /// The answer, before it is sent.
    fn answered(&self, request: &HostRequest, reply: &mut HostReply) {
        let _ = (request, reply);
    }

    /// Bytes that a client uploads, before they are stored.
    fn uploaded(&self, asset: &Digest, bytes: &mut Vec<u8>) {
        let _ = (asset, bytes);
    }
}

/// [`Node::start`] with somebody in the middle.
///
/// # Errors
/// As of [`Node::start`].
pub async fn start(config: NodeConfig, meddler: Arc<dyn Meddler>) -> Result<Node, HostError> {
    Node::start_with(config, Some(meddler)).await
}
