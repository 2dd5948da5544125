//! Seeded randomness that is the same on every machine.
//!
//! `ln` and `exp` of the standard library are those of the platform and may differ in the last bit, which is enough
//! to move an event to another day. These use only operations whose rounding is fixed.

/// SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// 0 to `count` - 1.
    pub(super) fn below(&mut self, count: u32) -> u32 {
        (self.unit() * f64::from(count)) as u32
    }

    /// Time to the next event of a Poisson process.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -ln(1.0 - self.unit()) * mean
    }

    /// Normal by the sum of twelve: the far tails are cut at six sigma.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// How many of `expected`: whole ones, and the rest by chance.
    pub(super) fn about(&mut self, expected: f64) -> u64 {
        expected as u64 + u64::from(self.chance(expected.fract()))
    }
}

/// Natural logarithm of a positive normal number.
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    // 2 atanh((m - 1) / (m + 1)), m in [1, 2).
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut sum, mut power) = (0.0, t);
    for odd in (1..40).step_by(2) {
        sum += power / f64::from(odd);
        power *= t * t;
    }
    2.0 * sum + f64::from(exponent) * std::f64::consts::LN_2
}

/// For |x| below some hundreds.
pub(super) fn exp(x: f64) -> f64 {
    let halvings = 10;
    let small = x / f64::from(1 << halvings);
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..12 {
        term *= small / f64::from(n);
        sum += term;
    }
    (0..halvings).fold(sum, |value, _| value * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_and_exponential_are_those_of_the_standard_library() {
        for x in [1e-16, 0.001, 0.5, 0.999, 1.0, 1.5, 2.0, 10.0, 12_345.6] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-12 * (1.0 + f64::ln(x).abs()), "{x}");
            let y = f64::ln(x);
            assert!((exp(y) / f64::exp(y) - 1.0).abs() < 1e-10, "{y}");
        }
    }

    #[test]
    fn samples_have_the_moments_that_they_should() {
        let mut random = Random::new(1);
        let n = 200_000;
        let mean = (0..n).map(|_| random.exponential(30.0)).sum::<f64>() / f64::from(n);
        assert!((mean - 30.0).abs() < 0.3, "{mean}");
        let normal: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        assert!((0..1000).all(|_| random.below(7) < 7));
        let about = (0..n).map(|_| random.about(2.25)).sum::<u64>() as f64 / f64::from(n);
        assert!((about - 2.25).abs() < 0.01, "{about}");
    }
}
