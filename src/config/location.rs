//! Locations in the configuration.

use crate::render::escape::{escape_os, one_line};
use std::fmt;
use std::path::PathBuf;

/// A file, and a line of it if the line is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Location {
    pub file: PathBuf,
    /// Starts at 1.
    pub line: Option<usize>,
}

impl Location {
    /// One line that says what is wrong here and what to do.
    pub(super) fn problem(&self, text: &str) -> String {
        format!("{self}: {}", one_line(text))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", escape_os(&self.file))?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    Default,
    File(Location),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(location) => location.fmt(f),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}
