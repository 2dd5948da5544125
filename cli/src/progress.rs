//! Bars on stderr, where somebody watches.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Where a bar is drawn: nowhere when nobody watches (no terminal, `-q`, `--json`).
fn target(output: Output) -> ProgressDrawTarget {
    // indicatif itself hides what goes to no terminal.
    if output.quiet || output.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// Bytes of a known total.
pub(crate) fn bytes(output: Output, what: &'static str, total: u64) -> ProgressBar {
    bar(output, what, total, "{msg:13} {wide_bar:.cyan/dim} {binary_bytes:>11} of {binary_total_bytes} {eta:>4}")
}

/// Steps of a known total.
pub(crate) fn steps(output: Output, total: u64) -> ProgressBar {
    bar(output, "", total, "{wide_bar:.cyan/dim} {pos}/{len} {eta:>4}  {msg}")
}

/// Work of unknown length.
pub(crate) fn spinner(output: Output, what: impl Into<std::borrow::Cow<'static, str>>) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::with_draw_target(None, target(output)).with_style(style).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Moves a bar as the client library tells.
pub(crate) fn follow(bar: &ProgressBar) -> impl FnMut(u64, u64) + Send {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

fn bar(output: Output, what: &'static str, total: u64, template: &str) -> ProgressBar {
    // The templates are constants above; one with a typo falls back to the default look.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target(output)).with_style(style).with_message(what)
}
