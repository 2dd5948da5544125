//! Tells a story on a terminal, as it happens: numbered sections, wrapped to the width there is.

use crate::{
    checks::{self, Line},
    output::{BOLD, DIM, Output},
};
use std::{
    fmt::Display,
    io::{self, Write},
};

/// Speaks to people; says nothing to programs.
pub(super) struct Story {
    listened_to: bool,
    width: usize,
    section: u32,
}

/// Columns of text where nobody says how many there are.
const WIDTH: usize = 88;
/// Below this, words would not fit.
const NARROWEST: usize = 32;

impl Story {
    pub(super) fn new(output: Output) -> Self {
        let columns = terminal_size::terminal_size().map_or(WIDTH, |(columns, _)| usize::from(columns.0));
        Self { listened_to: !output.json, width: columns.clamp(NARROWEST, WIDTH), section: 0 }
    }

    /// Begins a section.
    pub(super) fn section(&mut self, title: &str) {
        self.section += 1;
        let number = self.section;
        self.write(|page| writeln!(page, "\n{BOLD}{number}. {title}{BOLD:#}"));
    }

    /// A paragraph.
    pub(super) fn say(&self, text: impl Display) {
        let lines = wrap(&text.to_string(), self.width - 3);
        self.write(|page| lines.iter().try_for_each(|line| writeln!(page, "   {line}")));
    }

    /// A row of a table: what, and what about it. The second goes below where it does not fit beside.
    pub(super) fn row(&self, what: impl Display, about: impl Display) {
        let (what, about) = (what.to_string(), about.to_string());
        let beside = format!("   {what:<14} {about}");
        self.write(|page| {
            if visible(&beside) <= self.width {
                return writeln!(page, "   {DIM}{what:<14}{DIM:#} {about}");
            }
            writeln!(page, "   {DIM}{what}{DIM:#}")?;
            wrap(&about, self.width - 5).iter().try_for_each(|line| writeln!(page, "     {line}"))
        });
    }

    /// A tree of checks.
    pub(super) fn tree(&self, lines: &[Line], nested: Option<(&str, &[Line])>) {
        self.write(|page| {
            let mut indented = Indent { page, fresh: true };
            checks::tree(&mut indented, lines, nested)
        });
    }

    fn write(&self, tell: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.listened_to {
            // A listener who went away is no reason to stop the ceremony.
            let mut page = anstream::stdout().lock();
            let _ = tell(&mut page).and_then(|()| page.flush());
        }
    }
}

/// Puts three columns in front of each line.
struct Indent<'a> {
    page: &'a mut dyn Write,
    fresh: bool,
}

impl Write for Indent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.fresh {
                self.page.write_all(b"   ")?;
            }
            self.page.write_all(piece)?;
            self.fresh = piece.ends_with(b"\n");
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.page.flush()
    }
}

/// Breaks at spaces. A word that is too long for a line stands on its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if visible(line) + 1 + visible(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns that a text takes: escape sequences take none.
fn visible(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("a verylongword b", 6), ["a", "verylongword", "b"]);
    }

    #[test]
    fn colour_takes_no_room() {
        assert_eq!(visible("\u{1b}[1mab\u{1b}[0m"), 2);
    }
}
