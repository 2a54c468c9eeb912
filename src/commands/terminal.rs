//! The terminal on standard output and standard error, if there is one.

use crate::monitor::{Status, Time};
use crate::render::progress;
use crate::render::table::Style;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Stderr, Write, stderr, stdout};
use std::os::fd::AsFd;

const DEFAULT_WIDTH: usize = 80;

/// The style of a table on standard output: coloured and limited to its width on a terminal, else plain.
pub(super) fn style() -> Style {
    if !stdout().is_terminal() {
        return Style::default();
    }
    let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
    Style { width: Some(width(stdout())), colours: wants_colours(no_color.as_deref(), term.as_deref()) }
}

/// Whether somebody watches standard output.
pub(super) fn is_interactive() -> bool {
    stdout().is_terminal()
}

fn wants_colours(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

fn width(terminal: impl AsFd) -> usize {
    match terminal_size::terminal_size_of(terminal) {
        Some((terminal_size::Width(width), _)) if width > 0 => width.into(),
        _ => DEFAULT_WIDTH,
    }
}

/// The progress of a check: one line, redrawn in place and erased when this is dropped.
pub(super) struct Progress<W: Write> {
    terminal: W,
    shown: Option<String>,
}

impl Progress<Stderr> {
    pub(super) fn on_stderr() -> Option<Progress<Stderr>> {
        stderr().is_terminal().then(|| Progress::new(stderr()))
    }

    pub(super) fn show(&mut self, status: &Status, now: Time) {
        let _ = self.draw(progress::line(status, now, width(stderr()))); // the terminal may be gone
    }
}

impl<W: Write> Progress<W> {
    const fn new(terminal: W) -> Progress<W> {
        Progress { terminal, shown: None }
    }

    /// Replaces the line; none erases it.
    fn draw(&mut self, line: Option<String>) -> io::Result<()> {
        if line == self.shown {
            return Ok(());
        }
        self.terminal.write_all(format!("\r{}\x1b[K", line.as_deref().unwrap_or_default()).as_bytes())?;
        self.shown = line;
        self.terminal.flush()
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        let _ = self.draw(None); // the terminal may be gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_no_color_and_term() {
        let xterm = Some(OsStr::new("xterm"));
        for (no_color, term, expected) in [
            (None, xterm, true),
            (Some(OsStr::new("")), xterm, true),
            (Some(OsStr::new("1")), xterm, false),
            (None, Some(OsStr::new("dumb")), false),
            (None, None, false),
        ] {
            assert_eq!(wants_colours(no_color, term), expected, "{no_color:?} {term:?}");
        }
    }

    #[test]
    fn line_is_drawn_once_and_erased() {
        let mut terminal = Vec::new();
        let mut progress = Progress::new(&mut terminal);
        for line in ["one", "one", "two"] {
            progress.draw(Some(line.to_owned())).unwrap();
        }
        drop(progress);
        assert_eq!(terminal, b"\rone\x1b[K\rtwo\x1b[K\r\x1b[K");
    }
}
