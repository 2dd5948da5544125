//! What an application keeps for one session: typed, and wiped when the session ends.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use zeroize::{Zeroize, Zeroizing};

/// The state of one session, one value of each type. See [`Request::session`](crate::Request::session).
#[derive(Clone, Default)]
pub struct SessionState(Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send>>>>);

impl SessionState {
    /// Works on this session's value of that type, which is the default at first.
    pub fn with<T, R>(&self, work: impl FnOnce(&mut T) -> R) -> R
    where
        T: Default + Zeroize + Send + 'static,
    {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(Zeroizing::new(T::default())));
        match value.downcast_mut::<Zeroizing<T>>() {
            Some(value) => work(value),
            None => work(&mut Zeroizing::new(T::default())),
        }
    }

    /// Wipes all of it. What a task that outlives the session puts here later is wiped with the task.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl std::fmt::Debug for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionState(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells when it was wiped.
    #[derive(Default)]
    struct Secret(Option<Arc<Mutex<Vec<u8>>>>);

    impl Zeroize for Secret {
        fn zeroize(&mut self) {
            if let Some(seen) = self.0.take() {
                seen.lock().unwrap_or_else(PoisonError::into_inner).zeroize();
            }
        }
    }

    #[test]
    fn each_type_has_a_value_and_all_are_wiped_at_the_end() {
        let (state, secret) = (SessionState::default(), Arc::new(Mutex::new(vec![7; 4])));
        state.with(|count: &mut u64| *count += 2);
        state.with(|kept: &mut Secret| kept.0 = Some(secret.clone()));
        assert_eq!(state.clone().with(|count: &mut u64| *count), 2);
        state.end();
        assert!(secret.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
        assert_eq!(state.with(|count: &mut u64| *count), 0);
    }
}
