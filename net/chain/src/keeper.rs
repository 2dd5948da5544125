//! Keeps an enclave registered and its work settled and paid, beside the node that runs it.

mod collect;
mod register;
mod settle;

use crate::{
    Bond, Operator, OperatorError, OutboxError, SendError, events::Counted, observer::wire, release::Depositors,
};
use alloy::primitives::{Address, B256, U256};
use glacier_proof::{SignedCheckpoint, SignedProof};
use glacier_wire::{EnclaveId, LogHash, api::RegistrationOrder};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// What a keeper asks of the node.
pub trait Enclave: Send + Sync + 'static {
    /// The enclave that runs now.
    fn running(&self) -> impl Future<Output = Option<Running>> + Send;

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

    /// The audit path of the proof with this number in the log of its key when that had `size` proofs, if the log is here and
    /// was ever so long. The error is for people.
    fn path(
        &self,
        key: glacier_wire::Address,
        sequence: u64,
        size: u64,
    ) -> impl Future<Output = Result<Option<Vec<LogHash>>, String>> + Send;
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
    /// The key is known, and cannot come in again.
    #[error(
        "the registry knows this enclave's key and does not count it to this owner's chip any more: start the enclave again, and it registers \
         with another"
    )]
    KeySpent,
    /// One enclave after the other came up while a quote was asked for.
    #[error("the enclave was started again while it was being registered")]
    Restarted,
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
    depositors: tokio::sync::Mutex<Depositors>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Which start of the enclave is registered, and with which key.
    registered: Option<(u64, glacier_wire::Address)>,
    /// Since when something of a key's log waits.
    waiting: BTreeMap<glacier_wire::Address, Instant>,
    /// Proofs of a key that the ledger had settled, and when it said so.
    settled: BTreeMap<glacier_wire::Address, (u64, Instant)>,
    /// Keys that do not earn, and until when they are not asked about again.
    idle: BTreeMap<glacier_wire::Address, Instant>,
    /// When a renewal may be tried again.
    renew_again: Option<Instant>,
    /// When something to claim may be looked for again.
    claim_again: Option<Instant>,
    /// For which epoch and root that was done.
    claimed: Option<(Option<u32>, B256)>,
    /// Proofs of a key that were held against the escrow.
    collected: BTreeMap<glacier_wire::Address, u64>,
    /// Proofs that the escrow has paid.
    paid: BTreeSet<(glacier_wire::Address, u64)>,
    /// What was counted of the key that was asked about last.
    counted: Option<(glacier_wire::Address, Counted)>,
    fault: Option<String>,
    /// What went wrong when something was last claimed.
    claim_fault: Option<String>,
}

/// The longest pause after faults.
const MAX_PAUSE: Duration = Duration::from_secs(60);

impl<E: Enclave> Keeper<E> {
    /// Begins: from now on heads are signed for the operator's ledger.
    pub fn new(operator: Operator, enclave: E, terms: Terms) -> Self {
        let deployment = operator.deployment();
        enclave.settle_at(deployment.chain_id, wire(deployment.ledger));
        let (turn, depositors) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Self { operator, enclave, terms, turn, depositors, state: Mutex::default() }
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

    /// Does what is due, each whatever becomes of the others. The first fault is told.
    async fn step(&self) -> Result<(), KeeperError> {
        let registered = self.register().await.map(drop);
        let renewed = self.renew().await;
        let settled = self.settle(false).await.map(drop);
        self.take_due().await;
        match registered {
            // That none runs passes by itself; what else is wrong may not.
            Err(KeeperError::NoEnclave) => renewed.and(settled).and(Err(KeeperError::NoEnclave)),
            registered => registered.and(renewed).and(settled),
        }
    }

    /// Collects and claims, where it is time to look. What fails there holds up nothing else.
    async fn take_due(&self) {
        let Some(pause) = self.terms.claim else { return };
        if self.state().claim_again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        let collected = match self.terms.collect {
            Some(least) => self.collect(least, false).await.map(drop),
            None => Ok(()),
        };
        let fault = collected.and(self.claim_due().await).err();
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

    /// Takes out what jobs have paid, and what was bonded and is free again. What cannot be collected first is told in the log,
    /// and keeps nobody from what is there.
    ///
    /// # Errors
    /// The contracts' refusal, or the chain.
    pub async fn withdraw(&self) -> Result<U256, KeeperError> {
        if let Err(error) = self.collect(self.terms.collect.unwrap_or_default(), true).await {
            warn!(%error, "not all that jobs pay could be collected");
        }
        let _turn = self.turn.lock().await;
        let paid = self.operator.withdraw().await?.unwrap_or_default();
        let Some(running) = self.enclave.running().await else { return Ok(paid) };
        let freed = self.operator.withdraw_bond(&running.enclave_id).await?.unwrap_or_default();
        Ok(paid.saturating_add(freed))
    }

    /// Bonds until `amount` (in units of 10^-18) of the owner's tokens stand behind the chip that runs.
    ///
    /// # Errors
    /// No enclave, too few tokens, the vault's refusal, or the chain.
    pub async fn bond(&self, amount: U256) -> Result<Bond, KeeperError> {
        let _turn = self.turn.lock().await;
        let running = self.enclave.running().await.ok_or(KeeperError::NoEnclave)?;
        Ok(self.operator.bond(&running.enclave_id, amount).await?)
    }

    /// Begins to release the bond behind the chip that runs, all but `keep` (in units of 10^-18).
    ///
    /// # Errors
    /// No enclave, the vault's refusal, or the chain.
    pub async fn unbond(&self, keep: U256) -> Result<Bond, KeeperError> {
        let _turn = self.turn.lock().await;
        let running = self.enclave.running().await.ok_or(KeeperError::NoEnclave)?;
        Ok(self.operator.unbond(&running.enclave_id, keep).await?)
    }

    /// How things stand.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn standing(&self) -> Result<Standing, KeeperError> {
        let (operator, deployment) = (&self.operator, self.operator.deployment());
        let running = self.enclave.running().await;
        let (key, fault) = (self.present(running), self.state().fault.clone());
        let life = match &key {
            Some(key) => Some(operator.life(key).await?),
            None => None,
        };
        let (settled, units) = match &key {
            Some(key) => (operator.settled(key).await?, self.units(key).await?),
            None => (0, 0),
        };
        let enclave_id = running.map(|running| running.enclave_id);
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

    /// Units of a key that are settled; each block is read once.
    async fn units(&self, key: &glacier_wire::Address) -> Result<u64, KeeperError> {
        let known = self.state().counted.filter(|(of, _)| of == key);
        let mut counted = known.map(|(_, counted)| counted).unwrap_or_default();
        let units = self.operator.units(key, &mut counted).await?;
        self.state().counted = Some((*key, counted));
        Ok(units)
    }

    /// The registered key of the enclave that runs.
    fn present(&self, running: Option<Running>) -> Option<glacier_wire::Address> {
        let start = running?.start;
        self.state().registered.filter(|(of, _)| *of == start).map(|(_, key)| key)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
