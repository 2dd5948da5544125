//! Gives proofs and the heads of their log to the host, in order.

use crate::{
    host::{HostError, HostPort},
    prover::{Burst, Prover},
};
use glacier_wire::{
    api::{HostFault, HostRequest},
    cbor,
};
use std::time::Duration;

/// Between two attempts to give the host what it had no place for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Publishes whatever `prover` signs. What is signed while the host still stores what came before goes
/// together, under one head.
pub(crate) async fn publish_all(prover: &Prover, host: &HostPort) {
    loop {
        let burst = prover.unpublished().await;
        // Without a host port proofs go to the parties alone.
        let _ = publish(host, burst).await;
    }
}

/// The host may refuse proofs: the parties have their own copies. Where its disk fails it is asked again,
/// because it cannot take a later proof without the one before.
async fn publish(host: &HostPort, Burst { mut proofs, head }: Burst) -> Result<(), HostError> {
    let head = head.as_ref().map(cbor::encode);
    if proofs.is_empty() {
        let Some(checkpoint) = head else { return Ok(()) };
        // Of no consequence if it fails: the next burst has the next head.
        return match host.call(HostRequest::Head { checkpoint }).await {
            Err(HostError::Broken) => Err(HostError::Broken),
            _ => Ok(()),
        };
    }
    loop {
        let mut answers = Vec::with_capacity(proofs.len());
        let last = proofs.len().saturating_sub(1);
        for (at, unpublished) in proofs.iter().enumerate() {
            let checkpoint = if at == last { head.clone() } else { None };
            let proof = cbor::encode(&unpublished.proof);
            answers.push(host.begin(HostRequest::Publish { proof, checkpoint }).await?);
        }
        let mut unkept = None;
        for (at, answer) in answers.into_iter().enumerate() {
            match answer.wait().await {
                Err(HostError::Broken) => return Err(HostError::Broken),
                Err(HostError::Fault(HostFault::Io | HostFault::Full)) => unkept = unkept.or(Some(at)),
                Ok(_) | Err(HostError::Fault(_)) => {}
            }
        }
        proofs.iter_mut().for_each(|unpublished| drop(unpublished.told.take()));
        let Some(unkept) = unkept else { return Ok(()) };
        proofs.drain(..unkept);
        tokio::time::sleep(PATIENCE).await;
    }
}
