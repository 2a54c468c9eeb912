//! Priorities of log messages: five of syslog's severities.

use crate::monitor::Severity;
use std::fmt;
use std::str::FromStr;

/// More urgent is smaller, as in syslog.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// A mount is dead or missing.
    Error,
    /// A problem begins or persists.
    Warning,
    /// A notable change.
    Notice,
    /// Routine.
    Info,
    /// For debugging the daemon.
    Debug,
}

impl Priority {
    /// The most urgent first.
    pub const ALL: [Priority; 5] =
        [Priority::Error, Priority::Warning, Priority::Notice, Priority::Info, Priority::Debug];

    /// The name on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Error => "error",
            Priority::Warning => "warning",
            Priority::Notice => "notice",
            Priority::Info => "info",
            Priority::Debug => "debug",
        }
    }

    /// The priority of a message about the failure of a mount of this severity.
    #[must_use]
    pub fn capped_by(self, severity: Severity) -> Priority {
        match severity {
            Severity::Critical => self,
            Severity::Warning => self.max(Priority::Warning),
            Severity::Info => self.max(Priority::Notice),
        }
    }

    /// The number in syslog and the journal.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Priority::Error => 3,
            Priority::Warning => 4,
            Priority::Notice => 5,
            Priority::Info => 6,
            Priority::Debug => 7,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = String;
    fn from_str(name: &str) -> Result<Priority, String> {
        let found = match name {
            "err" => Some(Priority::Error),
            "warn" => Some(Priority::Warning),
            _ => Priority::ALL.into_iter().find(|priority| priority.as_str() == name),
        };
        found.ok_or_else(|| "use one of error, warning, notice, info, debug".to_owned())
    }
}
