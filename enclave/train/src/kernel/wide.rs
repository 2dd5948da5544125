//! Plain loops, compiled for the widest vectors that the processor has.

use rten_simd::{Isa, SimdOp};

/// Runs `work` in a frame where the compiler may use AVX2 or AVX-512, whichever the processor has.
///
/// It helps only what is inlined into it: `work` and what it calls must be `#[inline(always)]`.
#[inline(always)]
pub(super) fn wide<R>(work: impl FnOnce() -> R) -> R {
    Wide(work).dispatch()
}

struct Wide<F>(F);

impl<R, F: FnOnce() -> R> SimdOp for Wide<F> {
    type Output = R;

    #[inline(always)]
    fn eval<I: Isa>(self, _isa: I) -> R {
        (self.0)()
    }
}
