//! The course of a training on a terminal: one bar, the loss, what the last epoch measured.

use crate::{output::Output, progress, watch::Watcher};
use glacier::Step;
use glacier_wire::training::{Measured, TrainingPage};
use indicatif::ProgressBar;

pub(crate) struct Bar {
    output: Output,
    watcher: Watcher,
    bar: Option<ProgressBar>,
    epochs: u64,
    loss: Option<f32>,
    measured: String,
}

impl Bar {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, watcher: Watcher::new(output), bar: None, epochs: 0, loss: None, measured: String::new() }
    }

    pub(crate) fn see(&mut self, step: &Step<'_>) {
        match step {
            Step::Course(page) => self.course(page),
            // The course says more than the job's status does.
            Step::Status(_) => {}
            Step::Waiting(why) => {
                self.hide();
                self.output
                    .remark(format_args!("the node is away ({why}); waiting for it, to go on from the checkpoint"));
            }
            step => {
                self.hide();
                self.watcher.see(step);
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        self.hide();
        self.watcher.finish();
    }

    fn course(&mut self, page: &TrainingPage) {
        self.watcher.finish();
        self.epochs += page.epochs.len() as u64;
        if let Some(epoch) = page.epochs.last() {
            self.measured =
                epoch.validation.iter().map(|Measured { metric, value }| format!("  {metric} {value:.4}")).collect();
        }
        let last = page.points.last();
        self.loss = last.map(|point| point.loss.get()).or(self.loss);
        let total = page.steps_per_epoch.saturating_mul(u64::from(page.planned_epochs));
        let output = self.output;
        let bar = self.bar.get_or_insert_with(|| progress::steps(output, total));
        bar.set_length(total);
        if let Some(point) = last {
            bar.set_position(point.step);
        }
        let loss = self.loss.map(|loss| format!("loss {loss:.4}")).unwrap_or_default();
        bar.set_message(format!("epoch {}/{}  {loss}{}", self.epochs, page.planned_epochs, self.measured));
    }

    fn hide(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
