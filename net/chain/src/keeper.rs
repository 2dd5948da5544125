//! Keeps an enclave registered and its work settled and paid, beside the node that runs it.

use crate::{Bond, Operator, OperatorError, OutboxError, SendError, observer::wire};
use alloy::primitives::{Address, B256, U256};
use glacier_proof::{SignedCheckpoint, SignedProof};
use glacier_wire::{EnclaveId, api::RegistrationOrder};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// What a keeper asks of the node.
pub trait Enclave: Send + Sync + 'static {
    /// The enclave that runs now.
    fn running(&self) -> Option<Running>;

    /// Has heads signed for this ledger from now on.
    fn settle_at(&self, chain_id: u64, ledger: glacier_wire::Address);

    /// Has the enclave's key quoted for a registry. The error is for people.
    fn quote(&self, order: RegistrationOrder) -> impl Future<Output = Result<Quoted, String>> + Send;

    /// The newest signed heads for a ledger, of former enclaves too. The error is for people.
    fn heads(
        &self,
        chain_id: u64,
        ledger: glacier_wire::Address,
    ) -> impl Future<Output = Result<Vec<SignedCheckpoint>, String>> + Send;

    /// The proof of a key with this number, if it is here. The error is for people.
    fn proof(
        &self,
        key: glacier_wire::Address,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<SignedProof>, String>> + Send;
}

/// An enclave that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// The chip.
    pub enclave_id: EnclaveId,
    /// Another for each start.
    pub start: u64,
}

/// A registration's quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// The key that it is about.
    pub enclave_key: glacier_wire::Address,
    /// In the form in which the hardware gives it.
    pub quote: Vec<u8>,
    /// What judges it, where the platform brings it.
    pub collateral: Option<Vec<u8>>,
}

/// When a keeper acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Settle once so many proofs wait.
    pub proofs: u64,
    /// Settle what waits so long.
    pub wait: Duration,
    /// Renew a life that ends so soon.
    pub renew_before: Duration,
    /// Between two looks.
    pub pause: Duration,
    /// Between two looks for something to claim; none leaves that to others. Each root that comes into force is claimed from
    /// once, whatever it gives: tokens have no price here that could be held against gas.
    pub claim: Option<Duration>,
    /// The least price of a proof for which the escrow is told by itself, in units of 10^-18; none leaves that to
    /// [`Keeper::withdraw`]. Each costs a transaction, and strangers set the price.
    pub collect: Option<u64>,
}

impl Default for Terms {
    /// 64 proofs, ten minutes, three days, two seconds, a minute; nothing is collected by itself.
    fn default() -> Self {
        let (wait, renew_before) = (Duration::from_secs(600), Duration::from_secs(3 * 86_400));
        let (pause, claim) = (Duration::from_secs(2), Some(Duration::from_secs(60)));
        Self { proofs: 64, wait, renew_before, pause, claim, collect: None }
    }
}

/// How an operator stands on the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether the network trusts a simulated vendor's root.
    pub simulated: bool,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// `WorkLedger`: what manifests name.
    pub ledger: Address,
    /// Who is paid.
    pub owner: Address,
    /// The chip that runs.
    pub enclave_id: Option<EnclaveId>,
    /// Its key, once it was registered.
    pub enclave_key: Option<glacier_wire::Address>,
    /// Until when the key is live, seconds since 1970.
    pub live_until: Option<u64>,
    /// Whether the key's work is settled now.
    pub earns: bool,
    /// Proofs of that key that are settled.
    pub settled: u64,
    /// Units (multiply-accumulates) of that key that are settled: what is paid for.
    pub units: u64,
    /// Tokens of the owner, in units of 10^-18.
    pub balance: U256,
    /// What the owner has behind the chip.
    pub bond: Bond,
    /// Transactions that are under way.
    pub under_way: u64,
    /// What went wrong last, if it is not mended yet.
    pub fault: Option<String>,
}

/// What a keeper could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// There is no enclave now.
    #[error("no enclave runs")]
    NoEnclave,
    /// The chip is out for good.
    #[error("the registry has barred this chip: it was revoked by its vendor, or has signed two histories")]
    Barred,
    /// The node did not do its part.
    #[error("{0}")]
    Node(String),
    /// The chain's part.
    #[error(transparent)]
    Operator(#[from] OperatorError),
}

impl From<SendError> for KeeperError {
    fn from(error: SendError) -> Self {
        Self::Operator(error.into())
    }
}

impl From<OutboxError> for KeeperError {
    fn from(error: OutboxError) -> Self {
        SendError::from(error).into()
    }
}

/// See the [module](self).
pub struct Keeper<E> {
    operator: Operator,
    enclave: E,
    terms: Terms,
    /// One action at a time.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Which start of the enclave is registered, and with which key.
    registered: Option<(u64, glacier_wire::Address)>,
    /// Since when something of a key's log waits.
    waiting: BTreeMap<glacier_wire::Address, Instant>,
    /// When a renewal may be tried again.
    renew_again: Option<Instant>,
    /// When something to claim may be looked for again.
    claim_again: Option<Instant>,
    /// For which epoch and root that was done.
    claimed: Option<(Option<u32>, B256)>,
    /// Proofs of a key that were held against the escrow.
    collected: BTreeMap<glacier_wire::Address, u64>,
    fault: Option<String>,
    /// What went wrong when something was last claimed.
    claim_fault: Option<String>,
}

/// A renewal that was refused, for want of newer collateral most likely, is tried again after this.
const RENEW_PAUSE: Duration = Duration::from_secs(3600);
/// Proofs that are collected in one look, so that settlement does not wait for long.
const FEW: u64 = 16;
/// The longest pause after faults.
const MAX_PAUSE: Duration = Duration::from_secs(60);

impl<E: Enclave> Keeper<E> {
    /// Begins: from now on heads are signed for the operator's ledger.
    pub fn new(operator: Operator, enclave: E, terms: Terms) -> Self {
        let deployment = operator.deployment();
        enclave.settle_at(deployment.chain_id, wire(deployment.ledger));
        Self { operator, enclave, terms, turn: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    /// Through whom it acts.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Registers, renews, settles and claims until it is dropped. A fault is told, and tried again.
    pub async fn run(&self) {
        let mut pause = self.terms.pause;
        loop {
            match self.step().await {
                Ok(()) => {
                    let mut state = self.state();
                    state.fault = state.claim_fault.clone();
                    pause = self.terms.pause;
                }
                Err(KeeperError::NoEnclave) => {}
                Err(error) => {
                    warn!(%error, "the chain's part waits");
                    self.state().fault = Some(error.to_string());
                    pause = pause.saturating_mul(2).min(MAX_PAUSE);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&self) -> Result<(), KeeperError> {
        self.register().await?;
        self.renew().await?;
        self.settle(false).await?;
        self.take_due().await;
        Ok(())
    }

    /// Claims and collects, where it is time to look. What fails there holds up nothing else.
    async fn take_due(&self) {
        let Some(pause) = self.terms.claim else { return };
        if self.state().claim_again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        let taken = async {
            if let Some(least) = self.terms.collect {
                self.collect(least, false).await?;
            }
            self.claim_due().await
        };
        let fault = taken.await.err();
        if let Some(error) = &fault {
            warn!(%error, "what was earned is not claimed");
        }
        let mut state = self.state();
        state.claim_again = Instant::now().checked_add(pause);
        state.claim_fault = fault.map(|error| error.to_string());
    }

    /// Claims where an epoch is over or a root has come into force since the last time.
    async fn claim_due(&self) -> Result<(), KeeperError> {
        let due = self.operator.due().await?;
        if self.state().claimed == Some(due) {
            return Ok(());
        }
        match self.claim().await {
            Ok(amount) => info!(%amount, "what was earned is claimed"),
            Err(KeeperError::Operator(OperatorError::NothingToClaim)) => {}
            Err(error) => return Err(error),
        }
        self.state().claimed = Some(due);
        Ok(())
    }

    /// Registers the enclave that runs, unless it is; returns its key.
    ///
    /// # Errors
    /// No enclave, a barred chip, no quote, the registry's refusal, or the chain.
    pub async fn register(&self) -> Result<glacier_wire::Address, KeeperError> {
        let _turn = self.turn.lock().await;
        let running = self.enclave.running().ok_or(KeeperError::NoEnclave)?;
        if let Some((_, key)) = self.state().registered.filter(|(start, _)| *start == running.start) {
            return Ok(key);
        }
        // What an earlier run of this node had under way may be this chip's registration.
        self.operator.sender().drain().await?;
        let chip = self.operator.chip(&running.enclave_id).await?;
        if chip.barred {
            return Err(KeeperError::Barred);
        }
        let quoted = self.quote(chip.registrations).await?;
        self.operator.register(&running.enclave_id, &quoted.enclave_key, chip.registrations, &quoted.quote).await?;
        info!(key = %quoted.enclave_key, "the enclave is registered");
        let mut state = self.state();
        state.registered = Some((running.start, quoted.enclave_key));
        Ok(quoted.enclave_key)
    }

    /// Prolongs the key's life where it ends soon.
    ///
    /// # Errors
    /// No quote, the registry's refusal, or the chain.
    pub async fn renew(&self) -> Result<(), KeeperError> {
        let _turn = self.turn.lock().await;
        let Some((_, key)) = self.state().registered else { return Ok(()) };
        if self.state().renew_again.is_some_and(|again| Instant::now() < again) {
            return Ok(());
        }
        let until = self.operator.life(&key).await?.until;
        let now = self.operator.sender().chain().head().await.map_err(OperatorError::from)?.timestamp;
        if until.saturating_sub(now) > self.terms.renew_before.as_secs() {
            return Ok(());
        }
        self.state().renew_again = Instant::now().checked_add(RENEW_PAUSE);
        let quoted = self.quote(u32::try_from(until).unwrap_or(u32::MAX)).await?;
        if quoted.enclave_key != key {
            // Another enclave has started meanwhile; it is registered next.
            return Ok(());
        }
        self.operator.renew(&key, until, &quoted.quote).await?;
        self.state().renew_again = None;
        info!(%key, "the enclave's registration is renewed");
        Ok(())
    }

    /// Settles what has waited long enough, or all there is with `now`. Returns how many proofs that settled.
    ///
    /// # Errors
    /// The node's logs, the ledger's refusal, or the chain.
    pub async fn settle(&self, now: bool) -> Result<u64, KeeperError> {
        let _turn = self.turn.lock().await;
        let deployment = self.operator.deployment();
        let ledger = wire(deployment.ledger);
        let heads = self.enclave.heads(deployment.chain_id, ledger).await.map_err(KeeperError::Node)?;
        let present = self.state().registered.map(|(_, key)| key);
        let mut proofs = 0u64;
        for head in heads {
            let (key, size) = (head.checkpoint.enclave_key, head.checkpoint.size);
            let waiting = size.saturating_sub(self.operator.settled(&key).await?);
            if waiting == 0 {
                self.state().waiting.remove(&key);
                continue;
            }
            let since = *self.state().waiting.entry(key).or_insert_with(Instant::now);
            // Nobody adds to a former enclave's log, and its days are counted.
            let due = now || present != Some(key) || waiting >= self.terms.proofs || since.elapsed() >= self.terms.wait;
            if !due || !self.operator.life(&key).await?.earns {
                continue;
            }
            self.operator.settle(&head).await?;
            self.state().waiting.remove(&key);
            proofs = proofs.saturating_add(waiting);
            info!(%key, size, "work is settled");
        }
        Ok(proofs)
    }

    /// Proposes what was earned where this operator may, then claims its part.
    ///
    /// # Errors
    /// Nothing to claim, a false root, the vault's refusal, or the chain.
    pub async fn claim(&self) -> Result<U256, KeeperError> {
        let _turn = self.turn.lock().await;
        if self.operator.may_propose().await? {
            self.operator.propose().await?;
        }
        Ok(self.operator.claim().await?)
    }

    /// Has the escrow credit what proofs of this node's enclaves have earned, each of at least `least` (units of 10^-18): all, or
    /// with `all` unset a few of those that were not looked at before. Returns how many were credited.
    ///
    /// # Errors
    /// The node's proofs, or the chain.
    pub async fn collect(&self, least: u64, all: bool) -> Result<u64, KeeperError> {
        let _turn = self.turn.lock().await;
        let (chain_id, ledger) = (self.operator.deployment().chain_id, wire(self.operator.deployment().ledger));
        let mut depositors = BTreeMap::new();
        let mut credited = 0u64;
        for head in self.enclave.heads(chain_id, ledger).await.map_err(KeeperError::Node)? {
            let key = head.checkpoint.enclave_key;
            let first = if all { 0 } else { self.state().collected.get(&key).copied().unwrap_or_default() };
            for sequence in first..head.checkpoint.size {
                if !all && credited >= FEW {
                    return Ok(credited);
                }
                let Some(signed) = self.enclave.proof(key, sequence).await.map_err(KeeperError::Node)? else { break };
                let at = &signed.proof.settlement;
                if at.price >= least.max(1) && (at.chain_id, at.ledger) == (chain_id, ledger) {
                    let job = (signed.proof.manifest.0, at.payer, at.price);
                    let from = match depositors.entry(job) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(unknown) => unknown.insert(self.operator.depositors(&signed.proof).await?),
                    };
                    credited = credited.saturating_add(self.operator.collect(&signed, from).await?.into());
                }
                self.state().collected.insert(key, sequence.saturating_add(1));
            }
        }
        Ok(credited)
    }

    /// Takes out what jobs have paid, and what was bonded and is free again.
    ///
    /// # Errors
    /// The contracts' refusal, or the chain.
    pub async fn withdraw(&self) -> Result<U256, KeeperError> {
        self.collect(self.terms.collect.unwrap_or_default(), true).await?;
        let _turn = self.turn.lock().await;
        let paid = self.operator.withdraw().await?.unwrap_or_default();
        let Some(running) = self.enclave.running() else { return Ok(paid) };
        let freed = self.operator.withdraw_bond(&running.enclave_id).await?.unwrap_or_default();
        Ok(paid.saturating_add(freed))
    }

    /// Bonds until `amount` (in units of 10^-18) of the owner's tokens stand behind the chip that runs.
    ///
    /// # Errors
    /// No enclave, too few tokens, the vault's refusal, or the chain.
    pub async fn bond(&self, amount: U256) -> Result<Bond, KeeperError> {
        let _turn = self.turn.lock().await;
        let running = self.enclave.running().ok_or(KeeperError::NoEnclave)?;
        Ok(self.operator.bond(&running.enclave_id, amount).await?)
    }

    /// Begins to release the bond behind the chip that runs, all but `keep` (in units of 10^-18).
    ///
    /// # Errors
    /// No enclave, the vault's refusal, or the chain.
    pub async fn unbond(&self, keep: U256) -> Result<Bond, KeeperError> {
        let _turn = self.turn.lock().await;
        let running = self.enclave.running().ok_or(KeeperError::NoEnclave)?;
        Ok(self.operator.unbond(&running.enclave_id, keep).await?)
    }

    /// How things stand.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn standing(&self) -> Result<Standing, KeeperError> {
        let (operator, deployment) = (&self.operator, self.operator.deployment());
        let (registered, fault) = {
            let state = self.state();
            (state.registered, state.fault.clone())
        };
        let key = registered.map(|(_, key)| key);
        let life = match &key {
            Some(key) => Some(operator.life(key).await?),
            None => None,
        };
        let (settled, units) = match &key {
            Some(key) => (operator.settled(key).await?, operator.units(key).await?),
            None => (0, 0),
        };
        let enclave_id = self.enclave.running().map(|running| running.enclave_id);
        let bond = match &enclave_id {
            Some(enclave_id) => operator.bond_of(enclave_id).await?,
            None => Bond::default(),
        };
        Ok(Standing {
            simulated: deployment.realm == crate::Realm::Simulated,
            chain_id: deployment.chain_id,
            ledger: deployment.ledger,
            owner: operator.sender().address(),
            enclave_id,
            enclave_key: key,
            live_until: life.map(|life| life.until),
            earns: life.is_some_and(|life| life.earns),
            settled,
            units,
            bond,
            balance: operator.balance(operator.sender().address()).await?,
            under_way: operator.sender().outbox().pending()?.len() as u64,
            fault,
        })
    }

    /// A quote for this network's registry; its collateral is on the chain afterwards.
    async fn quote(&self, number: u32) -> Result<Quoted, KeeperError> {
        let deployment = self.operator.deployment();
        let order = RegistrationOrder {
            chain_id: deployment.chain_id,
            registry: wire(deployment.registry),
            owner: wire(self.operator.sender().address()),
            number,
        };
        let quoted = self.enclave.quote(order).await.map_err(KeeperError::Node)?;
        if let Some(collateral) = &quoted.collateral {
            self.operator.bring(collateral).await?;
        }
        Ok(quoted)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
