//! Mistakes in the configuration and where they are.

use crate::render::escape::{escape_os, one_line};
use std::fmt;
use std::path::PathBuf;

/// A file, and a line of it if the line is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Location {
    pub file: PathBuf,
    /// From 1.
    pub line: Option<usize>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", escape_os(&self.file))?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Where the value of an option was set.
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

/// One mistake, shown as one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// None for mistakes on the command line.
    pub location: Option<Location>,
    /// What is wrong and what to do.
    pub text: String,
}

impl Diagnostic {
    pub(super) fn in_file(file: impl Into<PathBuf>, text: impl Into<String>) -> Diagnostic {
        Diagnostic { location: Some(Location { file: file.into(), line: None }), text: text.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        write!(f, "{}", one_line(&self.text))
    }
}
