//! The two ways to speak: to people on a terminal, or to programs as one JSON object on stdout.

use crate::{checks, error::Failure};
use anstyle::{AnsiColor, Style};
use glacier_wire::PlatformKind;
use serde::Serialize;
use std::io::{self, Write};

/// Good.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Bad.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Neither, or worth a second look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// Side remarks.
pub(crate) const DIM: Style = Style::new().dimmed();

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON object instead of text.
    pub(crate) json: bool,
    /// No progress, no remarks; results only.
    pub(crate) quiet: bool,
}

/// A result that people can read. Programs get its `Serialize`.
pub(crate) trait Report: Serialize {
    /// Writes it for people. Styles are taken out where the terminal does not want them.
    fn human(&self, page: &mut dyn Write) -> io::Result<()>;
}

impl Output {
    /// The result of a command; called once.
    pub(crate) fn report(&self, report: &impl Report) -> Result<(), Failure> {
        if self.json {
            return json(report);
        }
        // Taken out on a pipe, with NO_COLOR, with TERM=dumb; kept with CLICOLOR_FORCE.
        let mut page = anstream::stdout().lock();
        report.human(&mut page).and_then(|()| page.flush()).or_else(closed)
    }

    /// One of many results, a line each: JSON lines with `--json`.
    pub(crate) fn line(&self, value: &(impl Serialize + std::fmt::Display)) -> Result<(), Failure> {
        let text = match self.json {
            true => serde_json::to_string(value).unwrap_or_default(),
            false => value.to_string(),
        };
        let mut page = anstream::stdout().lock();
        writeln!(page, "{text}").and_then(|()| page.flush()).or_else(closed)
    }

    /// A remark beside the result, on stderr.
    pub(crate) fn remark(&self, text: impl std::fmt::Display) {
        if !self.quiet && !self.json {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// The pair. With `--json` it is the one object on stdout.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            let _ = json(&ErrorObject { error: failure });
            return;
        }
        let red = BAD.bold();
        let mut page = anstream::stderr().lock();
        let _ = checks::tree(&mut page, &failure.checks, None);
        let _ = writeln!(page, "{red}error{red:#}: {}", failure.message);
        let _ = writeln!(page, "{BOLD}help{BOLD:#}: {}", failure.help);
    }
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    error: &'a Failure,
}

/// A value with the colour of its meaning.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `label` and value, aligned.
pub(crate) fn field(page: &mut dyn Write, label: &str, value: impl std::fmt::Display) -> io::Result<()> {
    writeln!(page, "{DIM}{label:<14}{DIM:#} {value}")
}

/// What stands behind every result of a platform that protects nothing; empty for one that does.
pub(crate) fn simulated(platform: impl Into<Option<PlatformKind>>) -> &'static str {
    match platform.into() {
        Some(PlatformKind::Simulated) => " (SIMULATED: no hardware protects it)",
        _ => "",
    }
}

fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::trouble("internal", error.to_string(), "this is a fault of glacier; please report it")
    })?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).or_else(closed)
}

/// A reader that went away (`glacier ... | head`) is no fault of ours.
fn closed(error: io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Failure::trouble("stdout", format!("cannot write the result: {error}"), "check where stdout goes"))
}
