//! What the escrow pays for proofs.

use crate::{
    Boxed, Operator, OperatorError, SendError,
    contracts::JobEscrow,
    events::{self, Paid},
    operator::compact_signature,
};
use alloy::{
    primitives::{Address, keccak256},
    sol_types::SolCall,
};
use glacier_proof::{SignedProof, WorkProof};
use glacier_wire::LogHash;
use std::collections::{BTreeMap, BTreeSet};

/// What a deposit and a proof have to agree on: the job, whom its manifest names, and the price of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Job {
    manifest: [u8; 32],
    payer: [u8; 20],
    price: u64,
}

impl Job {
    pub(crate) fn of(proof: &WorkProof) -> Self {
        let at = &proof.settlement;
        Self { manifest: proof.manifest.0, payer: at.payer.0, price: at.price }
    }
}

/// Who has paid in for which job, as far as the events were read. What has expired is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Depositors {
    /// The block to go on from.
    next: Option<u64>,
    /// With the end of the deposit, seconds since 1970.
    of: BTreeMap<Job, BTreeMap<Address, u64>>,
}

impl Depositors {
    /// Reads on. What a reorganisation may still take back is read again the next time.
    pub(crate) fn read_on<'a>(&'a mut self, operator: &'a Operator) -> Boxed<'a, Result<(), OperatorError>> {
        Box::pin(async move {
            let (chain, deployment) = (operator.sender().chain(), operator.deployment());
            let head = chain.head().await?;
            let from = self.next.unwrap_or(deployment.block);
            for paid in events::deposits(chain, deployment, from, head.number).await? {
                let Paid { manifest, payer, price, depositor, expiry } = paid;
                let job = Job { manifest: manifest.0, payer: *payer.0, price };
                self.of.entry(job).or_default().insert(depositor, expiry);
            }
            self.next = Some(events::beyond_doubt(chain, head.number).max(from));
            for held in self.of.values_mut() {
                held.retain(|_, expiry| *expiry > head.timestamp);
            }
            self.of.retain(|_, held| !held.is_empty());
            Ok(())
        })
    }

    pub(crate) fn of(&self, job: &Job) -> BTreeSet<Address> {
        self.of.get(job).into_iter().flatten().map(|(depositor, _)| *depositor).collect()
    }
}

/// How the escrow is shown that a proof has earned its price.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ground<'a> {
    /// Its key earns now.
    Earns,
    /// It stands in the log that is settled for its key, by this audit path at the settled size.
    Settled(&'a [LogHash]),
}

impl Operator {
    /// Has the escrow credit one run to the chip's owner, for a proof whose key earns now. Whoever has the proof may do it; a
    /// proof that was paid costs nothing. Tells whether it was not.
    ///
    /// # Errors
    /// A proof that the deposit is not for; the chain.
    pub fn release<'a>(
        &'a self,
        signed: &'a SignedProof,
        depositor: Address,
    ) -> Boxed<'a, Result<bool, OperatorError>> {
        Box::pin(async move { self.pay(signed, depositor, Ground::Earns).await })
    }

    /// [`Operator::release`] for a proof in a settled log, whatever became of its key since: `path` is its audit path at the
    /// size that is settled.
    ///
    /// # Errors
    /// As there; a proof that is not settled; a chip that is barred.
    pub fn release_settled<'a>(
        &'a self,
        signed: &'a SignedProof,
        depositor: Address,
        path: &'a [LogHash],
    ) -> Boxed<'a, Result<bool, OperatorError>> {
        Box::pin(async move { self.pay(signed, depositor, Ground::Settled(path)).await })
    }

    pub(crate) fn pay<'a>(
        &'a self,
        signed: &'a SignedProof,
        depositor: Address,
        ground: Ground<'a>,
    ) -> Boxed<'a, Result<bool, OperatorError>> {
        Box::pin(async move {
            self.sender().drain().await?;
            let proof = &signed.proof;
            let escrow = self.deployment().escrow;
            let paid = JobEscrow::new(escrow, self.sender().chain().provider());
            if paid.isPaid(proof.enclave_key.0.into(), proof.sequence).call().await? {
                return Ok(false);
            }
            let (r, vs) = compact_signature(&signed.signature.0);
            let shown = shown(proof);
            let call = match ground {
                Ground::Earns => JobEscrow::releaseCall { proof: shown, depositor, r, vs }.abi_encode(),
                Ground::Settled(path) => {
                    let path = path.iter().map(|hash| hash.0.into()).collect();
                    JobEscrow::releaseSettledCall { proof: shown, depositor, path }.abi_encode()
                }
            };
            let name = format!("release/{escrow}/{}/{}/{depositor}", proof.enclave_key, proof.sequence);
            self.sender().call(&name, escrow, call).await?;
            Ok(true)
        })
    }

    /// Runs that this account's deposit holds for a proof's job, where it pays for that proof at the time `now`, seconds
    /// since 1970: the terms are the proof's, it is not over, and it is not for another chip.
    pub(crate) async fn pays(&self, proof: &WorkProof, by: Address, now: u64) -> Result<u32, OperatorError> {
        let Some(held) = self.deposited(&proof.manifest, by).await? else { return Ok(0) };
        let terms = (*held.payer.0, held.price) == (proof.settlement.payer.0, proof.settlement.price);
        let chip = held.chipPrefix.is_zero() || proof.enclave_id.0.starts_with(&held.chipPrefix.0);
        Ok(if terms && chip && held.expiry.to::<u64>() > now { held.runs } else { 0 })
    }
}

impl OperatorError {
    /// Whether a contract said no, as opposed to a chain that does not answer.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Send(SendError::Refused { .. }))
    }
}

/// As the escrow reads it.
fn shown(proof: &WorkProof) -> JobEscrow::WorkProof {
    JobEscrow::WorkProof {
        enclaveId: proof.enclave_id.0.into(),
        enclaveKey: proof.enclave_key.0.into(),
        measurement: proof.measurement.0.into(),
        platform: keccak256(proof.platform.as_str()),
        work: keccak256(proof.work.as_str()),
        manifest: proof.manifest.0.into(),
        model: proof.model.0.into(),
        input: proof.input.0.into(),
        output: proof.output.0.into(),
        units: proof.units,
        sequence: proof.sequence,
        previous: proof.previous.0.into(),
        payer: proof.settlement.payer.0.into(),
        price: proof.settlement.price,
    }
}
