//! The logs of a node's enclaves, posted head by head.

use super::{Enclave, Keeper, KeeperError};
use crate::observer::wire;
use glacier_proof::SignedCheckpoint;
use glacier_wire::Address;
use std::time::{Duration, Instant};
use tracing::info;

/// What the ledger has of a log only grows, so it is not asked again at each look; a reorganisation may still have taken
/// back what somebody else sent.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// A key that does not earn is asked about again after this.
const IDLE: Duration = Duration::from_secs(60);

impl<E: Enclave> Keeper<E> {
    /// Settles what has waited long enough, or all there is with `now`. Returns how many proofs that settled. A head that is
    /// refused holds up no other.
    ///
    /// # Errors
    /// The node's logs, the ledger's refusal, or the chain.
    pub async fn settle(&self, now: bool) -> Result<u64, KeeperError> {
        let _turn = self.turn.lock().await;
        let deployment = self.operator.deployment();
        let ledger = wire(deployment.ledger);
        let heads = self.enclave.heads(deployment.chain_id, ledger).await.map_err(KeeperError::Node)?;
        let present = self.present(self.enclave.running().await);
        let (mut proofs, mut refused) = (0u64, None);
        for head in heads {
            match self.settle_one(&head, present, now).await {
                Ok(settled) => proofs = proofs.saturating_add(settled),
                Err(KeeperError::Operator(error)) if error.is_refusal() => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(proofs), |error| Err(error.into()))
    }

    async fn settle_one(
        &self,
        head: &SignedCheckpoint,
        present: Option<Address>,
        now: bool,
    ) -> Result<u64, KeeperError> {
        let (key, size) = (head.checkpoint.enclave_key, head.checkpoint.size);
        let idle = self.state().idle.get(&key).copied().is_some_and(|until| Instant::now() < until);
        if idle && !now {
            return Ok(0);
        }
        let waiting = size.saturating_sub(self.settled(&key, now).await?);
        if waiting == 0 {
            self.state().waiting.remove(&key);
            return Ok(0);
        }
        let since = *self.state().waiting.entry(key).or_insert_with(Instant::now);
        // Nobody adds to a former enclave's log, and its days are counted.
        let due = now || present != Some(key) || waiting >= self.terms.proofs || since.elapsed() >= self.terms.wait;
        if !due {
            return Ok(0);
        }
        if !self.operator.life(&key).await?.earns {
            let again = Instant::now().checked_add(IDLE);
            self.state().idle.extend(again.map(|again| (key, again)));
            return Ok(0);
        }
        let sent = self.operator.settle(head).await?.is_some();
        let mut state = self.state();
        state.waiting.remove(&key);
        state.settled.insert(key, (size, Instant::now()));
        if !sent {
            // Somebody else had.
            return Ok(0);
        }
        info!(%key, size, "work is settled");
        Ok(waiting)
    }

    /// Proofs of a key that are settled: at least so many, unless they are asked for `anew`.
    async fn settled(&self, key: &Address, anew: bool) -> Result<u64, KeeperError> {
        let known = self.state().settled.get(key).copied();
        if let Some((size, _)) = known.filter(|(_, asked)| !anew && asked.elapsed() < ASK_AGAIN) {
            return Ok(size);
        }
        let size = self.operator.settled(key).await?;
        self.state().settled.insert(*key, (size, Instant::now()));
        Ok(size)
    }
}
