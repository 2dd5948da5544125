//! Many callers, one fetch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::error::FetchError;

/// What is under way, by key.
pub(crate) struct Flights<T> {
    under_way: Arc<Mutex<UnderWay<T>>>,
}

type UnderWay<T> = HashMap<String, watch::Receiver<Option<Result<T, FetchError>>>>;

/// A seat in a flight. Dropping it leaves the flight to the others.
pub(crate) struct Seat<T>(watch::Receiver<Option<Result<T, FetchError>>>);

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(crate) fn new() -> Self {
        Self { under_way: Arc::default() }
    }

    /// Joins the flight of `key`, or starts `work` as one. It ends whether or not anybody waits.
    pub(crate) fn join<W>(&self, key: &str, work: impl FnOnce() -> W) -> Seat<T>
    where
        W: Future<Output = Result<T, FetchError>> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(key) {
            return Seat(flight.clone());
        }
        let (tell, seat) = watch::channel(None);
        under_way.insert(key.to_owned(), seat.clone());
        let landing = Landing { under_way: self.under_way.clone(), key: key.to_owned() };
        let work = work();
        tokio::spawn(async move {
            let outcome = work.await;
            // Whoever comes from here on starts anew and finds what this one has cached.
            drop(landing);
            tell.send_replace(Some(outcome));
        });
        Seat(seat)
    }
}

impl<T: Clone> Seat<T> {
    pub(crate) async fn outcome(mut self) -> Result<T, FetchError> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(FetchError::Interrupted)),
            Err(_) => Err(FetchError::Interrupted),
        }
    }
}

/// Takes the flight off the board, also when its task is dropped or panics.
struct Landing<T> {
    under_way: Arc<Mutex<UnderWay<T>>>,
    key: String,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    #[tokio::test]
    async fn one_work_serves_all_who_join() {
        let flights = Flights::new();
        let first = flights.join("a", || async {
            sleep(Duration::from_millis(20)).await;
            Ok(1)
        });
        let second = flights.join("a", || async { Ok(2) });
        let other = flights.join("b", || async { Ok(3) });
        assert_eq!((second.outcome().await, first.outcome().await, other.outcome().await), (Ok(1), Ok(1), Ok(3)));
        assert_eq!(flights.join("a", || async { Ok(4) }).outcome().await, Ok(4));
    }

    #[tokio::test]
    async fn work_goes_on_when_its_starter_leaves() {
        let flights = Flights::new();
        drop(flights.join("a", || async {
            sleep(Duration::from_millis(20)).await;
            Ok(1)
        }));
        assert_eq!(flights.join("a", || async { Ok(2) }).outcome().await, Ok(1));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_interruption_and_blocks_nobody() {
        let flights = Flights::<u8>::new();
        let fails = flights.join("a", || async { panic!("on purpose") });
        assert_eq!(fails.outcome().await, Err(FetchError::Interrupted));
        assert_eq!(flights.join("a", || async { Ok(2) }).outcome().await, Ok(2));
    }
}
