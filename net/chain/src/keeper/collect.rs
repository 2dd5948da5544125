//! What jobs have paid in for the proofs of a node's enclaves.

use super::{Enclave, Keeper, KeeperError};
use crate::{
    observer::wire,
    release::{Ground, Job},
};
use alloy::primitives::Address;
use glacier_proof::{SignedCheckpoint, SignedProof};
use glacier_wire::EnclaveId;
use std::collections::BTreeMap;
use tracing::{debug, warn};

/// Proofs that are credited in one look, so that settlement does not wait for long.
const FEW: u64 = 16;
/// Questions to the chain in one look: strangers set prices, and each priced proof costs some.
const QUESTIONS: u64 = 256;

/// One walk over the logs, and what it has learnt of the chain.
#[derive(Default)]
struct Walk {
    /// Of priced proofs, those that cost at least this, in units of 10^-18.
    least: u64,
    /// Whether it looks at everything once more.
    all: bool,
    /// The chain's time at the beginning.
    now: u64,
    /// Runs that deposits hold, by the chip too: a deposit may be for one.
    deposits: BTreeMap<(Job, EnclaveId), Vec<(Address, u32)>>,
    standing: BTreeMap<glacier_wire::Address, KeyStanding>,
    questions: u64,
    credited: u64,
    refused: u64,
    fault: Option<KeeperError>,
}

#[derive(Clone, Copy)]
struct KeyStanding {
    earns: bool,
    settled: u64,
}

/// What is to be done about a proof.
#[derive(PartialEq, Eq)]
enum Seen {
    /// Nothing more.
    Done,
    /// Nothing before its log is settled that far.
    Later,
}

impl Walk {
    fn is_full(&self) -> bool {
        !self.all && (self.credited >= FEW || self.questions >= QUESTIONS)
    }
}

impl<E: Enclave> Keeper<E> {
    /// Has the escrow credit what proofs of this node's enclaves have earned, each of at least `least` (units of 10^-18): all, or
    /// with `all` unset a few of those that were not looked at before. A proof that is refused holds up no other. Returns how
    /// many were credited.
    ///
    /// # Errors
    /// The node's proofs, or the chain.
    pub async fn collect(&self, least: u64, all: bool) -> Result<u64, KeeperError> {
        let (chain_id, ledger) = (self.operator.deployment().chain_id, wire(self.operator.deployment().ledger));
        let heads = self.enclave.heads(chain_id, ledger).await.map_err(KeeperError::Node)?;
        self.depositors.lock().await.read_on(&self.operator).await?;
        let now = self.operator.sender().chain().head().await.map_err(crate::OperatorError::from)?.timestamp;
        let mut walk = Walk { least: least.max(1), all, now, ..Walk::default() };
        for head in heads {
            match self.collect_of(&head, &mut walk).await {
                // What is wrong with one log is not wrong with the others.
                Err(fault @ KeeperError::Node(_)) => {
                    walk.fault.get_or_insert(fault);
                }
                done => done?,
            }
        }
        if walk.refused > 0 {
            warn!(refused = walk.refused, "the escrow has refused to pay for proofs");
        }
        walk.fault.map_or(Ok(walk.credited), Err)
    }

    async fn collect_of(&self, head: &SignedCheckpoint, walk: &mut Walk) -> Result<(), KeeperError> {
        let key = head.checkpoint.enclave_key;
        let looked_at = self.state().collected.get(&key).copied().unwrap_or_default();
        let first = if walk.all { 0 } else { looked_at };
        for sequence in first..head.checkpoint.size {
            if walk.is_full() {
                break;
            }
            if self.state().paid.contains(&(key, sequence)) {
                continue;
            }
            let Some(signed) = self.enclave.proof(key, sequence).await.map_err(KeeperError::Node)? else { break };
            if self.collect_one(&signed, walk).await? == Seen::Later {
                break;
            }
            let mut state = self.state();
            let looked_at = state.collected.entry(key).or_default();
            *looked_at = sequence.saturating_add(1).max(*looked_at);
        }
        Ok(())
    }

    async fn collect_one(&self, signed: &SignedProof, walk: &mut Walk) -> Result<Seen, KeeperError> {
        let (proof, at) = (&signed.proof, &signed.proof.settlement);
        let deployment = self.operator.deployment();
        if at.price < walk.least || (at.chain_id, at.ledger) != (deployment.chain_id, wire(deployment.ledger)) {
            return Ok(Seen::Done);
        }
        let job = (Job::of(proof), proof.enclave_id);
        if !walk.deposits.contains_key(&job) {
            let mut held = Vec::new();
            for depositor in self.depositors.lock().await.of(&job.0) {
                walk.questions = walk.questions.saturating_add(1);
                held.push((depositor, self.operator.pays(proof, depositor, walk.now).await?));
            }
            walk.deposits.insert(job, held);
        }
        let fitting = walk.deposits.get(&job).into_iter().flatten().filter(|(_, runs)| *runs > 0);
        let fitting: Vec<_> = fitting.map(|(depositor, _)| *depositor).collect();
        if fitting.is_empty() {
            return Ok(Seen::Done);
        }
        let KeyStanding { earns, settled } = self.standing_of(&proof.enclave_key, walk).await?;
        if !earns && proof.sequence >= settled {
            return Ok(Seen::Later);
        }
        let path = match earns {
            true => None,
            false => {
                let path = self.enclave.path(proof.enclave_key, proof.sequence, settled).await;
                let Some(path) = path.map_err(KeeperError::Node)? else { return Ok(Seen::Later) };
                Some(path)
            }
        };
        for depositor in fitting {
            walk.questions = walk.questions.saturating_add(1);
            let ground = path.as_deref().map_or(Ground::Earns, Ground::Settled);
            let paid = {
                let _turn = self.turn.lock().await;
                self.operator.pay(signed, depositor, ground).await
            };
            match paid {
                Ok(now) => {
                    self.state().paid.insert((proof.enclave_key, proof.sequence));
                    let held = walk.deposits.get_mut(&job).into_iter().flatten();
                    for (_, runs) in held.filter(|(by, _)| now && *by == depositor) {
                        *runs = runs.saturating_sub(1);
                    }
                    walk.credited = walk.credited.saturating_add(now.into());
                    return Ok(Seen::Done);
                }
                Err(error) if error.is_refusal() => {
                    debug!(key = %proof.enclave_key, proof.sequence, %depositor, %error, "no pay from this deposit");
                    walk.refused = walk.refused.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Seen::Done)
    }

    async fn standing_of(&self, key: &glacier_wire::Address, walk: &mut Walk) -> Result<KeyStanding, KeeperError> {
        if let Some(known) = walk.standing.get(key) {
            return Ok(*known);
        }
        walk.questions = walk.questions.saturating_add(1);
        let earns = self.operator.life(key).await?.earns;
        let standing = KeyStanding { earns, settled: self.operator.settled(key).await? };
        walk.standing.insert(*key, standing);
        Ok(standing)
    }
}
