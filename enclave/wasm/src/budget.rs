//! What one instance may hold.

use wasmtime::{ResourceLimiter, Result};

/// Memories and tables of one instance, counted together.
pub(crate) struct Budget {
    left: u64,
    denied: bool,
}

impl Budget {
    /// Bytes that an element of a table takes.
    const ELEMENT: usize = 16;
    /// Most instances, tables or memories; each costs some bytes that nobody counts.
    const PARTS: usize = 64;

    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: bytes, denied: false }
    }

    /// Whether more was wanted than there is.
    pub(crate) fn denied(&self) -> bool {
        self.denied
    }

    fn take(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.denied = true;
                false
            }
        }
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(self.take(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(self.take(desired.saturating_sub(current).saturating_mul(Self::ELEMENT)))
    }

    fn instances(&self) -> usize {
        Self::PARTS
    }

    fn tables(&self) -> usize {
        Self::PARTS
    }

    fn memories(&self) -> usize {
        Self::PARTS
    }
}
