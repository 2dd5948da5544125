//! What the operator gets for the work: registration, settlement, a claim.

use super::{
    stage::Stage,
    story::{Story, short},
};
use crate::{
    checks::mark,
    command::chain::{fault, tokens},
    error::Failure,
    output::{WARN, paint},
    units::grouped,
};
use alloy::primitives::{Address, U256};
use glacier_attest::Outcome;
use glacier_proof::Bundle;
use serde::Serialize;

/// What the node's chain says at the end.
#[derive(Serialize)]
pub(super) struct Payment {
    chain_id: u64,
    ledger: Address,
    /// Gas of the registration, in which contracts verified the whole quote.
    registration_gas: u64,
    /// Proofs that are settled, this job's among them.
    settled: u64,
    settlement_gas: u64,
    /// Whether the path that came with the proof leads to the root that the ledger keeps.
    proof_is_settled: bool,
    /// Tokens of the operator, in units of 10^-18.
    balance: U256,
}

impl Payment {
    pub(super) fn good(&self) -> bool {
        self.settled > 0 && self.proof_is_settled && !self.balance.is_zero()
    }
}

/// A registration that was made.
pub(super) struct Registered {
    registry: Address,
    gas: u64,
}

impl Registered {
    pub(super) fn tell(&self, story: &Story) {
        story.row(
            "registered",
            format_args!(
                "in {}  contracts verified its quote, signature by signature, for {} gas: the first of a network, later ones \
                 cost less",
                short(&format!("{:#x}", self.registry)),
                grouped(self.gas)
            ),
        );
    }
}

/// Registers the enclave on the node's own chain.
pub(super) async fn register(stage: &Stage) -> Result<Registered, Failure> {
    let keeper = &stage.part.keeper;
    keeper.register().await.map_err(fault)?;
    let registry = keeper.operator().deployment().registry;
    Ok(Registered { registry, gas: last_gas(stage).await? })
}

/// Settles the job, lets an epoch pass, and claims.
pub(super) async fn settle(
    story: &Story,
    stage: &Stage,
    bundle: &Bundle,
    registered: Registered,
) -> Result<Payment, Failure> {
    let (keeper, operator) = (&stage.part.keeper, stage.part.keeper.operator());
    let proof = &bundle.proof.proof;
    let settled = keeper.settle(true).await.map_err(fault)?;
    let settlement_gas = last_gas(stage).await?;
    let path = bundle.logged.as_ref().map_or(&[][..], |logged| &logged.path);
    let proof_is_settled = operator.observer().is_settled(proof, path).await.map_err(fault)?;
    let outcome = if proof_is_settled { Outcome::Pass } else { Outcome::Fail };
    story.say(format_args!(
        "{} the node posted one signature of the enclave over the log of its proofs, for {} gas. Under \
         the root that the ledger keeps now, the path that came with this proof leads to it; so would one of ten thousand.",
        mark(outcome),
        grouped(settlement_gas)
    ));
    stage.pass_a_day();
    let balance = keeper.claim().await.map_err(fault)?;
    story.say(format_args!(
        "{} a day later (the chain's clock was put forward) it claimed its part of that day's emission: {}.",
        mark(if balance.is_zero() { Outcome::Fail } else { Outcome::Pass }),
        paint(WARN, tokens(balance, true))
    ));
    let deployment = operator.deployment();
    let standing = keeper.standing().await.map_err(fault)?;
    story.row("balance", tokens(standing.balance, true));
    Ok(Payment {
        chain_id: deployment.chain_id,
        ledger: deployment.ledger,
        registration_gas: registered.gas,
        settled,
        settlement_gas,
        proof_is_settled,
        balance: standing.balance,
    })
}

/// Gas of the newest transaction on the node's own chain.
async fn last_gas(stage: &Stage) -> Result<u64, Failure> {
    stage.part.keeper.operator().sender().chain().head().await.map(|head| head.gas_used).map_err(fault)
}
