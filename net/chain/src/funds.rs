//! What an account puts up: deposits for jobs, bonds behind chips.

use crate::{
    Boxed, Operator, OperatorError,
    contracts::{GlacierToken, JobEscrow, RewardVault},
};
use alloy::{
    primitives::{
        Address, B256, U256,
        aliases::{U40, U104},
        keccak256,
    },
    sol_types::{SolCall, SolValue as _},
};
use glacier_wire::{EnclaveId, ManifestHash};
use serde::{Deserialize, Serialize};

/// What is paid in for a job. `payer` and `price` are those of its manifest, or no proof releases it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepositTerms {
    /// The job.
    pub manifest: ManifestHash,
    /// Whom its manifest names.
    pub payer: Address,
    /// Of one run, in units of 10^-18.
    pub price: u64,
    /// The chip that may earn it; none for any.
    pub enclave_id: Option<EnclaveId>,
}

/// What the escrow holds of one depositor for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Of one run, in units of 10^-18.
    pub price: u64,
    /// That are not released.
    pub runs: u32,
    /// When what is left goes back, seconds since 1970.
    pub expiry: u64,
}

/// What an account has behind a chip, in units of 10^-18.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// Stands.
    pub active: U256,
    /// Is being released; can still be taken.
    pub unbonding: U256,
    /// From when `unbonding` can be taken out, seconds since 1970.
    pub release_at: u64,
}

impl Operator {
    /// What the escrow holds of this account for a job; `None` if nothing is left.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn held<'a>(&'a self, manifest: &'a ManifestHash) -> Boxed<'a, Result<Option<Held>, OperatorError>> {
        Box::pin(async move {
            Ok(self.deposited(manifest, self.sender().address()).await?.map(|held| Held {
                price: held.price,
                runs: held.runs,
                expiry: held.expiry.to(),
            }))
        })
    }

    /// Pays in for a job until the escrow holds `runs` runs of this account. `expiry` is when what is left goes back, seconds since
    /// 1970, where there is no deposit yet. A call that was interrupted can be made again: what is there is not paid twice.
    ///
    /// # Errors
    /// A deposit on other terms; too few tokens; the escrow's refusal; the chain.
    pub fn deposit<'a>(
        &'a self,
        terms: &'a DepositTerms,
        runs: u32,
        expiry: u64,
    ) -> Boxed<'a, Result<Held, OperatorError>> {
        Box::pin(async move {
            // Of an earlier attempt.
            self.sender().drain().await?;
            let held = self.deposited(&terms.manifest, self.sender().address()).await?;
            let chip = terms.enclave_id.map(|id| B256::from(id.0)).unwrap_or_default();
            let same = |held: &JobEscrow::Deposit| {
                (held.payer, held.price) == (terms.payer, terms.price) && chip.starts_with(held.chipPrefix.as_slice())
            };
            if held.as_ref().is_some_and(|held| !same(held)) {
                return Err(OperatorError::OtherTerms);
            }
            let there = held.as_ref().map_or(0, |held| held.runs);
            let expiry = held.as_ref().map_or(U40::saturating_from(expiry), |held| held.expiry);
            let missing = runs.saturating_sub(there);
            if missing > 0 {
                let escrow = self.deployment().escrow;
                let amount = U256::from(terms.price).saturating_mul(U256::from(missing));
                self.allow(escrow, amount).await?;
                let head = self.sender().chain().head().await?.number;
                let call = JobEscrow::depositCall {
                    manifest: terms.manifest.0.into(),
                    payer: terms.payer,
                    price: terms.price,
                    runs: missing,
                    expiry,
                    enclaveId: chip,
                };
                let name = format!("deposit/{escrow}/{}/{there}/{missing}", terms.manifest);
                self.sender().call_since(head, &name, escrow, call.abi_encode()).await?;
            }
            Ok(Held { price: terms.price, runs: there.max(runs), expiry: expiry.to() })
        })
    }

    /// Takes back what is left of this account's expired deposit for a job, and what else the escrow owes it.
    ///
    /// # Errors
    /// No deposit; one that is not over; the chain.
    pub fn refund<'a>(&'a self, manifest: &'a ManifestHash) -> Boxed<'a, Result<U256, OperatorError>> {
        Box::pin(async move {
            self.sender().drain().await?;
            let head = self.sender().chain().head().await?.number;
            let (escrow, depositor) = (self.deployment().escrow, self.sender().address());
            let call = JobEscrow::refundCall { manifest: manifest.0.into(), depositor };
            self.sender().call_since(head, &format!("refund/{escrow}/{manifest}"), escrow, call.abi_encode()).await?;
            Ok(self.withdraw().await?.unwrap_or_default())
        })
    }

    /// What this account has behind a chip; nothing if the chip was slashed.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn bond_of<'a>(&'a self, enclave_id: &'a EnclaveId) -> Boxed<'a, Result<Bond, OperatorError>> {
        Box::pin(async move {
            let account = self.sender().address();
            let held = self.observer().vault().positionOf(enclave_id.0.into(), account).call().await?;
            Ok(Bond {
                active: U256::from(held.active),
                unbonding: U256::from(held.unbonding),
                release_at: held.releaseAt.to(),
            })
        })
    }

    /// Bonds tokens until `amount` (in units of 10^-18) of this account stand behind a chip.
    ///
    /// # Errors
    /// Too few tokens; a chip that is not registered, barred or slashed; the chain.
    pub fn bond<'a>(&'a self, enclave_id: &'a EnclaveId, amount: U256) -> Boxed<'a, Result<Bond, OperatorError>> {
        Box::pin(async move {
            self.sender().drain().await?;
            let before = self.bond_of(enclave_id).await?;
            let missing = amount.saturating_sub(before.active);
            if missing.is_zero() {
                return Ok(before);
            }
            let vault = self.deployment().vault;
            self.allow(vault, missing).await?;
            let head = self.sender().chain().head().await?.number;
            let call = RewardVault::bondCall { enclaveId: enclave_id.0.into(), amount: U104::saturating_from(missing) };
            let name = format!("bond/{vault}/{enclave_id}/{}/{missing}", before.active);
            self.sender().call_since(head, &name, vault, call.abi_encode()).await?;
            self.bond_of(enclave_id).await
        })
    }

    /// Begins to release this account's bond, all but `keep` (in units of 10^-18). It can be taken out after the vault's
    /// period, and taken away until then.
    ///
    /// # Errors
    /// A chip that was slashed; the chain.
    pub fn unbond<'a>(&'a self, enclave_id: &'a EnclaveId, keep: U256) -> Boxed<'a, Result<Bond, OperatorError>> {
        Box::pin(async move {
            self.sender().drain().await?;
            let before = self.bond_of(enclave_id).await?;
            let amount = before.active.saturating_sub(keep);
            if amount.is_zero() {
                return Ok(before);
            }
            let head = self.sender().chain().head().await?.number;
            let vault = self.deployment().vault;
            let call =
                RewardVault::unbondCall { enclaveId: enclave_id.0.into(), amount: U104::saturating_from(amount) };
            let name = format!("unbond/{vault}/{enclave_id}/{}/{amount}", before.active);
            self.sender().call_since(head, &name, vault, call.abi_encode()).await?;
            self.bond_of(enclave_id).await
        })
    }

    /// Takes out this account's bond that is released, if there is any whose period is over.
    ///
    /// # Errors
    /// The chain.
    pub fn withdraw_bond<'a>(&'a self, enclave_id: &'a EnclaveId) -> Boxed<'a, Result<Option<U256>, OperatorError>> {
        Box::pin(async move {
            let head = self.sender().chain().head().await?;
            let Bond { unbonding, release_at, .. } = self.bond_of(enclave_id).await?;
            if unbonding.is_zero() || head.timestamp < release_at {
                return Ok(None);
            }
            let vault = self.deployment().vault;
            let call = RewardVault::withdrawCall { enclaveId: enclave_id.0.into() }.abi_encode();
            let name = format!("withdraw-bond/{vault}/{enclave_id}/{release_at}");
            self.sender().call_since(head.number, &name, vault, call).await?;
            Ok(Some(unbonding))
        })
    }

    /// Lets a contract take `amount` of this account's tokens.
    async fn allow(&self, spender: Address, amount: U256) -> Result<(), OperatorError> {
        let (sender, account) = (self.sender(), self.sender().address());
        let head = sender.chain().head().await?.number;
        let token = GlacierToken::new(self.deployment().token, sender.chain().provider());
        let has = token.balanceOf(account).call().await?;
        if has < amount {
            return Err(OperatorError::TooFew { has, needed: amount });
        }
        if token.allowance(account, spender).call().await? >= amount {
            return Ok(());
        }
        let call = GlacierToken::approveCall { spender, value: amount }.abi_encode();
        sender
            .call_since(head, &format!("approve/{}/{spender}/{amount}", token.address()), *token.address(), call)
            .await?;
        Ok(())
    }

    pub(crate) fn deposited<'a>(
        &'a self,
        manifest: &'a ManifestHash,
        by: Address,
    ) -> Boxed<'a, Result<Option<JobEscrow::Deposit>, OperatorError>> {
        Box::pin(async move {
            let escrow = JobEscrow::new(self.deployment().escrow, self.sender().chain().provider());
            // `idOf` of the contract.
            let id = keccak256((B256::from(manifest.0), by).abi_encode());
            let held = escrow.depositOf(id).call().await?;
            Ok((held.runs > 0).then_some(held))
        })
    }
}
