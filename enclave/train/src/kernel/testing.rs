//! What the tests of all kernels need.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

use std::sync::LazyLock;

use super::Team;

static TEAMS: LazyLock<[Team; 3]> = LazyLock::new(|| [1, 2, 3].map(|threads| Team::new(threads).expect("threads")));

/// Numbers between -1 and 1 that look random and are the same each time.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..len)
        .map(|_| {
            // SplitMix64 (Steele, Lea and Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Runs `kernel` on teams of one, two and three threads, whose results must be the same bits, and returns them. What is
/// there before is not a number, so that a kernel that reads it where it should set shows.
pub(crate) fn everywhere(len: usize, kernel: impl Fn(&Team, &mut [f32])) -> Vec<f32> {
    let [first, others @ ..] = TEAMS.each_ref().map(|team| {
        let mut out = vec![f32::NAN; len];
        kernel(team, &mut out);
        out
    });
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for other in others {
        assert_eq!(bits(&first), bits(&other), "the number of threads shows");
    }
    first
}

/// Compares with the reference, relative to the largest value.
#[track_caller]
pub(crate) fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(1.0f64, |size, value| size.max(value.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 1e-5 * size, "at {index}: {found} for {expected}");
    }
}

/// The gradient of `loss` at `at` by central differences.
pub(crate) fn slope(at: &[f32], loss: impl Fn(&[f32]) -> f64) -> Vec<f64> {
    (0..at.len())
        .map(|index| {
            let step = 1.0 / 128.0;
            let shifted = |by: f32| {
                let mut at = at.to_vec();
                at[index] += by;
                (loss(&at), f64::from(at[index]))
            };
            let ((above, right), (below, left)) = (shifted(step), shifted(-step));
            (above - below) / (right - left)
        })
        .collect()
}

/// Compares a gradient with central differences, which are much coarser than a reference.
#[track_caller]
pub(crate) fn slopes(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(1.0f64, |size, value| size.max(value.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 2e-3 * size, "at {index}: slope {found} for {expected}");
    }
}
