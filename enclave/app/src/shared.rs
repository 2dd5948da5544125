//! State of an application that all its requests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex for requests. A request that panicked while it held the state ends alone: what it had written
/// stands, and the next request goes on from there. Do not hold it while you wait for anything.
#[derive(Debug, Default)]
pub struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    /// Shares a state.
    pub const fn new(state: T) -> Self {
        Self(Mutex::new(state))
    }

    /// The state, for this request alone.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
