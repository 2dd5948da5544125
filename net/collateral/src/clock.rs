//! The time, as a parameter.

use std::time::{SystemTime, UNIX_EPOCH};

use glacier_wire::UnixTime;

/// Tells the time at which validity is judged. Any `Fn() -> UnixTime` is one.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixTime;
}

impl<F: Fn() -> UnixTime + Send + Sync + 'static> Clock for F {
    fn now(&self) -> UnixTime {
        self()
    }
}

/// The machine's clock.
pub(crate) fn system() -> UnixTime {
    // Before 1970 nothing is valid yet.
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
