//! How much a message matters: the five of syslog's severities that are used here.

use std::fmt;
use std::str::FromStr;

/// The severity of a message; the more pressing is the smaller, as in syslog.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// A mount is dead: somebody has to act.
    Error,
    /// It is getting worse or stays bad.
    Warning,
    /// A change that a person may want to know of.
    Notice,
    /// The regular course of things.
    Info,
    /// For those who look for a fault in the daemon itself.
    Debug,
}

impl Priority {
    /// Every priority, the most pressing first.
    pub const ALL: [Priority; 5] =
        [Priority::Error, Priority::Warning, Priority::Notice, Priority::Info, Priority::Debug];

    /// The word on the command line and in JSON.
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

    /// The number that syslog and journald know it by.
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
    fn from_str(word: &str) -> Result<Priority, String> {
        let found = match word {
            "err" => Some(Priority::Error),
            "warn" => Some(Priority::Warning),
            _ => Priority::ALL.into_iter().find(|priority| priority.as_str() == word),
        };
        found.ok_or_else(|| "use one of error, warning, notice, info, debug".to_owned())
    }
}
