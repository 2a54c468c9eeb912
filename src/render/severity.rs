//! How bad it is if a mount is dead, as an operator sees it.

use super::Priority;
use std::str::FromStr;

/// How bad it is when a mount is dead or missing: a label that alerts are routed by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Severity {
    /// Somebody has to get up.
    #[default]
    Critical,
    /// Somebody has to look at it.
    Warning,
    /// Somebody may want to know.
    Info,
}

impl Severity {
    /// The priority of a message about such a mount that would have this one if it were critical.
    #[must_use]
    pub fn soften(self, priority: Priority) -> Priority {
        match self {
            Severity::Critical => priority,
            Severity::Warning => priority.max(Priority::Warning),
            Severity::Info => priority.max(Priority::Notice),
        }
    }

    /// Its name in files, alerts and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

impl FromStr for Severity {
    type Err = String;
    fn from_str(word: &str) -> Result<Severity, String> {
        match word {
            "critical" => Ok(Severity::Critical),
            "warning" => Ok(Severity::Warning),
            "info" => Ok(Severity::Info),
            _ => Err("use critical, warning or info".to_owned()),
        }
    }
}
