//! Plain loops, compiled for the widest vectors that the processor has.

use rten_simd::{Isa, SimdOp};

/// Runs `work` in a frame where the compiler may use AVX2 or AVX-512, whichever the processor has.
///
/// It helps only what is inlined into it, and a large closure is not unless told so: write
/// `wide(#[inline(always)] || ..)`. Otherwise it becomes a function for the least of processors, in which every
/// `mul_add` is a call.
#[inline(always)]
pub(super) fn wide<R>(work: impl FnOnce() -> R) -> R {
    Wide(work).dispatch()
}

/// Folds two slices of one length in sixteen lanes and adds the lanes: the order of the sum depends on the length alone.
#[inline(always)]
pub(super) fn lanes(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = f(*lane, *a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane = f(*lane, *a, *b);
    }
    lanes.iter().sum()
}

struct Wide<F>(F);

impl<R, F: FnOnce() -> R> SimdOp for Wide<F> {
    type Output = R;

    #[inline(always)]
    fn eval<I: Isa>(self, _isa: I) -> R {
        (self.0)()
    }
}

/// What one thread takes at a time where all elements are alike: enough to be worth a hand-over.
pub(super) const GRAIN: usize = 16 * 1024;
