//! A way to a node that a policy accepts.

use crate::{
    args::{NodeArg, PolicyArg},
    context::Context,
    error::Failure,
    explain, files, progress,
};
use glacier::{Freshness, Key, Node, Policy, Session};
use glacier_wire::Digest;
use std::path::Path;

/// A node, what is accepted of it, and who calls.
pub(crate) struct Door {
    pub(crate) node: Node,
    pub(crate) policy: Policy,
    pub(crate) key: Key,
}

impl Door {
    /// Reads the policy and the key. Nothing is sent yet.
    pub(crate) fn find(node: &NodeArg, policy: &PolicyArg, cx: &Context) -> Result<Self, Failure> {
        Ok(Self { node: self::node(&node.node)?, policy: files::policy(&policy.policy)?, key: cx.key()? })
    }

    /// Attests the enclave. Nothing private is sent before it is accepted.
    pub(crate) async fn open(&self, freshness: Freshness, cx: &Context) -> Result<Session, Failure> {
        let spinner = progress::spinner(cx.output, "attesting");
        let session = self.node.connect(&self.policy, self.key.identity(), freshness).await;
        spinner.finish_and_clear();
        session.map_err(explain::connect)
    }

    /// Brings a sealed file to the node, with a bar. What is there already is not sent again.
    pub(crate) async fn upload(&self, asset: &Digest, file: &Path, cx: &Context) -> Result<(), Failure> {
        let bar = progress::bytes(cx.output, "uploading", 0);
        let uploaded = self.node.upload(asset, file, &mut progress::follow(&bar)).await;
        bar.finish_and_clear();
        uploaded.map_err(explain::node)
    }
}

/// The node at an address.
pub(crate) fn node(url: &str) -> Result<Node, Failure> {
    Node::at(url).map_err(explain::node)
}
