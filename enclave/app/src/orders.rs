//! Does what the host wants, where that is harmless.

use crate::{
    epoch,
    host::{HostError, HostPort},
    prover::Prover,
};
use glacier_platform::Platform;
use glacier_proof::Registration;
use glacier_wire::api::{HOST_CHUNK, HostOrder, HostReply, HostRequest, OrderFault, RegistrationOrder};
use std::{sync::Arc, time::Duration};

/// Before the host is asked again when it answered anything but an order.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two orders: a host that gives nothing but orders is not to keep the enclave from its work.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks for orders and carries them out, one after the other, until the host goes away. Nothing else
/// waits for this.
pub(crate) async fn follow(prover: &Prover, platform: &Arc<dyn Platform>, host: &HostPort) {
    loop {
        match host.call(HostRequest::Orders).await {
            Ok(HostReply::Order { order }) => {
                if carry_out(order, prover, platform, host).await == Err(HostError::Broken) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(HostError::Broken) => return,
            Ok(_) | Err(HostError::Fault(_)) => tokio::time::sleep(PATIENCE).await,
        }
    }
}

async fn carry_out(
    order: HostOrder,
    prover: &Prover,
    platform: &Arc<dyn Platform>,
    host: &HostPort,
) -> Result<(), HostError> {
    let answer = match order {
        HostOrder::Settle(ledger) => match prover.settle(ledger) {
            Ok(()) => return Ok(()),
            Err(fault) => HostRequest::Refused { order, fault },
        },
        HostOrder::Register(registration) => {
            let quoted = quote(registration, prover, platform).await;
            quoted.unwrap_or(HostRequest::Refused { order, fault: OrderFault::Platform })
        }
    };
    host.call(answer).await.map(|_| ())
}

/// Hardware quotes slowly, so this is done beside the threads that carry sessions. `None` if it failed.
async fn quote(order: RegistrationOrder, prover: &Prover, platform: &Arc<dyn Platform>) -> Option<HostRequest> {
    let enclave_key = prover.address();
    let RegistrationOrder { chain_id, registry, owner, number } = order;
    let data = Registration { chain_id, registry, enclave_key, owner, number }.report_data();
    let platform = platform.clone();
    let quoted = tokio::task::spawn_blocking(move || {
        let quote = platform.quote(&data).ok()?;
        Some((quote, epoch::collateral(&*platform).ok()?))
    });
    let (quote, collateral) = quoted.await.ok()??;
    let fits = |bytes: &Vec<u8>| quote.len().saturating_add(bytes.len()) <= HOST_CHUNK;
    let collateral = Some(collateral).filter(|collateral| !collateral.is_empty() && fits(collateral));
    (quote.len() <= HOST_CHUNK).then_some(HostRequest::Registered { order, enclave_key, quote, collateral })
}
