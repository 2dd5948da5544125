//! Buffers that steps hand on to each other.

use crate::error::TrainError;

/// Float buffers of past values, and the bound on what is held at once.
///
/// A steady training step needs the same sizes again and again, so buffers are kept by their size.
#[derive(Debug)]
pub(crate) struct Pool {
    /// By capacity, ascending.
    free: Vec<Vec<f32>>,
    /// Elements in `free`.
    idle: usize,
    /// Elements handed out.
    live: usize,
    /// Most elements that may be handed out at once.
    limit: usize,
}

impl Pool {
    pub(crate) fn new(bytes: u64) -> Self {
        let limit = usize::try_from(bytes / 4).unwrap_or(usize::MAX);
        Self { free: Vec::new(), idle: 0, live: 0, limit }
    }

    /// A buffer of that many elements with any content: who takes it overwrites all of it.
    pub(crate) fn take(&mut self, len: usize) -> Result<Vec<f32>, TrainError> {
        let live = self.live.checked_add(len).filter(|live| *live <= self.limit);
        let Some(live) = live else { return Err(TrainError::Memory { limit: (self.limit as u64).saturating_mul(4) }) };
        self.live = live;
        let at = self.free.partition_point(|buffer| buffer.capacity() < len);
        // A much larger buffer serves better elsewhere.
        let fits = |buffer: &&Vec<f32>| buffer.capacity() / 2 <= len;
        if self.free.get(at).filter(fits).is_some() {
            let mut buffer = self.free.remove(at);
            self.idle = self.idle.saturating_sub(buffer.capacity());
            buffer.resize(len, 0.0);
            return Ok(buffer);
        }
        Ok(vec![0.0; len])
    }

    /// A buffer of zeros.
    pub(crate) fn zeroed(&mut self, len: usize) -> Result<Vec<f32>, TrainError> {
        let mut buffer = self.take(len)?;
        buffer.fill(0.0);
        Ok(buffer)
    }

    /// Takes a buffer back.
    pub(crate) fn give(&mut self, buffer: Vec<f32>) {
        self.live = self.live.saturating_sub(buffer.len());
        let room = self.limit.saturating_sub(self.live);
        if buffer.capacity() == 0 || self.idle.saturating_add(buffer.capacity()) > room {
            return;
        }
        self.idle = self.idle.saturating_add(buffer.capacity());
        let at = self.free.partition_point(|known| known.capacity() < buffer.capacity());
        self.free.insert(at, buffer);
    }

    /// Counts a buffer in that was made elsewhere.
    pub(crate) fn adopt(&mut self, len: usize) -> Result<(), TrainError> {
        let live = self.live.checked_add(len).filter(|live| *live <= self.limit);
        self.live = live.ok_or(TrainError::Memory { limit: (self.limit as u64).saturating_mul(4) })?;
        Ok(())
    }

    /// Counts nothing as handed out: what a broken step held is gone.
    pub(crate) fn reset(&mut self) {
        self.live = 0;
    }

    /// Elements of the buffers that wait for their next use.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle
    }

    /// Counts a buffer out that goes elsewhere.
    pub(crate) fn release(&mut self, len: usize) {
        self.live = self.live.saturating_sub(len);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let mut pool = Pool::new(4000);
        let first = pool.take(600).unwrap();
        let place = first.as_ptr();
        assert_eq!(pool.take(500), Err(TrainError::Memory { limit: 4000 }));
        pool.give(first);
        let second = pool.take(600).unwrap();
        assert_eq!(second.as_ptr(), place);
    }

    #[test]
    fn a_small_need_leaves_a_large_buffer_alone() {
        let mut pool = Pool::new(1 << 20);
        let large = pool.take(10_000).unwrap();
        pool.give(large);
        assert!(pool.take(10).unwrap().capacity() < 10_000);
    }
}
