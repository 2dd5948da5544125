//! What the owner of the data is told while a model is trained, and what it gets at the end.
//!
//! All of it travels inside the channel. A page has one length whatever is in it, and is given at one
//! pace, so that the host learns from neither how the loss goes.

use super::{EpochMetrics, Real, TrainingMetrics};
use crate::{
    cbor::{self, CborError},
    id::Digest,
};
use alloc::vec::Vec;

/// Some steps in a row. Fast training makes more steps than people look at: those of about a twentieth of
/// a second are told as one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
pub struct Point {
    /// The last of them, from 1.
    #[n(0)]
    pub step: u64,
    /// Mean loss over their rows.
    #[n(1)]
    pub loss: Real,
    /// Learning rate of the last.
    #[n(2)]
    pub rate: Real,
    /// Largest norm of a gradient among them, before clipping.
    #[n(3)]
    pub norm: Real,
}

/// How far training is. `GET /glacier/v1/jobs/{manifest}/training?points=N&epochs=M`, for the data provider.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
pub struct TrainingPage {
    /// From the N-th on.
    #[n(0)]
    pub points: Vec<Point>,
    /// From the M-th on.
    #[n(1)]
    pub epochs: Vec<EpochMetrics>,
    /// Epochs that the plan asks for.
    #[n(2)]
    pub planned_epochs: u32,
    /// Steps of one epoch; zero while that is not known.
    #[n(3)]
    pub steps_per_epoch: u64,
    /// The newest checkpoint that the host has said it keeps.
    #[n(4)]
    pub checkpoint: u64,
    /// There is more of this at once.
    #[n(5)]
    pub more: bool,
}

impl TrainingPage {
    /// Bytes of every page.
    pub const BYTES: usize = 16 << 10;
    /// Most points of one page, each at most 30 bytes.
    pub const MAX_POINTS: usize = 256;
    /// Most epochs of one page, each at most 200 bytes.
    pub const MAX_EPOCHS: usize = 32;

    /// The page in its one length: its CBOR, its length before it, zeros behind it.
    pub fn pad(&self) -> Vec<u8> {
        let body = cbor::encode(self);
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut page = Vec::with_capacity(Self::BYTES.max(body.len().saturating_add(4)));
        page.extend_from_slice(&len.to_le_bytes());
        page.extend_from_slice(&body);
        page.resize(Self::BYTES.max(page.len()), 0);
        page
    }

    /// Reads a page.
    pub fn read(page: &[u8]) -> Result<Self, CborError> {
        let (len, body) = page.split_first_chunk().ok_or(CborError::Malformed)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| CborError::Malformed)?;
        cbor::decode(body.get(..len).ok_or(CborError::Malformed)?, Self::BYTES)
    }
}

/// `GET /glacier/v1/jobs/{manifest}/refined`, for the data provider, once the job is done.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Refined {
    /// The sealed result at the host. Believe its content when its digest is the record's.
    #[n(0)]
    pub asset: Digest,
    /// Opens the record's commitment.
    #[n(1)]
    pub metrics: TrainingMetrics,
}

impl Refined {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = TrainingMetrics::MAX_BYTES + 64;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::Measured, *};
    use crate::training::Metric;

    #[test]
    fn every_page_has_one_length_and_the_fullest_fits() {
        let real = Real::new(-1.0e-7).unwrap();
        let point = Point { step: u64::MAX, loss: real, rate: real, norm: real };
        let validation =
            Metric::WORDS.iter().map(|word| Measured { metric: word.parse().unwrap(), value: real }).collect();
        let epoch = EpochMetrics { epoch: u32::MAX, steps: u64::MAX, loss: real, validation };
        let empty = TrainingPage {
            points: Vec::new(),
            epochs: Vec::new(),
            planned_epochs: 0,
            steps_per_epoch: 0,
            checkpoint: 0,
            more: false,
        };
        let full = TrainingPage {
            points: alloc::vec![point; TrainingPage::MAX_POINTS],
            epochs: alloc::vec![epoch; TrainingPage::MAX_EPOCHS],
            planned_epochs: u32::MAX,
            steps_per_epoch: u64::MAX,
            checkpoint: u64::MAX,
            more: true,
        };
        for page in [empty, full] {
            let bytes = page.pad();
            assert_eq!(bytes.len(), TrainingPage::BYTES);
            assert_eq!(TrainingPage::read(&bytes).unwrap(), page);
        }
        assert!(TrainingPage::read(&[9, 0, 0, 0, 1]).is_err());
    }
}
