//! What a node's operator does on the chain: register, renew, settle, propose, claim.

use crate::{
    Boxed, ChainError, Deployment, Mined, SendError, Sender,
    contracts::{EnclaveRegistry, GlacierToken, JobEscrow, RewardVault, WorkLedger},
    earnings::Earnings,
    events::{self, Counted},
    material::{Material, MaterialError},
    observer::{Observer, ObserverError},
};
use alloy::{
    primitives::{Address, B256, U256, aliases::U88, utils::format_ether},
    sol_types::SolCall,
};
use glacier_attest::{Compact, CompactError};
use glacier_proof::{Checkpoint, SignedCheckpoint};
use glacier_wire::{BadSignature, EnclaveId};

/// Acts for one owner in one network.
#[derive(Debug, Clone)]
pub struct Operator {
    sender: Sender,
    observer: Observer,
}

/// What the registry says of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// Who is paid; zero for a chip that was never registered.
    pub owner: Address,
    /// How often it was registered: the number that the next registration names.
    pub registrations: u32,
    /// Whether it is out for good.
    pub barred: bool,
}

/// What the registry says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Until when it is live, seconds since 1970; 0 for a key that was never registered.
    pub until: u64,
    /// Whether what it signs is settled now.
    pub earns: bool,
}

/// Something that could not be done on the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The quote has no form that contracts read.
    #[error("the quote cannot be registered: {0}")]
    Quote(#[from] CompactError),
    /// The collateral is refused or unreadable.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// The contract's refusal, the chain or the disk.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The chain does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A view does not answer.
    #[error("a contract does not answer: {0}")]
    View(#[from] alloy::contract::Error),
    /// The chain's events do not answer.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// The checkpoint is not signed by the key that it names, or names another ledger.
    #[error("the checkpoint is not this network's: {0}")]
    Checkpoint(String),
    /// There is a deposit for the job already, and it is another one.
    #[error("this account's deposit for the job names another payer, price or chip")]
    OtherTerms,
    /// The account is short of tokens.
    #[error("the account has {} of {} tokens that it takes", format_ether(*has), format_ether(*needed))]
    TooFew {
        /// In units of 10^-18.
        has: U256,
        /// In units of 10^-18.
        needed: U256,
    },
    /// There is nothing to claim.
    #[error("there is nothing to claim")]
    NothingToClaim,
    /// The root in force is not what the events give.
    #[error("the root in force is not what the chain's events give: it gives {found}, they give {expected}")]
    FalseRoot {
        /// In force.
        found: B256,
        /// Recomputed.
        expected: B256,
    },
}

impl From<BadSignature> for OperatorError {
    fn from(error: BadSignature) -> Self {
        Self::Checkpoint(error.to_string())
    }
}

impl Operator {
    /// Acts through `sender`, whose key is the owner.
    pub fn new(sender: Sender, deployment: Deployment) -> Self {
        Self { observer: Observer::new(sender.chain().clone(), deployment), sender }
    }

    /// Where it acts.
    pub fn deployment(&self) -> &Deployment {
        self.observer.deployment()
    }

    /// What anybody can read there.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Through what.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// What the registry says of a chip.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn chip<'a>(&'a self, enclave_id: &'a EnclaveId) -> Boxed<'a, Result<Chip, OperatorError>> {
        Box::pin(async move {
            let chip = self.observer.registry().chip(enclave_id.0.into()).call().await?;
            Ok(Chip { owner: chip.owner, registrations: chip.registrations, barred: chip.barred })
        })
    }

    /// What the registry says of a key.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn life<'a>(&'a self, key: &'a glacier_wire::Address) -> Boxed<'a, Result<Life, OperatorError>> {
        Box::pin(async move {
            let key = Address::from(key.0);
            let (registry, until) =
                (self.observer.registry(), self.observer.registry().keyOf(key).call().await?.liveUntil);
            Ok(Life { until: u64::from(until), earns: registry.mayEarn(key).call().await?.earns })
        })
    }

    /// Brings what is missing of the collateral to the chain.
    ///
    /// # Errors
    /// The contract's refusal, or the chain.
    pub fn bring<'a>(&'a self, collateral: &'a [u8]) -> Boxed<'a, Result<u32, OperatorError>> {
        Box::pin(
            async move { Ok(Material::parse(collateral)?.submit(&self.sender, self.deployment().collateral).await?) },
        )
    }

    /// Registers an enclave's key by a quote that names this owner and `number`, [`Chip::registrations`].
    ///
    /// # Errors
    /// The registry's refusal, or the chain.
    #[tracing::instrument(skip_all)]
    pub fn register<'a>(
        &'a self,
        enclave_id: &'a EnclaveId,
        key: &'a glacier_wire::Address,
        number: u32,
        quote: &'a [u8],
    ) -> Boxed<'a, Result<Mined, OperatorError>> {
        Box::pin(async move {
            let compact = Compact::of(quote)?;
            let call = EnclaveRegistry::registerCall {
                quote: compact.quote().to_vec().into(),
                pck: compact.pck().to_vec().into(),
                enclaveKey: key.0.into(),
                owner_: self.sender.address(),
                formerKey: events::current_key(self.sender.chain(), self.deployment(), enclave_id)
                    .await?
                    .unwrap_or_default(),
            };
            let name = format!("register/{}/{key}/{number}", self.deployment().registry);
            Ok(self.sender.call(&name, self.deployment().registry, call.abi_encode()).await?)
        })
    }

    /// Prolongs a key's life by a quote that names its present end as number.
    ///
    /// # Errors
    /// The registry's refusal, or the chain.
    #[tracing::instrument(skip_all)]
    pub fn renew<'a>(
        &'a self,
        key: &'a glacier_wire::Address,
        until: u64,
        quote: &'a [u8],
    ) -> Boxed<'a, Result<Mined, OperatorError>> {
        Box::pin(async move {
            let compact = Compact::of(quote)?;
            let call = EnclaveRegistry::renewCall {
                quote: compact.quote().to_vec().into(),
                pck: compact.pck().to_vec().into(),
                enclaveKey: key.0.into(),
            };
            let name = format!("renew/{}/{key}/{until}", self.deployment().registry);
            Ok(self.sender.call(&name, self.deployment().registry, call.abi_encode()).await?)
        })
    }

    /// How many proofs of a key are settled.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn settled<'a>(&'a self, key: &'a glacier_wire::Address) -> Boxed<'a, Result<u64, OperatorError>> {
        Box::pin(async move { Ok(self.observer.settled(key).await?.size) })
    }

    /// Units of a key that are settled. `counted` is what an earlier question has read already.
    ///
    /// # Errors
    /// The chain does not answer.
    pub(crate) async fn units(&self, key: &glacier_wire::Address, counted: &mut Counted) -> Result<u64, OperatorError> {
        Ok(counted.read_on(self.sender.chain(), self.deployment(), key.0.into()).await?)
    }

    /// Settles a log up to a signed head. One that is settled already costs nothing.
    ///
    /// # Errors
    /// A head that is not this ledger's or not signed by its key; the ledger's refusal; the chain.
    #[tracing::instrument(skip_all)]
    pub fn settle<'a>(&'a self, signed: &'a SignedCheckpoint) -> Boxed<'a, Result<Option<Mined>, OperatorError>> {
        Box::pin(async move {
            signed.verify()?;
            let head = &signed.checkpoint;
            if (head.chain_id, head.ledger.0) != (self.deployment().chain_id, *self.deployment().ledger.0) {
                return Err(OperatorError::Checkpoint(format!(
                    "it names ledger {} of chain {}",
                    head.ledger, head.chain_id
                )));
            }
            if self.settled(&head.enclave_key).await? >= head.size {
                return Ok(None);
            }
            let (r, vs) = compact_signature(&signed.signature.0);
            let call = WorkLedger::submitCheckpointCall {
                whose: whose(head),
                counts: counts(head),
                root: head.root.0.into(),
                r,
                vs,
            };
            let name = format!("settle/{}/{}/{}", self.deployment().ledger, head.enclave_key, head.size);
            Ok(Some(self.sender.call(&name, self.deployment().ledger, call.abi_encode()).await?))
        })
    }

    /// What everybody has earned up to the last epoch that is over, by the public rule over the chain's events.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn earnings(&self) -> Result<Option<(u32, Earnings)>, OperatorError> {
        let Some(last) = self.last_epoch().await? else { return Ok(None) };
        Ok(Some((last, self.earnings_by(last).await?)))
    }

    /// What everybody has earned in the epochs 1 to `last`.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn earnings_by(&self, last: u32) -> Boxed<'_, Result<Earnings, OperatorError>> {
        Box::pin(async move { Ok(self.observer.earnings_by(last).await?) })
    }

    /// Whether this operator may propose roots.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn may_propose(&self) -> Result<bool, OperatorError> {
        let vault = self.observer.vault();
        let role = vault.PROPOSER_ROLE().call().await?;
        Ok(vault.hasRole(role, self.sender.address()).call().await?)
    }

    /// Proposes the root of what was earned, where there is something new. Only proposers.
    ///
    /// # Errors
    /// The vault's refusal, or the chain.
    pub fn propose(&self) -> Boxed<'_, Result<Option<u32>, OperatorError>> {
        Box::pin(async move {
            let head = self.sender.chain().head().await?.number;
            let vault = self.observer.vault();
            let (current, pending) = (vault.current().call().await?, vault.pending().call().await?);
            if pending.epoch != 0 {
                return Ok(None);
            }
            let Some((epoch, earnings)) = self.earnings().await? else { return Ok(None) };
            let root = earnings.tree().root();
            if earnings.is_empty() || root == current.root {
                return Ok(None);
            }
            let call = RewardVault::proposeCall { epoch, root, total: U88::saturating_from(earnings.total()) };
            // One that was vetoed is due again.
            let name = format!("propose/{}/{epoch}/{root:x}", self.deployment().vault);
            self.sender.call_since(head, &name, self.deployment().vault, call.abi_encode()).await?;
            Ok(Some(epoch))
        })
    }

    /// What would make a claim worth while: the last epoch that is over, and the root in force.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn due(&self) -> Boxed<'_, Result<(Option<u32>, B256), OperatorError>> {
        Box::pin(async move { Ok((self.last_epoch().await?, self.observer.vault().current().call().await?.root)) })
    }

    /// Claims what the root in force gives this owner beyond what it has.
    ///
    /// # Errors
    /// Nothing to claim; a root that is not what the events give; the vault's refusal; the chain.
    #[tracing::instrument(skip_all)]
    pub fn claim(&self) -> Boxed<'_, Result<U256, OperatorError>> {
        Box::pin(async move {
            let (vault, account) = (self.observer.vault(), self.sender.address());
            let current = vault.current().call().await?;
            let behind = self.observer.earnings_behind(current.root).await?;
            let (_, earnings) = behind.ok_or(OperatorError::NothingToClaim)?;
            let tree = earnings.tree();
            if tree.root() != current.root {
                return Err(OperatorError::FalseRoot { found: current.root, expected: tree.root() });
            }
            let cumulative = earnings.of(&account);
            let claimed = vault.claimed(account).call().await?;
            let (Some(proof), true) = (tree.path(&account), cumulative > claimed) else {
                return Err(OperatorError::NothingToClaim);
            };
            let call = RewardVault::claimCall { account, cumulative, proof };
            let name = format!("claim/{}/{account}/{cumulative}", self.deployment().vault);
            self.sender.call(&name, self.deployment().vault, call.abi_encode()).await?;
            Ok(cumulative.saturating_sub(claimed))
        })
    }

    /// Takes out what the escrow owes this owner.
    ///
    /// # Errors
    /// The escrow's refusal, or the chain.
    pub fn withdraw(&self) -> Boxed<'_, Result<Option<U256>, OperatorError>> {
        Box::pin(async move {
            let (account, head) = (self.sender.address(), self.sender.chain().head().await?.number);
            let owed = self.escrow().balanceOf(account).call().await?;
            if owed.is_zero() {
                return Ok(None);
            }
            let call = JobEscrow::withdrawCall { to: account }.abi_encode();
            let name = format!("withdraw/{}/{account}", self.deployment().escrow);
            let mined = self.sender.call_since(head, &name, self.deployment().escrow, call).await?;
            // More may have been credited meanwhile.
            Ok(events::withdrawn(self.sender.chain(), self.deployment(), account, &mined).await?.or(Some(owed)))
        })
    }

    /// Tokens of an account, in units of 10^-18.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn balance(&self, account: Address) -> Boxed<'_, Result<U256, OperatorError>> {
        Box::pin(async move {
            Ok(GlacierToken::new(self.deployment().token, self.sender.chain().provider())
                .balanceOf(account)
                .call()
                .await?)
        })
    }

    /// The last epoch that is over at the chain's time.
    async fn last_epoch(&self) -> Result<Option<u32>, OperatorError> {
        let now = self.observer.vault().epochNow().call().await?;
        let last = u32::try_from(now).unwrap_or(u32::MAX).saturating_sub(1);
        Ok((last > 0).then_some(last))
    }

    fn escrow(&self) -> JobEscrow::JobEscrowInstance<&alloy::providers::DynProvider> {
        JobEscrow::new(self.deployment().escrow, self.sender.chain().provider())
    }
}

/// The key, and of the Enclave ID what the registry has not kept.
fn whose(head: &Checkpoint) -> B256 {
    let mut bytes = [0u8; 32];
    let tail = head.enclave_id.0.iter().skip(23);
    for (to, from) in bytes.iter_mut().zip(head.enclave_key.0.iter().chain(tail)) {
        *to = *from;
    }
    B256::from(bytes)
}

fn counts(head: &Checkpoint) -> U256 {
    // size << 64 | units
    U256::from_limbs([head.units, head.size, 0, 0])
}

/// EIP-2098: the parity of `v` in the highest bit of `s`.
pub(crate) fn compact_signature(signature: &[u8; 65]) -> (B256, B256) {
    let (r, rest) = signature.split_at(32);
    let (s, v) = rest.split_at(32);
    let mut vs = B256::from_slice(s);
    if v == [28]
        && let Some(first) = vs.0.first_mut()
    {
        *first |= 0x80;
    }
    (B256::from_slice(r), vs)
}
