//! What people read when it did not work: always a pair, what is wrong and what to do about it.
//!
//! Libraries name the fault; the second sentence is added here and nowhere else.

use crate::checks::Line;
use serde::Serialize;
use std::{fmt::Display, io, path::Path};

/// Exit status, as `--help` documents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or: yes.
    Yes = 0,
    /// The answer is no: rejected, refused, does not verify.
    No = 1,
    /// No answer: misuse, a file or a node that cannot be reached, evidence that could not be judged.
    Trouble = 2,
    /// A signal ended it, as shells count the one of Ctrl-C.
    Interrupted = 130,
}

/// A command that ended without its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// Stable word for programs.
    pub(crate) code: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: String,
    /// Status to end with.
    #[serde(skip)]
    pub(crate) exit: Exit,
    /// The checks that led to a refusal, where there were any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<Line>,
}

/// How every command ends.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// Trouble: nothing was decided.
    pub(crate) fn trouble(code: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), help: help.into(), exit: Exit::Trouble, checks: Vec::new() }
    }

    /// A refusal: the answer is no.
    pub(crate) fn no(code: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit: Exit::No, ..Self::trouble(code, message, help) }
    }

    /// A file that cannot be read.
    pub(crate) fn reading(path: &Path, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "check the path; `ls` shows what is there",
            io::ErrorKind::PermissionDenied => "check who may read the file",
            io::ErrorKind::IsADirectory => "name a file, not a folder",
            _ => "check the disk and the path",
        };
        Self::trouble("file-read", format!("cannot read {}: {}", path.display(), reason(error)), help)
    }

    /// A file that cannot be written.
    pub(crate) fn writing(path: &Path, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::AlreadyExists => "move the file away, or name another output",
            io::ErrorKind::NotFound => "create the folder first, or name another output",
            io::ErrorKind::PermissionDenied => "name an output that you may write",
            io::ErrorKind::StorageFull => "make room on the disk",
            _ => "name another output",
        };
        Self::trouble("file-write", format!("cannot write {}: {}", path.display(), reason(error)), help)
    }

    /// A file that is not what its place on the command line says.
    pub(crate) fn not_a(what: &str, path: &Path, why: impl Display, help: impl Into<String>) -> Self {
        Self::trouble("file-format", format!("{} is not {what}: {why}", path.display()), help)
    }
}

/// The system's words without the number that follows them.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

impl From<clap::Error> for Failure {
    /// Clap writes the fault first, then tips, then a usage that names the command.
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let mut paragraphs = text.split("\n\n");
        let message = paragraphs.next().unwrap_or_default().trim_start_matches("error: ");
        let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let tips: Vec<_> =
            text.lines().filter_map(|line| line.trim().strip_prefix("tip: ").map(str::to_owned)).collect();
        let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or_default();
        let command: Vec<_> = usage.split_whitespace().take_while(|word| !word.starts_with(['-', '<', '['])).collect();
        let help = match (tips.is_empty(), command.is_empty()) {
            (false, _) => tips.join("; "),
            (true, false) => format!("`{} --help` shows what it takes", command.join(" ")),
            (true, true) => "--help after the command shows what it takes".to_owned(),
        };
        Self::trouble("usage", message, help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_words_lose_their_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
    }
}
