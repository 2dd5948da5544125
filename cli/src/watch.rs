//! Progress of the calls that do a whole path at once.

use crate::{command::job::status::Progress, output::Output, progress};
use glacier::Step;
use glacier_wire::Role;
use indicatif::ProgressBar;

/// Draws one bar for what happens now.
pub(crate) struct Watcher {
    output: Output,
    /// What the bar is about, and the bar.
    bar: Option<(&'static str, ProgressBar)>,
    job: Option<Progress>,
}

impl Watcher {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, bar: None, job: None }
    }

    pub(crate) fn see(&mut self, step: &Step<'_>) {
        match step {
            Step::Sealing(role, done, total) => self.bytes(["sealing data", "sealing model"], *role, *done, *total),
            Step::Uploading(role, done, total) => self.bytes(["sending data", "sending model"], *role, *done, *total),
            Step::Fetching(done, total) => {
                self.end_job();
                self.bytes(["fetching", "fetching"], Role::Data, *done, *total);
            }
            Step::Status(status) => {
                self.end_bar();
                self.job.get_or_insert_with(|| Progress::new(self.output)).show(status);
            }
            _ => {}
        }
    }

    pub(crate) fn finish(&mut self) {
        self.end_bar();
        self.end_job();
    }

    fn bytes(&mut self, [data, model]: [&'static str; 2], role: Role, done: u64, total: u64) {
        let what = if role == Role::Model { model } else { data };
        if self.bar.as_ref().is_none_or(|(about, _)| *about != what) {
            self.end_bar();
            self.bar = Some((what, progress::bytes(self.output, what, total)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn end_bar(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn end_job(&mut self) {
        if let Some(job) = self.job.take() {
            job.finish();
        }
    }
}
