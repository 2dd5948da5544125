//! The watchman: reads everything that anybody can read of a network, and says what is not as it must be.
//!
//! | looked at | must be | where it is not |
//! |---|---|---|
//! | each registration and renewal | by a quote that holds, of this chip and code | finding |
//! | each registered chip | not revoked by its vendor | finding, and the chip is evicted |
//! | each settled head | a head of the one log that nodes publish | finding; two signed statements that contradict each other convict the key |
//! | each proposed root | what the chain's events give | finding, and a veto |
//!
//! It needs no key. With one it also acts. What it has seen is in one small file, so that it goes on where it stopped; the
//! last blocks, which a reorganisation may still change, are read again each time.

mod contradiction;
mod finding;
mod logs;
mod memory;

use crate::{
    Boxed, Chain, Deployment, Material, NodeLog, ObserverError, OutboxError, Realm, SendError, Sender,
    contracts::{DcapVerifier, EnclaveRegistry, MeasurementPolicy, QuoteRouter, RewardVault, WorkLedger},
    events,
    live::{self, LiveFault, Question},
    observer::{Entry, Observer, wire},
};
use alloy::{
    primitives::{Address, B256},
    rpc::types::{Filter, Log},
    sol_types::{SolCall, SolError as _, SolEvent},
};
use glacier_attest::{Genuine, Policy, Tcb, TcbStatus, Verdict};
use glacier_proof::{Judge, SettlementFault};
use glacier_wire::{EnclaveId, UnixTime};
use std::path::PathBuf;

pub use contradiction::{Contradiction, Histories};
pub use finding::{Act, Finding, Round, Unknown};
pub use memory::MemoryError;

use memory::{Known, Memory};

/// Looks around in one network, again and again.
#[derive(Debug)]
pub struct Watchman {
    observer: Observer,
    /// Acts, if there is one.
    sender: Option<Sender>,
    nodes: Vec<NodeLog>,
    policy: Option<Policy>,
    collateral: Option<Vec<u8>>,
    path: PathBuf,
    memory: Memory,
}

/// A look around that did not come to its end. What was seen before is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The chain.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// The file of what was seen.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The collateral that was given.
    #[error(transparent)]
    Collateral(#[from] crate::MaterialError),
    /// Acting failed for want of chain or disk.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

impl From<crate::ChainError> for WatchError {
    fn from(error: crate::ChainError) -> Self {
        Self::Observer(error.into())
    }
}

impl From<alloy::contract::Error> for WatchError {
    fn from(error: alloy::contract::Error) -> Self {
        Self::Observer(error.into())
    }
}

impl Watchman {
    /// Goes on where the file at `path` says, or begins at the network's first block.
    ///
    /// # Errors
    /// The file is of another network, or cannot be read.
    pub fn open(chain: Chain, deployment: Deployment, path: PathBuf) -> Result<Self, WatchError> {
        let memory = Memory::open(&path, &deployment)?;
        let observer = Observer::new(chain, deployment);
        Ok(Self { observer, sender: None, nodes: Vec::new(), policy: None, collateral: None, path, memory })
    }

    /// Acts through `sender`, which pays.
    #[must_use]
    pub fn acting(mut self, sender: Sender) -> Self {
        self.sender = Some(sender);
        self
    }

    /// Holds what is settled against the logs of these nodes.
    #[must_use]
    pub fn with_nodes(mut self, nodes: Vec<NodeLog>) -> Self {
        self.nodes = nodes;
        self
    }

    /// Judges registrations by this policy too, and takes the simulated roots that it names.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Judges registrations by this collateral, with the verifier of this process. Without it the network's own
    /// contracts are asked, which judge by what was submitted to them.
    ///
    /// # Errors
    /// It is none.
    pub fn with_collateral(mut self, collateral: Vec<u8>) -> Result<Self, WatchError> {
        Material::parse(&collateral)?;
        self.collateral = Some(collateral);
        Ok(self)
    }

    /// Looks at everything once, and acts where it can. `at` is the time at which quotes are judged.
    ///
    /// # Errors
    /// The chain does not answer, or the disk. What a node does not answer is in [`Round::unknown`].
    pub fn look(&mut self, at: UnixTime) -> Boxed<'_, Result<Round, WatchError>> {
        Box::pin(async move {
            let mut round = Round::default();
            self.read(&mut round).await?;
            for known in self.memory.keys() {
                self.appraise(&known, at, &mut round).await?;
            }
            self.look_for_revoked(&mut round).await?;
            self.look_at_logs(&mut round).await?;
            self.look_at_roots(&mut round).await?;
            self.memory.write(&self.path)?;
            round.keys = self.memory.keys().count();
            Ok(round)
        })
    }

    /// Reads the events since the last time. The newest blocks are read again: what is in them may change.
    async fn read(&mut self, round: &mut Round) -> Result<(), WatchError> {
        let head = self.observer.chain().head().await?.number;
        let deployment = self.observer.deployment();
        let again = self.observer.chain().confirmations();
        let from = self.memory.block().saturating_add(1).saturating_sub(again).max(deployment.block);
        let filter = Filter::new().address(vec![deployment.registry, deployment.ledger]).event_signature(vec![
            EnclaveRegistry::Registered::SIGNATURE_HASH,
            EnclaveRegistry::Renewed::SIGNATURE_HASH,
            WorkLedger::Settled::SIGNATURE_HASH,
        ]);
        for log in events::logs_in(self.observer.chain(), filter, from, head).await? {
            self.take(&log, round).await?;
        }
        self.memory.read_to(head);
        round.block = head;
        Ok(())
    }

    async fn take(&mut self, log: &Log, round: &mut Round) -> Result<(), WatchError> {
        if let Some(entry) = self.observer.registered(log).await? {
            self.memory.registered(entry);
            return Ok(());
        }
        if let Ok(event) = EnclaveRegistry::Renewed::decode_log(&log.inner) {
            let before = self.memory.of(&wire(event.enclaveKey)).map(|known| known.entry.clone());
            if let Some(before) = before.filter(|before| Some(before.block) < log.block_number)
                && let Some(entry) = self.observer.renewed(log, &before).await?
            {
                self.memory.registered(entry);
            }
            return Ok(());
        }
        let Ok(event) = WorkLedger::Settled::decode_log(&log.inner) else { return Ok(()) };
        let key = wire(event.key);
        let Some(enclave_id) = self.memory.of(&key).map(|known| known.entry.enclave_id) else { return Ok(()) };
        match self.observer.checkpoint(log, &enclave_id).await? {
            Some(signed) => self.memory.settled(signed),
            None => round.unknown.push(unknown(
                format!("head of key {key} that was settled in block {}", log.block_number.unwrap_or_default()),
                "its signature does not stand in the transaction",
            )),
        }
        Ok(())
    }

    /// Whether the quote by which a key is live holds now.
    async fn appraise(&self, known: &Known, at: UnixTime, round: &mut Round) -> Result<(), WatchError> {
        let (entry, key) = (&known.entry, known.entry.registration.enclave_key);
        let status = self.observer.status_of(&key, &entry.enclave_id).await?;
        if status.barred || status.live_until <= at.0 {
            return Ok(());
        }
        let about = || format!("quote of key {key}");
        let Some(collateral) = &self.collateral else {
            return self.ask_contracts(entry, round).await;
        };
        if self.observer.deployment().realm == Realm::Simulated && self.policy.is_none() {
            round.unknown.push(unknown(about(), "the network is simulated, and no policy names its root"));
            return Ok(());
        }
        let vendor = glacier_attest::Anchors::vendor();
        let judge = self.policy.as_ref().map_or(Judge::Genuine(&vendor), Judge::Policy);
        let genuine = match live::judge(entry, &Question { judge, at, collateral, node: None }) {
            Ok((_, Ok(genuine), _)) => genuine,
            Ok((_, Err(SettlementFault::Quote(fault)), _)) if fault.verdict == Verdict::Undetermined => {
                round.unknown.push(unknown(about(), fault));
                return Ok(());
            }
            Ok((_, Err(fault), _)) => {
                round.findings.push(refused(entry, fault));
                return Ok(());
            }
            Err(fault @ (LiveFault::NotShown | LiveFault::Collateral)) => {
                round.unknown.push(unknown(about(), fault));
                return Ok(());
            }
            Err(fault) => {
                round.findings.push(refused(entry, fault));
                return Ok(());
            }
        };
        self.compare(entry, &genuine, round).await
    }

    /// Whether the registry keeps what a genuine quote says, and whether its standing is still enough here.
    async fn compare(&self, entry: &Entry, genuine: &Genuine, round: &mut Round) -> Result<(), WatchError> {
        let policy = MeasurementPolicy::new(self.observer.deployment().policy, self.observer.chain().provider());
        let named = policy.measurementOf(entry.code).call().await?;
        let mut differs = |what| {
            round.findings.push(Finding::OtherThanQuoted {
                key: entry.registration.enclave_key,
                enclave_id: entry.enclave_id,
                what,
            });
        };
        if genuine.enclave_id() != Some(entry.enclave_id) {
            differs("chip");
        }
        if named.0 != genuine.measurement().0 {
            differs("code");
        }
        let terms = policy.entryOf(named).call().await?;
        if let Tcb::Intel(tcb) = genuine.tcb()
            && number(tcb.status) > terms.floor
        {
            let reason = format!("its platform is {} now, which is below the network's floor", tcb.status);
            round.findings.push(refused(entry, reason));
        }
        Ok(())
    }

    /// The same question to the network's contracts, by what was submitted to them.
    async fn ask_contracts(&self, entry: &Entry, round: &mut Round) -> Result<(), WatchError> {
        let about = format!("quote of key {}", entry.registration.enclave_key);
        let (Some(shown), Some(version)) = (&entry.shown, entry.version()) else {
            round.unknown.push(unknown(about, LiveFault::NotShown));
            return Ok(());
        };
        let verifier = self.verifier(version).await?;
        let verdict = match verifier.verify(shown.quote.clone(), shown.pck.clone()).call().await {
            Ok(verdict) => verdict,
            // Without collateral that is current, nothing is known of the quote.
            Err(error) => {
                let revert = error.as_revert_data().ok_or(error)?;
                match revert.get(..4).is_some_and(|selector| REVOKED.iter().any(|of| of == selector)) {
                    true => round.findings.push(refused(entry, "the network's contracts say that it is revoked")),
                    false => {
                        round.unknown.push(unknown(about, format!("the network's contracts refuse it ({revert})")))
                    }
                }
                return Ok(());
            }
        };
        let carries = [verdict.reportData.as_slice(), verdict.reportTag.as_slice()].concat();
        if carries != entry.registration.report_data() {
            round.findings.push(refused(entry, SettlementFault::Unbound));
        }
        if verdict.enclaveId.0 != entry.enclave_id.0 {
            let key = entry.registration.enclave_key;
            round.findings.push(Finding::OtherThanQuoted { key, enclave_id: entry.enclave_id, what: "chip" });
        }
        let policy = MeasurementPolicy::new(self.observer.deployment().policy, self.observer.chain().provider());
        let terms = policy.entryOf(verdict.measurement).call().await?;
        if terms.index != entry.code {
            let key = entry.registration.enclave_key;
            round.findings.push(Finding::OtherThanQuoted { key, enclave_id: entry.enclave_id, what: "code" });
        } else if verdict.status > terms.floor {
            round.findings.push(refused(entry, "its platform is below the network's floor now"));
        }
        Ok(())
    }

    /// Chips whose certificates the vendor's list on the chain revokes.
    async fn look_for_revoked(&self, round: &mut Round) -> Result<(), WatchError> {
        for (enclave_id, keys) in self.memory.chips() {
            let Some(first) = keys.first() else { continue };
            if self.observer.status_of(first, &enclave_id).await?.barred {
                continue;
            }
            let known = keys.iter().filter_map(|key| self.memory.of(key)).map(|known| &known.entry);
            let shown = known.filter_map(|entry| Some((entry, entry.shown.as_ref()?, entry.version()?))).next();
            let about = || format!("revocation of chip {enclave_id}");
            let Some((entry, shown, version)) = shown else {
                round.unknown.push(unknown(about(), LiveFault::NotShown));
                continue;
            };
            let verifier = self.verifier(version).await?;
            let answer = match verifier.revoked(entry.platform, shown.pck.clone()).call().await {
                Ok(answer) => answer,
                Err(error) => {
                    let revert = error.as_revert_data().ok_or(error)?;
                    round.unknown.push(unknown(about(), format!("the network's contracts refuse to say ({revert})")));
                    continue;
                }
            };
            if !answer.isRevoked || answer.enclaveId.0 != enclave_id.0 {
                continue;
            }
            let call = EnclaveRegistry::evictCall {
                version,
                platform: entry.platform,
                pck: shown.pck.clone(),
                keys: keys.iter().map(|key| key.0.into()).collect(),
            };
            let act = self.act(&format!("evict/{enclave_id}"), self.observer.deployment().registry, &call).await?;
            round.findings.push(Finding::ChipRevoked { enclave_id, keys, act });
        }
        Ok(())
    }

    /// The root that is proposed, and the one that pays.
    async fn look_at_roots(&self, round: &mut Round) -> Result<(), WatchError> {
        let vault = self.observer.vault();
        let pending = vault.pending().call().await?;
        if pending.epoch != 0 {
            let earnings = self.observer.earnings_by(pending.epoch).await?;
            let (expected, expected_total) = (earnings.tree().root(), earnings.total());
            if (pending.root, pending.total) != (expected, expected_total) {
                round.findings.push(Finding::FalseRoot {
                    epoch: pending.epoch,
                    found: pending.root,
                    expected,
                    total: pending.total,
                    expected_total,
                    in_force: false,
                    act: self.veto(pending.epoch, pending.root).await?,
                });
            }
        }
        let current = vault.current().call().await?;
        let (found, total) = (current.root, current.total);
        // Before the first proposal no event names the root.
        let Some((epoch, earnings)) = self.observer.earnings_behind(found).await? else { return Ok(()) };
        let (expected, expected_total) = (earnings.tree().root(), earnings.total());
        if (found, total) != (expected, expected_total) {
            let (in_force, act) = (true, Act::Reported);
            round.findings.push(Finding::FalseRoot { epoch, found, expected, total, expected_total, in_force, act });
        }
        Ok(())
    }

    async fn veto(&self, epoch: u32, root: B256) -> Result<Act, WatchError> {
        let Some(sender) = &self.sender else { return Ok(Act::Reported) };
        let vault = self.observer.vault();
        let role = vault.WATCHMAN_ROLE().call().await?;
        if !vault.hasRole(role, sender.address()).call().await? {
            return Ok(Act::Reported);
        }
        // A false root that comes back has to be vetoed again.
        let proposed = self.observer.chain().head().await?.number;
        let call = RewardVault::vetoCall { epoch };
        self.act(&format!("veto/{epoch}/{root:x}/{proposed}"), self.observer.deployment().vault, &call).await
    }

    async fn act(&self, name: &str, to: Address, call: &impl SolCall) -> Result<Act, WatchError> {
        self.act_raw(name, to, call.abi_encode()).await
    }

    async fn act_raw(&self, name: &str, to: Address, call: Vec<u8>) -> Result<Act, WatchError> {
        let Some(sender) = &self.sender else { return Ok(Act::Reported) };
        match sender.call(name, to, call).await {
            Ok(mined) => Ok(Act::Done(mined.transaction)),
            Err(SendError::Refused { reason, .. }) => Ok(Act::Refused(reason)),
            Err(SendError::Outbox(error)) => Err(error.into()),
        }
    }

    async fn verifier(
        &self,
        version: u16,
    ) -> Result<DcapVerifier::DcapVerifierInstance<&alloy::providers::DynProvider>, WatchError> {
        let provider = self.observer.chain().provider();
        let router = QuoteRouter::new(self.observer.deployment().router, provider);
        Ok(DcapVerifier::new(router.verifier(version).call().await?, provider))
    }

    /// Keys of a chip, for the calls that end them all.
    fn keys_of(&self, enclave_id: &EnclaveId) -> Vec<Address> {
        self.memory.chips().remove(enclave_id).unwrap_or_default().iter().map(|key| key.0.into()).collect()
    }
}

/// Selectors of what contracts revert with where a chip, its certificate or its level is revoked.
const REVOKED: [[u8; 4]; 2] =
    [DcapVerifier::LevelRevoked::SELECTOR, crate::contracts::IntelCollateral::CollateralRevoked::SELECTOR];

fn refused(entry: &Entry, reason: impl ToString) -> Finding {
    Finding::QuoteRefused {
        key: entry.registration.enclave_key,
        enclave_id: entry.enclave_id,
        reason: reason.to_string(),
    }
}

fn unknown(about: impl Into<String>, reason: impl ToString) -> Unknown {
    Unknown { about: about.into(), reason: reason.to_string() }
}

/// As contracts number statuses, best first.
fn number(status: TcbStatus) -> u8 {
    match status {
        TcbStatus::UpToDate => 0,
        TcbStatus::SWHardeningNeeded => 1,
        TcbStatus::ConfigurationNeeded => 2,
        TcbStatus::ConfigurationAndSWHardeningNeeded => 3,
        TcbStatus::OutOfDate | TcbStatus::TDRelaunchAdvised => 4,
        TcbStatus::OutOfDateConfigurationNeeded | TcbStatus::TDRelaunchAdvisedConfigurationNeeded => 5,
        _ => 6,
    }
}
