//! What a training came to.

use crate::{
    checks::{self, Line},
    output::{DIM, Report, field, simulated},
    units::grouped,
};
use glacier::Refinement;
use glacier_proof::WorkProof;
use glacier_wire::{
    ManifestHash, PlatformKind,
    training::{EpochMetrics, Point, TrainingRecord},
};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Serialize)]
pub(crate) struct Trained {
    platform: PlatformKind,
    checks: Vec<Line>,
    job: ManifestHash,
    /// What was proved of how it came about.
    record: TrainingRecord,
    /// After each epoch, for the owner alone.
    epochs: Vec<EpochMetrics>,
    output: PathBuf,
    output_bytes: u64,
    plot: Option<PathBuf>,
    proof_file: Option<PathBuf>,
    proof: WorkProof,
    #[serde(skip)]
    points: Vec<Point>,
}

impl Trained {
    pub(crate) fn new(
        refined: Refinement,
        checks: Vec<Line>,
        output: PathBuf,
        proof_file: Option<PathBuf>,
        plot: Option<PathBuf>,
    ) -> Self {
        let proof = refined.proof.proof().clone();
        Self {
            platform: proof.platform,
            checks,
            job: proof.manifest,
            record: refined.record,
            epochs: refined.metrics.epochs,
            output,
            output_bytes: refined.model.len() as u64,
            plot,
            proof_file,
            proof,
            points: refined.points,
        }
    }
}

impl Report for Trained {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        let record = &self.record;
        let epochs = record.weights.len().saturating_sub(1);
        field(
            page,
            "trained",
            format_args!("{epochs} epochs, {} steps, {} rows", grouped(record.steps), grouped(record.rows)),
        )?;
        let losses: Vec<f32> = self.points.iter().map(|point| point.loss.get()).collect();
        if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
            field(page, "loss", format_args!("{first:.4} to {last:.4}   {}", sparkline(&losses, 32)))?;
        }
        let best = self.epochs.iter().find(|epoch| epoch.epoch == record.best);
        for measured in best.map(|epoch| epoch.validation.as_slice()).unwrap_or_default() {
            let note = format!("{DIM}on rows that were held out, after epoch {}{DIM:#}", record.best);
            field(page, &format!("held-out {}", measured.metric), format_args!("{:.4}   {note}", measured.value))?;
        }
        if let Some(spent) = &record.privacy {
            let note = format!("{DIM}for each row, with delta {}{DIM:#}", spent.delta);
            field(page, "privacy", format_args!("epsilon {:.3}   {note}", spent.epsilon))?;
        }
        field(page, "units", format_args!("{} multiply-accumulates", grouped(record.units)))?;
        field(page, "proof", format_args!("Work Proof {}, of the record {}", self.proof.sequence, record.digest()))?;
        field(page, "model", format_args!("{} ({} bytes)", self.output.display(), grouped(self.output_bytes)))?;
        if let Some(path) = &self.plot {
            field(page, "plot", path.display())?;
        }
        if let Some(path) = &self.proof_file {
            field(page, "proof file", path.display())?;
        }
        Ok(())
    }
}

/// The course of some values in one line.
pub(crate) fn sparkline(values: &[f32], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let per = values.len().div_ceil(width.max(1)).max(1);
    let means: Vec<f32> = values.chunks(per).map(|chunk| chunk.iter().sum::<f32>() / chunk.len() as f32).collect();
    let (low, high) = means.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let scale = |value: &f32| if high > low { ((value - low) / (high - low) * 7.0).round() as usize } else { 0 };
    means.iter().filter_map(|value| BARS.get(scale(value).min(7))).collect()
}
