//! Trains a model on data with nothing around: what the enclave's worker does, for comparison with it.
//!
//! ```text
//! cargo run --release -p glacier-train --example bare -- MODEL DATA TARGET LOSS EPOCHS BATCH THREADS [MIB]
//! ```
//!
//! Prints seconds and the digest of the refined model. `bench/training/path.py` runs it in turn with `glacier train`.

use glacier_engine::Limits;
use glacier_train::{TrainError, data::Passes, protocol::Order, run::train};
use glacier_wire::{
    Digest, Nonce,
    training::{Target, TrainingPlan},
};
use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read},
    time::Instant,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, target, loss, epochs, batch, threads, rest @ ..] = arguments.as_slice() else {
        return Err("usage: bare MODEL DATA TARGET LOSS EPOCHS BATCH THREADS [MIB]".into());
    };
    let memory = rest.first().map_or(Ok(2048), |mib| mib.parse::<u64>())?.saturating_mul(1 << 20);
    let threads = threads.parse()?;
    let plan = TrainingPlan {
        target: vec![Target::from(target.as_str())],
        loss: loss.parse()?,
        epochs: epochs.parse()?,
        batch: batch.parse()?,
        threads,
        ..TrainingPlan::default()
    };
    let start = Instant::now();
    let (model, file) = (fs::read(model)?, File::open(data)?);
    let order = Order {
        plan,
        limits: Limits { units: u64::MAX, threads, window: Limits::WINDOW, memory },
        model: Digest([0; 32]),
        data: vec![(Digest([0; 32]), file.metadata()?.len())],
        salt: Nonce([0; 32]),
        noise: None,
        averaged: false,
    };
    let (report, _) = train(&order, &model, Passing { path: data, file }, None, &mut ())?;
    println!("seconds={:.3} result={}", start.elapsed().as_secs_f64(), report.record.result);
    Ok(())
}

/// A file, read again in each pass.
struct Passing<'a> {
    path: &'a str,
    file: File,
}

impl Passes for Passing<'_> {
    fn sources(&self) -> usize {
        1
    }

    fn open(&mut self, _: usize) -> Result<(), TrainError> {
        self.file = File::open(self.path).map_err(|_| TrainError::Unfit("the file is gone"))?;
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }
}
