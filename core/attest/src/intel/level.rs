//! What both signed documents are made of: levels with a status, and values of which some bits count.

use super::tcb::TcbStatus;
use alloc::{string::String, vec::Vec};
use glacier_wire::UnixTime;

/// What the vendor says of everything that reaches a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) status: TcbStatus,
    pub(crate) date: UnixTime,
    pub(crate) advisories: Vec<String>,
}

impl Level {
    /// Level of a platform with a part (the TDX module) at the level `part`: dated by the older.
    pub(crate) fn folded_with(&self, part: &Self) -> Self {
        Self {
            status: self.status.folded_with(part.status),
            date: self.date.min(part.date),
            advisories: self.advisories.iter().chain(&part.advisories).cloned().collect(),
        }
    }
}

/// A value of which only the masked bits count.
#[derive(Debug, Clone)]
pub(crate) struct Masked<const N: usize> {
    pub(crate) value: [u8; N],
    pub(crate) mask: [u8; N],
}

impl<const N: usize> Masked<N> {
    pub(crate) fn fits(&self, found: &[u8; N]) -> bool {
        self.value.iter().zip(self.mask).zip(found).all(|((value, mask), found)| found & mask == value & mask)
    }

    /// [`Masked::fits`], and no bit is set outside the mask.
    pub(crate) fn fits_exactly(&self, found: &[u8; N]) -> bool {
        self.value.iter().zip(self.mask).zip(found).all(|((value, mask), found)| *found == value & mask)
    }
}
