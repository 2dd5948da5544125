//! A key comes in, and stays.

use super::{Enclave, Keeper, KeeperError, Quoted, Running};
use crate::{Chip, OperatorError, observer::wire};
use glacier_wire::{Address, api::RegistrationOrder};
use std::time::{Duration, Instant};
use tracing::info;

/// A renewal that was refused, for want of newer collateral most likely, is tried again after this.
const RENEW_PAUSE: Duration = Duration::from_secs(3600);
/// Between two looks at how long a registration lasts, which is days.
const RENEW_LOOK: Duration = Duration::from_secs(60);
/// Enclaves that may come up one after the other while one is registered.
const ATTEMPTS: u32 = 3;

impl<E: Enclave> Keeper<E> {
    /// Registers the enclave that runs, unless it is; returns its key.
    ///
    /// # Errors
    /// No enclave, a barred chip, no quote, the registry's refusal, or the chain.
    pub async fn register(&self) -> Result<Address, KeeperError> {
        let _turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let running = self.enclave.running().await.ok_or(KeeperError::NoEnclave)?;
            if let Some(key) = self.present(Some(running)) {
                return Ok(key);
            }
            // What an earlier run of this node had under way may be this chip's registration.
            self.operator.sender().drain().await?;
            let chip = self.operator.chip(&running.enclave_id).await?;
            if chip.barred {
                return Err(KeeperError::Barred);
            }
            let quoted = self.quote(chip.registrations).await?;
            // A quote outlives the enclave that it was asked of: then the next one has answered, with a key of its own.
            if self.enclave.running().await != Some(running) {
                continue;
            }
            self.enter(running, chip, &quoted).await?;
            let mut state = self.state();
            state.registered = Some((running.start, quoted.enclave_key));
            state.renew_again = None;
            state.idle.clear();
            return Ok(quoted.enclave_key);
        }
        Err(KeeperError::Restarted)
    }

    /// Registers, unless the registry has the key for this chip and owner: from a run of this node that ended before the enclave
    /// did.
    async fn enter(&self, running: Running, chip: Chip, quoted: &Quoted) -> Result<(), KeeperError> {
        let known = self.operator.observer().status_of(&quoted.enclave_key, &running.enclave_id).await;
        let known = known.map_err(OperatorError::from)?;
        if known.registration == 0 {
            let (id, key) = (&running.enclave_id, &quoted.enclave_key);
            self.operator.register(id, key, chip.registrations, &quoted.quote).await?;
            info!(%key, "the enclave is registered");
            return Ok(());
        }
        let current = known.registration == chip.registrations && known.live_until > 0;
        if !current || known.owner != self.operator.sender().address() {
            return Err(KeeperError::KeySpent);
        }
        info!(key = %quoted.enclave_key, "the enclave was registered already");
        Ok(())
    }

    /// Prolongs the key's life where it ends soon.
    ///
    /// # Errors
    /// No quote, the registry's refusal, or the chain.
    pub async fn renew(&self) -> Result<(), KeeperError> {
        let _turn = self.turn.lock().await;
        let Some(key) = self.present(self.enclave.running().await) else { return Ok(()) };
        if self.state().renew_again.is_some_and(|again| Instant::now() < again) {
            return Ok(());
        }
        let until = self.operator.life(&key).await?.until;
        let now = self.operator.sender().chain().head().await.map_err(OperatorError::from)?.timestamp;
        if until.saturating_sub(now) > self.terms.renew_before.as_secs() {
            self.state().renew_again = Instant::now().checked_add(RENEW_LOOK.max(self.terms.pause));
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
}
