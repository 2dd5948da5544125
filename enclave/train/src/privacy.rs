//! Differential privacy: the noise of a step, and what it leaves of a row's privacy.
//!
//! Neighbouring data sets differ in one row, which one of them has and the other replaces by nothing. The
//! accountant is that of Rényi differential privacy (Mironov 2017); of the Poisson-sampled Gaussian it takes
//! the closed form for whole orders (Mironov, Talwar, Zhang 2019, section 3.3), which is an upper bound once
//! it is only minimised over whole orders.
//!
//! Noise and sampling come from a key that the enclave draws, gives to nobody and forgets with the run. Who
//! knew it could subtract the noise; the plan's seed, which all parties know, has no part in it. So a replay
//! of a private run comes to other weights: see `TrainingRecord`.

use crate::seed::{Purpose, Stream, key};
use glacier_wire::training::{Privacy, Sampling};
use zeroize::Zeroizing;

/// What the accountant counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Releases {
    /// Steps that each take every row with this probability.
    Sampled {
        /// 0 to 1.
        probability: f64,
        /// How many.
        steps: u64,
    },
    /// Times that a row is used, each in a step of its own that others use or not.
    Whole {
        /// How many.
        times: u64,
    },
}

/// Orders at which Rényi divergences of sampled releases are bounded.
const ORDERS: [u32; 72] = orders();

/// Least epsilon at this delta for noise of deviation `noise` (in units of the clipping norm): the Rényi
/// bound at each order, converted as in Canonne, Kamath, Steinke 2020, proposition 12.
pub fn epsilon(noise: f64, releases: Releases, delta: f64) -> f64 {
    let at = |order: f64, divergence: f64| {
        let rest = libm::log1p(-1.0 / order) - (libm::log(delta) + libm::log(order)) / (order - 1.0);
        (divergence + rest).max(0.0)
    };
    match releases {
        Releases::Whole { times: 0 } | Releases::Sampled { steps: 0, .. } => 0.0,
        Releases::Whole { times } => {
            // A Gaussian's divergence is a line through all orders: the grid is as fine as epsilon is rounded.
            let slope = times as f64 / (2.0 * noise * noise);
            let orders = (1..=6000).map(|place| 1.0 + libm::exp((f64::from(place) - 3000.0) * 0.004));
            orders.map(|order| at(order, slope * order)).fold(f64::INFINITY, f64::min)
        }
        Releases::Sampled { probability, .. } if probability <= 0.0 => 0.0,
        Releases::Sampled { probability, steps } if probability >= 1.0 => {
            epsilon(noise, Releases::Whole { times: steps }, delta)
        }
        Releases::Sampled { probability, steps } => {
            let bounds = ORDERS
                .iter()
                .map(|order| at(f64::from(*order), steps as f64 * sampled_divergence(probability, noise, *order)));
            bounds.fold(f64::INFINITY, f64::min)
        }
    }
}

/// Rényi divergence of whole order of one Poisson-sampled Gaussian release:
/// `ln Σ_k C(order, k) (1 - q)^(order - k) q^k exp((k² - k) / 2σ²) / (order - 1)`.
pub fn sampled_divergence(probability: f64, noise: f64, order: u32) -> f64 {
    let whole = f64::from(order);
    let term = |k: u32| {
        let k = f64::from(k);
        let choose = libm::lgamma(whole + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(whole - k + 1.0);
        choose
            + k * libm::log(probability)
            + (whole - k) * libm::log1p(-probability)
            + (k * k - k) / (2.0 * noise * noise)
    };
    let terms: Vec<f64> = (0..=order).map(term).collect();
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| libm::exp(term - top)).sum();
    // The sum is at least 1; what rounding takes from that is no negative divergence.
    ((top + libm::log(sum)) / (whole - 1.0)).max(0.0)
}

/// What so many steps of a plan are, over `rows` rows.
pub fn releases(privacy: &Privacy, batch: u32, rows: u64, steps_per_epoch: u64, steps: u64) -> Releases {
    match privacy.sampling {
        Sampling::Shuffle => Releases::Whole { times: steps.div_ceil(steps_per_epoch.max(1)) },
        _ => Releases::Sampled { probability: (f64::from(batch) / rows.max(1) as f64).min(1.0), steps },
    }
}

/// Draws what nobody may know. Overwritten when dropped.
#[derive(Clone)]
pub struct Noise(Zeroizing<[u8; 32]>);

impl Noise {
    /// Under a key fresh from the enclave's generator.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.0
    }

    /// Adds to each value a draw of the normal distribution of this deviation. Each step has its own.
    ///
    /// A draw is half the sum of four: what rounding shows of one alone says too much of the value beneath
    /// (Mironov 2012; Holohan, Braghin 2021).
    pub fn add(&self, step: u64, deviation: f64, values: &mut [f32]) {
        let mut stream = Stream::new(&key(&self.0, Purpose::Noise, step));
        for value in values {
            let ([a, b], [c, d]) = (stream.normals(), stream.normals());
            *value = (f64::from(*value) + deviation * 0.5 * (a + b + c + d)) as f32;
        }
    }

    /// Which of `rows` rows a step takes, each with this probability by itself.
    pub fn sample(&self, step: u64, rows: u64, probability: f64) -> Vec<u64> {
        let mut stream = Stream::new(&key(&self.0, Purpose::Sample, step));
        (0..rows).filter(|_| stream.unit() <= probability).collect()
    }
}

const fn orders() -> [u32; 72] {
    let mut orders = [0u32; 72];
    let mut place = 0;
    while place < 72 {
        // 2 to 64 one by one, then as far as tiny sampling rates and much noise want.
        #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated by the compiler")]
        {
            orders[place] = match place {
                0..=62 => place as u32 + 2,
                63 => 80,
                64 => 96,
                65 => 128,
                66 => 192,
                67 => 256,
                68 => 384,
                69 => 512,
                70 => 1024,
                _ => 2048,
            };
            place += 1;
        }
    }
    orders
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// Made by `tests/oracle.py`: the divergence's integral, computed numerically.
    const INTEGRALS: &str = include_str!("../tests/fixtures/privacy.txt");

    #[test]
    fn divergences_are_the_integrals() {
        let mut cases = 0;
        for line in INTEGRALS.lines().filter(|line| !line.starts_with('#')) {
            let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let [probability, noise, order, expected] = numbers[..] else { continue };
            let found = sampled_divergence(probability, noise, order as u32);
            assert!((found - expected).abs() < 1e-6 * expected.max(1e-3), "{line}: {found}");
            cases += 1;
        }
        assert_eq!(cases, 25);
    }

    /// The table of TensorFlow Privacy's MNIST tutorial: 60,000 rows, batches of 256, delta 1e-5; it uses the
    /// older conversion, which gives a little more.
    #[test]
    fn published_figures_come_out() {
        for (noise, epochs, published) in [(1.3, 15.0, 1.19), (1.1, 60.0, 3.01), (0.7, 45.0, 7.10)] {
            let probability = 256.0 / 60_000.0;
            let steps = (epochs * 60_000.0 / 256.0) as u64;
            let older = |order: u32| {
                let divergence = steps as f64 * sampled_divergence(probability, noise, order);
                divergence + 1e5f64.ln() / f64::from(order - 1)
            };
            let older = ORDERS.iter().map(|order| older(*order)).fold(f64::INFINITY, f64::min);
            assert!((older / published - 1.0).abs() < 0.02, "{older} {published}");
            let found = epsilon(noise, Releases::Sampled { probability, steps }, 1e-5);
            assert!(found < older && found > 0.7 * older, "{found} {older}");
        }
    }

    /// Balle, Wang 2018: the exact delta of one Gaussian release at an epsilon. The bound lies above, not far.
    #[test]
    fn whole_releases_are_bounded_closely() {
        let phi = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
        let exact_delta = |epsilon: f64, noise: f64| {
            phi(0.5 / noise - epsilon * noise) - epsilon.exp() * phi(-0.5 / noise - epsilon * noise)
        };
        for (noise, times) in [(1.0, 1), (2.0, 1), (4.0, 10), (10.0, 3), (0.5, 2)] {
            let found = epsilon(noise, Releases::Whole { times }, 1e-5);
            // So many releases are one of so much less noise.
            let noise = noise / (times as f64).sqrt();
            assert!(exact_delta(found, noise) <= 1e-5, "{noise}");
            assert!(exact_delta(found * 0.85, noise) > 1e-5, "{noise} {found}");
        }
    }

    #[test]
    fn more_is_worse() {
        let of = |noise, probability, steps, delta| epsilon(noise, Releases::Sampled { probability, steps }, delta);
        let base = of(1.0, 0.01, 1000, 1e-5);
        assert!(of(0.9, 0.01, 1000, 1e-5) > base);
        assert!(of(1.0, 0.02, 1000, 1e-5) > base);
        assert!(of(1.0, 0.01, 1001, 1e-5) > base);
        assert!(of(1.0, 0.01, 1000, 1e-6) > base);
        assert_eq!(of(1.0, 0.01, 0, 1e-5), 0.0);
        assert_eq!(of(1.0, 1.0, 5, 1e-5), epsilon(1.0, Releases::Whole { times: 5 }, 1e-5));
        // Sampling only gains.
        assert!(of(1.0, 0.5, 5, 1e-5) <= of(1.0, 1.0, 5, 1e-5));
    }

    #[test]
    fn noise_is_normal_and_each_steps_own() {
        let noise = Noise::new([9; 32]);
        let mut values = vec![0.0f32; 100_000];
        noise.add(3, 2.0, &mut values);
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 1e5;
        let square = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.04 && (square / 4.0 - 1.0).abs() < 0.03, "{mean} {square}");
        let mut again = vec![0.0f32; 100_000];
        noise.add(3, 2.0, &mut again);
        assert_eq!(values, again);
        let mut other = vec![0.0f32; 100_000];
        noise.add(4, 2.0, &mut other);
        assert_ne!(values, other);
    }

    #[test]
    fn samples_have_the_probability() {
        let noise = Noise::new([8; 32]);
        let taken: usize = (0..50).map(|step| noise.sample(step, 10_000, 0.1).len()).sum();
        assert!(taken.abs_diff(50_000) < 1500, "{taken}");
        assert!(noise.sample(0, 10_000, 0.1).is_sorted());
        assert_ne!(noise.sample(0, 10_000, 0.1), noise.sample(1, 10_000, 0.1));
        assert_eq!(noise.sample(0, 10, 1.0).len(), 10);
    }
}
