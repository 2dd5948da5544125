//! Which ledger a job's Work Proof counts at.

use crate::node::{Node, NodeError};
use glacier_wire::{Address, Settlement};

/// Where a Work Proof is to count: what a manifest names, and all its parties sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Settle {
    /// Where the node settles, by its host's word; nowhere, where it names no ledger. A host that lies keeps its own
    /// pay: the proof counts elsewhere, or nowhere. Nothing else hangs on the word.
    #[default]
    AsNode,
    /// Nowhere: the proof is as good, and nobody earns by it.
    Nowhere,
    /// At this ledger.
    At {
        /// EIP-155 chain id.
        chain_id: u64,
        /// The contract, `WorkLedger`.
        ledger: Address,
    },
}

impl Settle {
    /// What a manifest says of it. A zero `payer` is filled in by [`Job::propose`](crate::Job::propose).
    ///
    /// # Errors
    /// The node was to be asked, and does not answer.
    pub async fn settlement(self, node: &Node, payer: Address, price: u64) -> Result<Settlement, NodeError> {
        let (chain_id, ledger) = match self {
            Self::AsNode => node.settles().await?.unwrap_or((0, Address::ZERO)),
            Self::Nowhere => (0, Address::ZERO),
            Self::At { chain_id, ledger } => (chain_id, ledger),
        };
        Ok(Settlement { chain_id, ledger, payer, price })
    }
}
