//! What the host wants of its enclave, until an enclave has been told.
//!
//! The enclave asks; what it was told dies with it, so each enclave is told anew.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use glacier_wire::{
    Address,
    api::{HostOrder, OrderFault, RegistrationOrder, SettlementOrder},
};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

/// A quote that registers an enclave key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationQuote {
    /// The key that the enclave says it is about.
    pub enclave_key: Address,
    /// Raw evidence over `glacier_proof::Registration::report_data`.
    pub quote: Vec<u8>,
    /// What the platform brings to judge it by: JSON in the members of DCAP's `QuoteCollateralV3`.
    /// Absent where the vendor's service has it.
    pub collateral: Option<Vec<u8>>,
}

/// Why there is no registration quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// No enclave answered in [`RegistrationError::PATIENCE`].
    #[error("no enclave brought a registration quote in time")]
    TimedOut,
    /// The enclave did not do it.
    #[error("{0}")]
    Refused(OrderFault),
    /// As many registrations as may wait at once do.
    #[error("too many registrations wait for their quotes")]
    Busy,
}

impl RegistrationError {
    /// How long a quote may take, a restart of the enclave included.
    pub const PATIENCE: Duration = Duration::from_secs(90);
}

type Outcome = Result<RegistrationQuote, RegistrationError>;

/// Where orders wait.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    settle: Option<SettlementOrder>,
    registrations: Vec<Waiting>,
    next: u64,
}

struct Waiting {
    id: u64,
    order: RegistrationOrder,
    answer: oneshot::Sender<Outcome>,
}

/// What one enclave has been told.
#[derive(Default)]
pub(crate) struct Told {
    settle: Option<SettlementOrder>,
    registrations: HashSet<u64>,
}

impl Told {
    /// Of an enclave that knows where to settle from the run before.
    pub(crate) fn of(settles: Option<(u64, Address)>) -> Self {
        let settle = settles.map(|(chain_id, ledger)| SettlementOrder { chain_id, ledger });
        Self { settle, registrations: HashSet::new() }
    }

    /// Chain and ledger for which it signs heads.
    pub(crate) fn settles(&self) -> Option<(u64, Address)> {
        self.settle.map(|SettlementOrder { chain_id, ledger }| (chain_id, ledger))
    }
}

impl Desk {
    /// Most registrations that wait.
    const MOST: usize = 16;

    /// Where heads are to be signed for, from now on.
    pub(crate) fn settle(&self, order: SettlementOrder) {
        self.state().settle = Some(order);
        self.0.changes.send_replace(());
    }

    /// Where heads are to be signed for.
    pub(crate) fn settled_at(&self) -> Option<SettlementOrder> {
        self.state().settle
    }

    /// Has the enclave quoted, or the next one if that one ends.
    pub(crate) async fn register(&self, order: RegistrationOrder) -> Outcome {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state();
            state.registrations.retain(|waiting| !waiting.answer.is_closed());
            if state.registrations.len() >= Self::MOST {
                return Err(RegistrationError::Busy);
            }
            let id = state.next;
            state.next = id.wrapping_add(1);
            state.registrations.push(Waiting { id, order, answer });
        }
        self.0.changes.send_replace(());
        match timeout(RegistrationError::PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(RegistrationError::TimedOut),
        }
    }

    /// The enclave has answered: all who wait for this very order have their answer.
    pub(crate) fn answered(&self, order: &RegistrationOrder, outcome: &Outcome) {
        let mut state = self.state();
        for waiting in std::mem::take(&mut state.registrations) {
            if waiting.order != *order {
                state.registrations.push(waiting);
            } else {
                // Nobody may wait any more.
                let _ = waiting.answer.send(outcome.clone());
            }
        }
    }

    /// The next order that an enclave has not been told. Waits until there is one.
    pub(crate) async fn next(&self, told: &mut Told) -> HostOrder {
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(order) = self.untold(told) {
                return order;
            }
            // The sender lives as long as this.
            let _ = changes.changed().await;
        }
    }

    fn untold(&self, told: &mut Told) -> Option<HostOrder> {
        let mut state = self.state();
        if let Some(settle) = state.settle.filter(|settle| told.settle != Some(*settle)) {
            told.settle = Some(settle);
            return Some(HostOrder::Settle(settle));
        }
        state.registrations.retain(|waiting| !waiting.answer.is_closed());
        told.registrations.retain(|id| state.registrations.iter().any(|waiting| waiting.id == *id));
        let waiting = state.registrations.iter().find(|waiting| told.registrations.insert(waiting.id))?;
        Some(HostOrder::Register(waiting.order))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn order(number: u32) -> RegistrationOrder {
        RegistrationOrder { chain_id: 1, registry: Address([1; 20]), owner: Address([2; 20]), number }
    }

    fn quote() -> Outcome {
        Ok(RegistrationQuote { enclave_key: Address([3; 20]), quote: vec![4], collateral: None })
    }

    async fn nothing(desk: &Desk, told: &mut Told) -> bool {
        timeout(Duration::from_millis(20), desk.next(told)).await.is_err()
    }

    #[tokio::test]
    async fn each_enclave_is_told_once_where_to_settle() {
        let desk = Desk::default();
        let (mut first, mut second) = (Told::default(), Told::default());
        assert!(nothing(&desk, &mut first).await);
        for chain_id in [1, 2] {
            let settle = SettlementOrder { chain_id, ledger: Address([9; 20]) };
            desk.settle(settle);
            assert_eq!(desk.next(&mut first).await, HostOrder::Settle(settle));
            assert!(nothing(&desk, &mut first).await);
        }
        // An enclave that comes later hears the last word alone.
        assert_eq!(desk.next(&mut second).await, HostOrder::Settle(desk.settled_at().unwrap()));
        assert!(nothing(&desk, &mut second).await);
    }

    #[tokio::test]
    async fn a_registration_outlives_the_enclave_that_was_told_of_it() {
        let desk = Desk::default();
        let asking = tokio::spawn({
            let desk = desk.clone();
            async move { desk.register(order(7)).await }
        });
        let mut first = Told::default();
        assert_eq!(desk.next(&mut first).await, HostOrder::Register(order(7)));
        assert!(nothing(&desk, &mut first).await);
        assert_eq!(desk.next(&mut Told::default()).await, HostOrder::Register(order(7)));
        // An answer to something else is nobody's.
        desk.answered(&order(8), &quote());
        assert!(!asking.is_finished());
        desk.answered(&order(7), &quote());
        assert_eq!(asking.await.unwrap(), quote());
        assert!(nothing(&desk, &mut Told::default()).await);
    }

    #[tokio::test]
    async fn who_waits_no_more_makes_room() {
        let desk = Desk::default();
        let asking: Vec<_> = (0..Desk::MOST)
            .map(|number| {
                let desk = desk.clone();
                tokio::spawn(async move { desk.register(order(u32::try_from(number).unwrap())).await })
            })
            .collect();
        while desk.state().registrations.len() < Desk::MOST {
            tokio::task::yield_now().await;
        }
        assert_eq!(desk.register(order(99)).await, Err(RegistrationError::Busy));
        for task in asking {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(nothing(&desk, &mut Told::default()).await);
        let refused = Err(RegistrationError::Refused(OrderFault::Platform));
        let (answer, ()) = tokio::join!(desk.register(order(99)), async {
            let mut told = Told::default();
            let told = desk.next(&mut told).await;
            assert_eq!(told, HostOrder::Register(order(99)));
            desk.answered(&order(99), &refused);
        });
        assert_eq!(answer, refused);
    }
}
