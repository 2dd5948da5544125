//! Numbers that follow from a seed, on every machine alike.

use blake3::{Hasher, OutputReader};

/// A stream of numbers out of BLAKE3's extendable output, keyed by a seed and told apart by its purpose.
pub struct Random {
    stream: OutputReader,
    block: [u8; BLOCK],
    used: usize,
}

const BLOCK: usize = 1024;

impl Random {
    /// The stream for one purpose in one context.
    pub fn new(seed: &[u8; 32], purpose: &str, context: &[u8]) -> Self {
        let mut hasher = Hasher::new_keyed(seed);
        // The length keeps purpose and context apart.
        hasher.update(&(purpose.len() as u64).to_le_bytes()).update(purpose.as_bytes()).update(context);
        Self { stream: hasher.finalize_xof(), block: [0; BLOCK], used: BLOCK }
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        if self.used >= BLOCK {
            self.stream.fill(&mut self.block);
            self.used = 0;
        }
        let bytes = self.block.get(self.used..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        self.used = self.used.saturating_add(8);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`, each as likely as the others; 0 where the bound is 0 or 1, and nothing is drawn.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound < 2 {
            return 0;
        }
        // Lemire 2019, "Fast random integer generation in an interval": multiply, and draw again in the uneven rest.
        let rest = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let wide = u128::from(self.draw()).saturating_mul(u128::from(bound));
            if wide as u64 >= rest {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A number from 0 to less than 1, on a grid of 2^-24.
    pub fn unit(&mut self) -> f32 {
        (self.draw() >> 40) as f32 * (1.0 / 16_777_216.0)
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_and_purpose_one_stream() {
        let draw = |seed: u8, purpose: &str, context: &[u8]| {
            let mut random = Random::new(&[seed; 32], purpose, context);
            (0..300).map(|_| random.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "a", b"b"), draw(1, "a", b"b"));
        for other in [draw(2, "a", b"b"), draw(1, "ab", b""), draw(1, "a", b"c")] {
            assert_ne!(draw(1, "a", b"b"), other);
        }
    }

    #[test]
    fn bounds_hold_and_nothing_is_favoured() {
        let mut random = Random::new(&[3; 32], "test", b"");
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        // Five standard deviations.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 470), "{counts:?}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.unit())));
    }
}
