//! Calls that happen once, and what came of them.

use crate::{Chain, Intent, Mined, Outbox, OutboxError, Outcome};
use alloy::primitives::{Address, Bytes};
use std::{sync::Arc, time::Duration};

/// A chain, and the outbox of the key that pays there. Clones share both.
#[derive(Debug, Clone)]
pub struct Sender {
    chain: Chain,
    outbox: Arc<Outbox>,
}

/// Between two looks at a transaction that is under way.
const PAUSE: Duration = Duration::from_millis(500);
/// The same on a chain in this process.
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// How often an action that the chain refused is tried anew under the same name.
const ATTEMPTS: u32 = 1000;

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
        self.perform(Intent::call(key, to, data)).await
    }

    /// Deploys a contract, once, and tells where it is.
    ///
    /// # Errors
    /// As [`Sender::call`].
    pub async fn deploy(&self, key: &str, code: impl Into<Bytes>) -> Result<Address, SendError> {
        let mined = self.perform(Intent::deploy(key, code)).await?;
        mined
            .contract
            .ok_or_else(|| SendError::Refused { what: key.to_owned(), reason: "no contract came of it".into() })
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

    async fn perform(&self, intent: Intent) -> Result<Mined, SendError> {
        let name = intent.key.clone();
        for attempt in 0..ATTEMPTS {
            let key = if attempt == 0 { name.clone() } else { format!("{name}~{attempt}") };
            let (id, fresh) = match self.outbox.find(&key)? {
                Some(id) => (id, false),
                None => (self.outbox.submit(Intent { key, ..intent.clone() })?, true),
            };
            let reason = match self.follow(id).await? {
                Outcome::Mined(mined) => return Ok(mined),
                Outcome::Reverted { reason, .. } => reason.unwrap_or_else(|| "reverted".into()),
                Outcome::Refused { reason, .. } => reason,
            };
            if fresh {
                return Err(SendError::Refused { what: name, reason });
            }
        }
        Err(SendError::Refused { what: name, reason: "refused too often".into() })
    }

    async fn follow(&self, id: crate::IntentId) -> Result<Outcome, OutboxError> {
        let pause = if self.chain.as_embedded().is_some() { SHORT_PAUSE } else { PAUSE };
        loop {
            if let Some(outcome) = self.outbox.outcome(id)? {
                return Ok(outcome);
            }
            let _ = self.outbox.drive(&self.chain).await?;
            if let Some(outcome) = self.outbox.outcome(id)? {
                return Ok(outcome);
            }
            tokio::time::sleep(pause).await;
        }
    }
}
