//! One line of the table, and how its numbers come about.

use std::{fmt, future::Future, hint::black_box, time::Instant};

/// Two medians and their ratio, against an aim.
pub(crate) struct Row {
    pub(crate) what: String,
    /// Ours, in microseconds.
    pub(crate) ours: f64,
    /// What it is held against, and its microseconds.
    pub(crate) beside: Option<(String, f64)>,
    pub(crate) aim: &'static str,
}

impl Row {
    pub(crate) const HEAD: &str = "| what | median | beside | median | ratio | aim |\n|---|---|---|---|---|---|";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ours, beside, aim } = self;
        match beside {
            Some((other, theirs)) => {
                write!(f, "| {what} | {} | {other} | {} | {:.2} | {aim} |", Time(*ours), Time(*theirs), ours / theirs)
            }
            None => write!(f, "| {what} | {} | | | | {aim} |", Time(*ours)),
        }
    }
}

struct Time(f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us.is_nan() => Ok(()),
            us if us < 1e3 => write!(f, "{us:.0} µs"),
            us if us < 1e6 => write!(f, "{:.2} ms", us / 1e3),
            us => write!(f, "{:.2} s", us / 1e6),
        }
    }
}

/// Medians of `a` and `b`, run in turn, in microseconds.
pub(crate) fn pair<A, B>(rounds: usize, mut a: impl FnMut() -> A, mut b: impl FnMut() -> B) -> (f64, f64) {
    let (mut times_a, mut times_b) = (Vec::new(), Vec::new());
    for round in 0..rounds + rounds.div_ceil(10) {
        let time_a = time(&mut a);
        let time_b = time(&mut b);
        // The first tenth warms up.
        if round >= rounds.div_ceil(10) {
            times_a.push(time_a);
            times_b.push(time_b);
        }
    }
    (median(times_a), median(times_b))
}

/// The same for futures.
pub(crate) async fn pair_async<A, B>(
    rounds: usize,
    mut a: impl AsyncFnMut() -> A,
    mut b: impl AsyncFnMut() -> B,
) -> (f64, f64) {
    let (mut times_a, mut times_b) = (Vec::new(), Vec::new());
    for round in 0..rounds + rounds.div_ceil(10) {
        let time_a = time_async(a()).await;
        let time_b = time_async(b()).await;
        if round >= rounds.div_ceil(10) {
            times_a.push(time_a);
            times_b.push(time_b);
        }
    }
    (median(times_a), median(times_b))
}

fn time<T>(work: &mut impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64() * 1e6
}

async fn time_async<T>(work: impl Future<Output = T>) -> f64 {
    let start = Instant::now();
    black_box(work.await);
    start.elapsed().as_secs_f64() * 1e6
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A runtime for the node alone and one for the client alone, as on two machines: neither's threads
/// wait on the other's.
pub(crate) fn runtimes() -> std::io::Result<(tokio::runtime::Runtime, tokio::runtime::Runtime)> {
    let node = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok((node, client))
}
