//! Numbers that look random and come again from the same key.

use glacier_wire::training::Seed;
use zeroize::Zeroize as _;

/// What a stream is for: streams of different purposes have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Order of the rows of an epoch.
    Shuffle,
    /// Which rows are for validation.
    Split,
    /// Dropout masks of a batch.
    Dropout,
    /// First weights of a model that is made from nothing: one stream a tensor.
    Weights,
    /// First values of adapters.
    Adapter,
    /// Noise of a private step.
    Noise,
    /// Rows of a private step.
    Sample,
}

impl Purpose {
    fn context(self) -> &'static str {
        match self {
            Self::Shuffle => "glacier train v1 shuffle",
            Self::Split => "glacier train v1 split",
            Self::Dropout => "glacier train v1 dropout",
            Self::Weights => "glacier train v1 weights",
            Self::Adapter => "glacier train v1 adapter",
            Self::Noise => "glacier train v1 noise",
            Self::Sample => "glacier train v1 sample",
        }
    }
}

/// The key of stream `number` for this purpose.
pub fn key(seed: &[u8; 32], purpose: Purpose, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(purpose.context());
    hasher.update(seed).update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The key of a stream that the plan's seed fixes.
pub fn planned(seed: &Seed, purpose: Purpose, number: u64) -> [u8; 32] {
    key(&seed.0, purpose, number)
}

/// An endless stream of bits under a key: BLAKE3's keyed extendable output, a CSPRNG.
pub struct Stream {
    reader: blake3::OutputReader,
    block: [u8; Self::BLOCK],
    at: usize,
}

impl Stream {
    const BLOCK: usize = 512;

    /// The stream of this key, from its start.
    pub fn new(key: &[u8; 32]) -> Self {
        let reader = blake3::Hasher::new_keyed(key).finalize_xof();
        Self { reader, block: [0; Self::BLOCK], at: Self::BLOCK }
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        if self.at >= Self::BLOCK {
            self.reader.fill(&mut self.block);
            self.at = 0;
        }
        let bytes = self.block.get(self.at..).and_then(<[u8]>::first_chunk::<8>).copied().unwrap_or_default();
        self.at = self.at.saturating_add(8);
        u64::from_le_bytes(bytes)
    }

    /// Uniform below `bound`, without bias (Lemire 2019). 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(bound);
        let threshold = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let product = u128::from(self.bits()).wrapping_mul(wide);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform, more than 0 and at most 1, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 1.0) * (1.0 / (1u64 << 53) as f64)
    }

    /// Two independent draws of the standard normal distribution (Box and Muller 1958).
    pub fn normals(&mut self) -> [f64; 2] {
        let radius = libm::sqrt(-2.0 * libm::log(self.unit()));
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.unit());
        [radius * cos, radius * sin]
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed: u8, purpose, number| {
            let mut stream = Stream::new(&key(&[seed; 32], purpose, number));
            (0..200).map(|_| stream.bits()).collect::<Vec<_>>()
        };
        let one = draw(1, Purpose::Noise, 0);
        assert_eq!(one, draw(1, Purpose::Noise, 0));
        assert_ne!(one, draw(2, Purpose::Noise, 0));
        assert_ne!(one, draw(1, Purpose::Sample, 0));
        assert_ne!(one, draw(1, Purpose::Noise, 1));
        let mut sorted = one.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), one.len());
    }

    /// The stream is BLAKE3's: bytes are those of the reference function under the same key.
    #[test]
    fn the_stream_is_keyed_blake3() {
        let mut stream = Stream::new(&[7; 32]);
        let mut expected = [0u8; 2048];
        blake3::Hasher::new_keyed(&[7; 32]).finalize_xof().fill(&mut expected);
        for bytes in expected.as_chunks::<8>().0 {
            assert_eq!(stream.bits(), u64::from_le_bytes(*bytes));
        }
    }

    #[test]
    fn draws_below_a_bound_are_even() {
        let mut stream = Stream::new(&[1; 32]);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            let count = counts.get_mut(stream.below(7) as usize);
            *count.unwrap_or(&mut 0) += 1;
        }
        // Seven standard deviations of a binomial of 70,000 and 1/7.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 650), "{counts:?}");
        assert_eq!(stream.below(0), 0);
        assert_eq!(stream.below(1), 0);
    }

    #[test]
    fn normals_have_the_moments_of_the_normal_distribution() {
        let mut stream = Stream::new(&[2; 32]);
        let draws: Vec<f64> = (0..100_000).flat_map(|_| stream.normals()).collect();
        let moment = |power| draws.iter().map(|draw| draw.powi(power)).sum::<f64>() / draws.len() as f64;
        assert!(moment(1).abs() < 0.015);
        assert!((moment(2) - 1.0).abs() < 0.02);
        assert!(moment(3).abs() < 0.06);
        assert!((moment(4) - 3.0).abs() < 0.15);
        let within = draws.iter().filter(|draw| draw.abs() < 1.0).count() as f64 / draws.len() as f64;
        assert!((within - 0.682_689).abs() < 0.006);
    }
}
