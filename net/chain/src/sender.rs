//! Calls that happen once, and what came of them.

use crate::{Boxed, Chain, Intent, IntentId, Mined, Outbox, OutboxError, Outcome, contracts};
use alloy::primitives::{Address, Bytes};
use std::sync::Arc;

/// A chain, and the outbox of the key that pays there. Clones share both.
#[derive(Debug, Clone)]
pub struct Sender {
    chain: Chain,
    outbox: Arc<Outbox>,
}

/// Why a call had no effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The contract said no.
    #[error("{what}: {reason}")]
    Refused {
        /// Name of the call.
        what: String,
        /// The contract's error, in words.
        reason: String,
    },
    /// Chain or disk. The call is not lost: the next attempt goes on with it.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

impl Sender {
    /// Sends from this outbox to this chain.
    pub fn new(chain: Chain, outbox: Outbox) -> Self {
        Self { chain, outbox: Arc::new(outbox) }
    }

    /// Where calls go.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Who pays.
    pub fn address(&self) -> Address {
        self.outbox.address()
    }

    /// What is under way.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Makes the call that `key` names, once, and waits until it is final. A call of that name that is
    /// under way, from before a crash too, is followed instead; one that succeeded is not made again; one
    /// that was refused is made anew.
    ///
    /// # Errors
    /// The contract's refusal; or chain or disk, and then the call goes on with the next attempt.
    pub async fn call(&self, key: &str, to: Address, data: impl Into<Bytes>) -> Result<Mined, SendError> {
        self.perform(Intent::call(key, to, data), None).await
    }

    /// [`Sender::call`] for what can become due again: a call of that name that succeeded in block `since` or before does not
    /// count. `since` is the head before one saw that the call is due.
    ///
    /// # Errors
    /// As [`Sender::call`].
    pub async fn call_since(
        &self,
        since: u64,
        key: &str,
        to: Address,
        data: impl Into<Bytes>,
    ) -> Result<Mined, SendError> {
        self.perform(Intent::call(key, to, data), Some(since)).await
    }

    /// Deploys a contract, once, and tells where it is and in which block it came there.
    ///
    /// # Errors
    /// As [`Sender::call`].
    pub async fn deploy(&self, key: &str, code: impl Into<Bytes>) -> Result<(Address, u64), SendError> {
        let mined = self.perform(Intent::deploy(key, code), None).await?;
        let refused = || SendError::Refused { what: key.to_owned(), reason: "no contract came of it".into() };
        Ok((mined.contract.ok_or_else(refused)?, mined.block))
    }

    /// Follows all that is under way until it is final, what it comes to aside.
    ///
    /// # Errors
    /// Chain or disk.
    pub async fn drain(&self) -> Result<(), SendError> {
        for pending in self.outbox.pending()? {
            self.follow(pending.id).await?;
        }
        Ok(())
    }

    fn perform(&self, intent: Intent, since: Option<u64>) -> Boxed<'_, Result<Mined, SendError>> {
        Box::pin(async move {
            loop {
                let (id, fresh) = self.outbox.submit_anew(intent.clone(), since)?;
                let reason = match self.follow(id).await? {
                    Outcome::Mined(mined) => return Ok(mined),
                    Outcome::Reverted { data, reason, .. } => {
                        contracts::refusal(&data).or(reason).unwrap_or_else(|| "reverted".into())
                    }
                    Outcome::Refused { data, reason } => contracts::refusal(&data).unwrap_or(reason),
                };
                // What was under way from before may have failed for a reason that is gone.
                if fresh {
                    return Err(SendError::Refused { what: intent.key, reason });
                }
            }
        })
    }

    async fn follow(&self, id: IntentId) -> Result<Outcome, OutboxError> {
        loop {
            if let Some(outcome) = self.outbox.outcome(id)? {
                return Ok(outcome);
            }
            let progress = self.outbox.drive(&self.chain).await?;
            for (id, why) in &progress.refused {
                tracing::warn!(intent = id.0, why, "the chain does not take a transaction");
            }
            // A chain in this process has mined what it took.
            let mined = self.chain.as_embedded().is_some() && !progress.signed.is_empty();
            if progress.closed.is_empty() && !mined {
                tokio::time::sleep(self.chain.poll()).await;
            }
        }
    }
}
