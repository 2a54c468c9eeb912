//! What the terminal is like, if there is one.

use super::progress::{self, Progress};
use super::table::Style;
use crate::monitor::{Status, Time};
use std::ffi::OsStr;
use std::io::{IsTerminal, Stderr, stderr, stdout};
use std::os::fd::AsFd;

/// The width of terminals that do not tell theirs.
const USUAL_WIDTH: usize = 80;

/// How a table on standard output may look: coloured and as wide as the terminal on one, plain elsewhere.
#[must_use]
pub fn style() -> Style {
    if !stdout().is_terminal() {
        return Style::default();
    }
    let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
    Style { width: Some(width(stdout())), colours: colours(no_color.as_deref(), term.as_deref()) }
}

/// Unless the user said that he wants none (<https://no-color.org>), or the terminal has none.
fn colours(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

fn width(terminal: impl AsFd) -> usize {
    match terminal_size::terminal_size_of(terminal) {
        Some((terminal_size::Width(width), _)) if width > 0 => width.into(),
        _ => USUAL_WIDTH,
    }
}

/// The progress of a check on standard error, if that is a terminal. Wiped when it is dropped.
#[derive(Debug)]
pub struct TerminalProgress(Option<Progress<Stderr>>);

impl TerminalProgress {
    /// Nothing is drawn yet.
    #[must_use]
    pub fn new() -> TerminalProgress {
        TerminalProgress(stderr().is_terminal().then(|| Progress::new(stderr())))
    }

    /// Is anything shown at all? If not, nobody needs to wake up for it.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Draws what is still waited for.
    pub fn show(&mut self, status: &Status, now: Time) {
        let Some(progress) = &mut self.0 else { return };
        if progress.show(progress::line(status, now, width(stderr()))).is_err() {
            self.0 = None; // the terminal is gone; the check goes on
        }
    }
}

impl Default for TerminalProgress {
    fn default() -> TerminalProgress {
        TerminalProgress::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_colours() {
        let xterm = Some(OsStr::new("xterm"));
        for (no_color, term, wanted) in [
            (None, xterm, true),
            (Some(OsStr::new("")), xterm, true),
            (Some(OsStr::new("1")), xterm, false),
            (None, Some(OsStr::new("dumb")), false),
            (None, None, false),
        ] {
            assert_eq!(colours(no_color, term), wanted, "{no_color:?} {term:?}");
        }
    }
}
