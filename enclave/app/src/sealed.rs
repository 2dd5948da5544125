//! State that survives restarts, and does not go back.
//!
//! It lies with the host, sealed under a key that this code gets from this chip alone; so an altered, cut or
//! exchanged state is no state. An *older* one is authentic, though, and nothing in the hardware tells it from
//! the newest. What tells is the parties: each answer names version and digest of the state, the client library
//! remembers the newest it was told by this code on this chip, and says so with its next request. An enclave
//! that has an older state refuses, and so does one whose state went another way from there (a fork: two
//! enclaves that were started from one state). The digest of each version covers the one before and fresh
//! randomness, so no two ways are alike.

use crate::{
    Context,
    checkpoint::{Checkpoints, cannot_seal},
};
use glacier_platform::{LockedKey, SealingPurpose};
use glacier_wire::{
    Digest, ManifestHash,
    api::{Refusal, RefusalCode, StateHead},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, VecDeque},
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use zeroize::Zeroizing;

/// A state of type `T` under a name of its own. Holds nothing itself: make it where it is used, or keep it.
///
/// Each change is sealed and on the host's disk before it counts. TDX has no sealing key: there every use is
/// refused with [`RefusalCode::Platform`].
#[derive(Debug)]
pub struct SealedState<T> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned + Default> SealedState<T> {
    /// The state of that name: lower-case letters, digits and `-`, at most [`StateHead::MAX_NAME`] of them.
    pub const fn new(name: &'static str) -> Self {
        Self { name, of: PhantomData }
    }

    /// Looks at the state; the default, where there was none yet.
    ///
    /// # Errors
    /// [`RefusalCode::CheckpointForged`] where the host brings what this enclave did not seal under this name.
    pub async fn read<R>(&self, cx: &Context, work: impl FnOnce(&T) -> R) -> Result<R, Refusal> {
        let slot = cx.states().slot(self.name)?;
        let mut slot = slot.lock().await;
        Ok(work(&decode(cx.states().load(cx, self.name, &mut slot).await?)?))
    }

    /// Changes the state. When this returns `Ok`, the new state is sealed and kept, and after an error the old one
    /// stands, but for [`RefusalCode::StateUnknown`]: the host did not say that it has kept the new one, may have
    /// all the same, and may bring back either, now or at a later start. A caller that hangs up does not know
    /// either. So let a change that must not be made twice carry a name by which `work` knows it again.
    ///
    /// # Errors
    /// Whatever `work` says; those of [`read`](Self::read); [`RefusalCode::TooLarge`] for a state beyond
    /// [`MAX_STATE`](Self::MAX_STATE); [`RefusalCode::StateUnknown`].
    pub async fn update<R>(&self, cx: &Context, work: impl FnOnce(&mut T) -> Result<R, Refusal>) -> Result<R, Refusal> {
        let slot = cx.states().slot(self.name)?;
        let mut slot = slot.lock_owned().await;
        let loaded = cx.states().load(cx, self.name, &mut slot).await?;
        let mut state = decode(loaded)?;
        let outcome = work(&mut state)?;
        let bytes = serde_json::to_vec(&state).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| Refusal::new(RefusalCode::App, "the state cannot be written as JSON"))?;
        if bytes.len() > Self::MAX_STATE {
            return Err(Refusal::new(RefusalCode::TooLarge, "the application's state is larger than can be sealed"));
        }
        let next = loaded.next(bytes, &cx.nonce().0);
        let (cx, name) = (cx.clone(), self.name);
        // In a task of its own, which has the slot: a caller that hangs up does not split what the host keeps from
        // what is known here.
        let keeping = tokio::spawn(async move { cx.states().keep(&cx, name, &mut slot, next).await });
        keeping.await.map_err(unknown)??;
        Ok(outcome)
    }

    /// Version and digest: what answers say of it.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub async fn head(&self, cx: &Context) -> Result<StateHead, Refusal> {
        let slot = cx.states().slot(self.name)?;
        let mut slot = slot.lock().await;
        Ok(cx.states().load(cx, self.name, &mut slot).await?.head(self.name))
    }

    /// Most bytes of a state, as JSON. It is written whole with each change.
    pub const MAX_STATE: usize = MAX_STATE;
}

/// The sealed states of an enclave, as far as they were asked for.
#[derive(Default)]
pub(crate) struct States {
    slots: Mutex<BTreeMap<String, Slot>>,
    /// What the chip gives this code. Asked for once: callers decide how often it is needed.
    key: OnceCell<LockedKey<32>>,
    /// The host keeps as a checkpoint what was committed last: one writes at a time.
    writing: AsyncMutex<()>,
}

type Slot = Arc<AsyncMutex<Place>>;

/// What is known of a state.
#[derive(Default)]
struct Place {
    /// Nothing before the host was asked, and where it did not say what it keeps.
    loaded: Option<Loaded>,
    /// The newest that was surely kept in this run: the host brings back that or what came of it.
    least: Option<StateHead>,
}

impl States {
    /// Refuses where a party was told of a newer state than there is, or of one that this did not come from.
    pub(crate) async fn hold_against(&self, cx: &Context, seen: &[StateHead]) -> Result<(), Refusal> {
        for head in seen.iter().filter(|head| head.version > 0) {
            let known = self.lock().get(&head.name).cloned();
            let slot = known.clone().unwrap_or_default();
            let mut loaded = slot.lock().await;
            self.load(cx, &head.name, &mut loaded).await?.hold_against(head)?;
            // What this enclave sealed is its own; a name that a caller made up takes no place.
            if known.is_none() {
                self.lock().entry(head.name.clone()).or_insert_with(|| slot.clone());
            }
        }
        Ok(())
    }

    /// What answers say: of each state that was asked for.
    pub(crate) async fn heads(&self) -> Vec<StateHead> {
        let slots: Vec<_> = self.lock().iter().map(|(name, slot)| (name.clone(), slot.clone())).collect();
        let mut heads = Vec::new();
        for (name, slot) in slots {
            let slot = slot.lock().await;
            heads.extend(slot.loaded.as_ref().filter(|loaded| loaded.version > 0).map(|loaded| loaded.head(&name)));
        }
        heads
    }

    fn slot(&self, name: &str) -> Result<Slot, Refusal> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(name) {
            return Ok(slot.clone());
        }
        if slots.len() >= StateHead::MOST || !StateHead::is_name(name) {
            return Err(Refusal::new(RefusalCode::BadRequest, "there is no such state, nor room for it"));
        }
        Ok(slots.entry(name.to_owned()).or_default().clone())
    }

    async fn load<'a>(&self, cx: &Context, name: &str, place: &'a mut Place) -> Result<&'a Loaded, Refusal> {
        if place.loaded.is_none() {
            let loaded = match self.checkpoints(cx, name).await?.recall(0).await.map_err(of_state)? {
                None => Loaded::default(),
                Some(kept) => {
                    let version = kept.number();
                    let bytes = kept.state(MAX_KEPT).await.map_err(of_state)?;
                    Loaded::parse(version, &bytes).ok_or_else(forged)?
                }
            };
            if let Some(least) = &place.least {
                loaded.hold_against(least)?;
            }
            place.loaded = Some(loaded);
        }
        place.loaded.as_ref().ok_or_else(forged)
    }

    async fn keep(&self, cx: &Context, name: &str, place: &mut Place, next: Loaded) -> Result<(), Refusal> {
        let checkpoints = self.checkpoints(cx, name).await?;
        let _writing = self.writing.lock().await;
        // From here on the host may bring back either, until it has said that it keeps the new one.
        place.least = place.loaded.take().map(|before| before.head(name));
        let mut attempts = ATTEMPTS;
        loop {
            match checkpoints.keep(next.version, &next.bytes()).await {
                Ok(()) => break,
                // A result that was stored between commit and keep makes the host refuse; it is not to blame then.
                Err(_) if attempts > 1 => attempts = attempts.saturating_sub(1),
                Err(fault) => return Err(unknown(fault)),
            }
        }
        place.loaded = Some(next);
        Ok(())
    }

    async fn checkpoints(&self, cx: &Context, name: &str) -> Result<Checkpoints, Refusal> {
        let derive = || async {
            let cx = cx.clone();
            let derived = tokio::task::spawn_blocking(move || cx.platform_handle().sealing_key(SealingPurpose::App));
            derived.await.map_err(cannot_seal)?.map_err(cannot_seal)
        };
        let chip = self.key.get_or_try_init(derive).await?;
        Checkpoints::under(cx.host(), chip.expose(), ManifestHash(blake3::derive_key(NAME, name.as_bytes())), &[])
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A state in memory.
#[derive(Default)]
struct Loaded {
    version: u64,
    /// Of the last versions, this one's last.
    digests: VecDeque<[u8; 32]>,
    /// JSON; empty before the first change.
    state: Zeroizing<Vec<u8>>,
}

impl Loaded {
    fn next(&self, state: Zeroizing<Vec<u8>>, random: &[u8; 32]) -> Self {
        let version = self.version.saturating_add(1);
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST);
        hasher.update(self.digests.back().unwrap_or(&[0; 32]));
        hasher.update(&version.to_le_bytes()).update(random).update(&state);
        let mut digests = self.digests.clone();
        digests.push_back(*hasher.finalize().as_bytes());
        if digests.len() > HISTORY {
            digests.pop_front();
        }
        Self { version, digests, state }
    }

    fn head(&self, name: &str) -> StateHead {
        let digest = self.digests.back().copied().unwrap_or_default();
        StateHead { name: name.to_owned(), version: self.version, digest: Digest(digest) }
    }

    fn hold_against(&self, seen: &StateHead) -> Result<(), Refusal> {
        let Some(since) = self.version.checked_sub(seen.version) else {
            let detail = format!(
                "there was a version {} of `{}`, and the host brings back {}: it was set back",
                seen.version, seen.name, self.version
            );
            return Err(Refusal::new(RefusalCode::CheckpointStale, detail));
        };
        let mut newest_first = self.digests.iter().rev();
        let then = usize::try_from(since).ok().and_then(|since| newest_first.nth(since));
        // Further back than is remembered: nothing can be told.
        if then.is_some_and(|digest| *digest != seen.digest.0) {
            let detail = format!(
                "version {} of `{}` is another here than it was before: the state has forked",
                seen.version, seen.name
            );
            return Err(Refusal::new(RefusalCode::StateForked, detail));
        }
        Ok(())
    }

    /// As it is sealed: how many digests, the digests, the state.
    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        let count = u16::try_from(self.digests.len()).unwrap_or(u16::MAX);
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.state.len().saturating_add(PREFIX)));
        bytes.extend_from_slice(&count.to_le_bytes());
        self.digests.iter().for_each(|digest| bytes.extend_from_slice(digest));
        bytes.extend_from_slice(&self.state);
        bytes
    }

    fn parse(version: u64, bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (digests, state) = rest.split_at_checked(count.checked_mul(32)?)?;
        let digests = digests.as_chunks::<32>().0.iter().copied().collect();
        Some(Self { version, digests, state: Zeroizing::new(state.to_vec()) })
    }
}

fn decode<T: DeserializeOwned + Default>(loaded: &Loaded) -> Result<T, Refusal> {
    if loaded.version == 0 {
        return Ok(T::default());
    }
    serde_json::from_slice(&loaded.state).map_err(|_| forged())
}

fn unknown(fault: impl std::fmt::Display) -> Refusal {
    let detail = format!("whether the change was kept is not known: the host did not say that it was ({fault})");
    Refusal::new(RefusalCode::StateUnknown, detail)
}

fn of_state(refusal: Refusal) -> Refusal {
    if refusal.code == RefusalCode::CheckpointForged { forged() } else { refusal }
}

fn forged() -> Refusal {
    let detail = "the host's state is not one that this enclave sealed under this name: altered, cut or exchanged";
    Refusal::new(RefusalCode::CheckpointForged, detail)
}

const NAME: &str = "glacier 2026 name of an application's sealed state";
const DIGEST: &str = "glacier 2026 digest of an application's sealed state";
const MAX_STATE: usize = 16 << 20;
/// Versions whose digests are remembered.
const HISTORY: usize = 256;
/// In front of the state.
const PREFIX: usize = 2 + 32 * HISTORY;
const MAX_KEPT: u64 = (MAX_STATE + PREFIX) as u64;
const ATTEMPTS: usize = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn grown(from: &Loaded, by: u64, random: u8) -> Loaded {
        let mut state = from.next(Zeroizing::new(b"{}".to_vec()), &[random; 32]);
        for _ in 1..by {
            state = state.next(Zeroizing::new(b"{}".to_vec()), &[random; 32]);
        }
        state
    }

    fn code(state: &Loaded, seen: &StateHead) -> Result<(), RefusalCode> {
        state.hold_against(seen).map_err(|refusal| refusal.code)
    }

    #[test]
    fn an_older_state_and_another_way_are_refused() {
        let old = grown(&Loaded::default(), 3, 1);
        let new = grown(&old, 4, 1);
        assert_eq!(code(&new, &old.head("s")), Ok(()));
        assert_eq!(code(&new, &new.head("s")), Ok(()));
        assert_eq!(code(&old, &new.head("s")), Err(RefusalCode::CheckpointStale));
        assert_eq!(code(&Loaded::default(), &old.head("s")), Err(RefusalCode::CheckpointStale));
        // The same changes from the same state, twice.
        let fork = grown(&old, 4, 2);
        assert_eq!(code(&fork, &new.head("s")), Err(RefusalCode::StateForked));
        assert_eq!(code(&grown(&fork, 9, 2), &new.head("s")), Err(RefusalCode::StateForked));
        assert_eq!(code(&fork, &old.head("s")), Ok(()), "both came from there");
    }

    #[test]
    fn so_much_is_remembered_and_no_more() {
        let old = grown(&Loaded::default(), 1, 1);
        let other = grown(&Loaded::default(), 1, 2);
        let recent = grown(&old, HISTORY as u64 - 1, 1);
        assert_eq!(code(&recent, &other.head("s")), Err(RefusalCode::StateForked));
        assert_eq!(code(&grown(&recent, 1, 1), &other.head("s")), Ok(()));
    }

    #[test]
    fn what_is_sealed_is_read_and_nothing_shorter() {
        let state = grown(&Loaded::default(), 300, 1);
        let bytes = state.bytes();
        let again = Loaded::parse(300, &bytes).unwrap();
        assert_eq!((again.head("s"), again.state.as_slice()), (state.head("s"), &b"{}"[..]));
        assert!(Loaded::parse(300, &bytes[..2 + 32 * HISTORY - 1]).is_none());
        assert!(Loaded::parse(300, &[]).is_none());
    }
}
