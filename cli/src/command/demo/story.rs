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

    /// A tree of checks, each on one line: reasons are cut where the line ends, and long names with them.
    pub(super) fn tree(&self, lines: &[Line]) {
        let beside = lines.iter().map(|line| line.id.len()).max().unwrap_or_default() + "   ├ ✓ ".chars().count() + 2;
        let room = self.width.saturating_sub(beside);
        let lines: Vec<_> = lines.iter().map(|line| Line { reason: cut(&line.reason, room), ..line.clone() }).collect();
        self.write(|page| checks::tree(&mut Indent { page, fresh: true }, &lines, None));
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

/// The beginning of a text, with the names in it shortened.
fn cut(text: &str, room: usize) -> String {
    let named = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split(' ').map(|word| match word.strip_suffix(',').unwrap_or(word) {
        name if named(name) => word.replace(name, &short(name)),
        _ => word.to_owned(),
    });
    let text = words.collect::<Vec<_>>().join(" ");
    if text.chars().count() <= room {
        return text;
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// Enough of a long name to tell it from others.
pub(super) fn short(name: &str) -> String {
    name.chars().take(16).chain(['…']).collect()
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
    fn reasons_are_cut_to_the_room_there_is() {
        assert_eq!(cut(&format!("root {} simulated", "a".repeat(64)), 80), "root aaaaaaaaaaaaaaaa… simulated");
        assert_eq!(cut("0123456789", 5), "0123…");
        assert_eq!(cut("0123456789", 0), "…");
    }

    #[test]
    fn colour_takes_no_room() {
        assert_eq!(visible("\u{1b}[1mab\u{1b}[0m"), 2);
    }
}
