//! Dropout, inverted: what is kept is scaled up, so that evaluation needs nothing.

use super::{Backward, Differentiable, Forward, Keeps, Op};
use crate::{error::TrainError, kernel::Team, network::Mode};

/// `Dropout`: its presence in the graph is what asks for it, so it drops in training whatever its own
/// switch says, and never in evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Dropout {
    /// As an attribute (operator sets before 12), or else as input 1.
    pub(super) ratio: Option<f32>,
}

impl Dropout {
    fn ratio(&self, given: bool, input: impl Fn() -> Option<f32>) -> Option<f32> {
        let ratio = match self.ratio {
            Some(ratio) => ratio,
            None if given => input()?,
            None => 0.5,
        };
        (0.0..1.0).contains(&ratio).then_some(ratio)
    }
}

impl Op for Dropout {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.float(0)?.shape.to_vec();
        let scalar = || match cx.float(1).ok()?.data {
            [ratio] => Some(*ratio),
            _ => None,
        };
        let ratio = self.ratio(cx.given(1), scalar).ok_or_else(|| cx.clash())?;
        let Mode::Train { dropout } = cx.mode else { return identity(cx, shape) };
        if ratio == 0.0 {
            return identity(cx, shape);
        }
        let mask = Mask::new(dropout, cx.place, ratio);
        if cx.wanted(1) {
            let mut kept = cx.ints(&shape)?;
            let count = cx.float(0)?.data.len();
            kept.extend((0..count as u64).map(|at| i64::from(mask.keeps(at))));
            cx.put_int(1, shape.clone(), kept);
        }
        let mut out = cx.buffer(&shape)?;
        mask.apply(cx.team, cx.float(0)?.data, &mut out);
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }

    fn folds(&self) -> bool {
        false
    }
}

fn identity(cx: &mut Forward<'_>, shape: Vec<usize>) -> Result<(), TrainError> {
    if cx.wanted(1) {
        let mut kept = cx.ints(&shape)?;
        kept.resize(cx.float(0)?.data.len(), 1);
        cx.put_int(1, shape.clone(), kept);
    }
    cx.alias(shape)
}

impl Differentiable for Dropout {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 2, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let given = cx.inputs.get(1).copied().flatten().is_some();
        let scalar = || match cx.float(1).ok()?.data {
            [ratio] => Some(*ratio),
            _ => None,
        };
        let ratio = self.ratio(given, scalar).ok_or_else(|| cx.lost())?;
        let Mode::Train { dropout } = cx.mode else { return Err(cx.lost()) };
        if ratio == 0.0 {
            return cx.give(0, gradient);
        }
        // The mask is made again rather than kept.
        let mut part = cx.pool.take(gradient.len())?;
        Mask::new(dropout, cx.place, ratio).apply(cx.team, &gradient, &mut part);
        cx.recycle(gradient);
        cx.give(0, part)
    }
}

/// Which elements are kept: a hash of key, node and place in the tensor (SplitMix64 run as a counter; Steele, Lea
/// and Flood 2014), so that it depends on nothing else.
#[derive(Debug, Clone, Copy)]
struct Mask {
    stream: u64,
    /// Dropped below this, of 2^32.
    threshold: u32,
    scale: f32,
}

impl Mask {
    const GRAIN: usize = 16 * 1024;

    fn new(key: &[u8; 32], place: usize, ratio: f32) -> Self {
        let (words, _) = key.as_chunks::<8>();
        let start = mix((place as u64).wrapping_add(1).wrapping_mul(GOLDEN));
        let stream = words.iter().fold(start, |stream, word| mix(stream ^ u64::from_le_bytes(*word)));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let threshold = (f64::from(ratio) * 4_294_967_296.0) as u32;
        Self { stream, threshold, scale: 1.0 / (1.0 - ratio) }
    }

    fn keeps(self, at: u64) -> bool {
        let bits = mix(self.stream.wrapping_add((at >> 1).wrapping_mul(GOLDEN)));
        #[allow(clippy::cast_possible_truncation)]
        let half = (bits >> ((at & 1) << 5)) as u32;
        half >= self.threshold
    }

    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "pieces of slices of one length")]
    fn apply(self, team: &Team, from: &[f32], to: &mut [f32]) {
        team.pieces(to, Self::GRAIN, |index, to| {
            let start = index * Self::GRAIN;
            let from = &from[start..][..to.len()];
            for (at, (to, from)) in to.iter_mut().zip(from).enumerate() {
                *to = if self.keeps((start + at) as u64) { from * self.scale } else { 0.0 };
            }
        });
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_their_share_and_differ_between_nodes_and_keys() {
        let kept = |mask: Mask| (0..10_000).map(|at| mask.keeps(at)).collect::<Vec<bool>>();
        let first = kept(Mask::new(&[1; 32], 3, 0.3));
        let share = first.iter().filter(|kept| **kept).count();
        assert!((6_800..7_200).contains(&share), "{share}");
        assert_ne!(first, kept(Mask::new(&[1; 32], 4, 0.3)));
        assert_ne!(first, kept(Mask::new(&[2; 32], 3, 0.3)));
        assert_eq!(first, kept(Mask::new(&[1; 32], 3, 0.3)));
    }
}
