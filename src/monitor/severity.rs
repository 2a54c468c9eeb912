//! The severity of a dead mount, set by rules.

use std::str::FromStr;

/// How urgent a dead or missing mount is; alerts are routed by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Severity {
    /// Act at once.
    #[default]
    Critical,
    /// Act soon.
    Warning,
    /// For information.
    Info,
}

impl Severity {
    /// The name in configuration files, alerts and JSON.
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
    fn from_str(name: &str) -> Result<Severity, String> {
        match name {
            "critical" => Ok(Severity::Critical),
            "warning" => Ok(Severity::Warning),
            "info" => Ok(Severity::Info),
            _ => Err("use critical, warning or info".to_owned()),
        }
    }
}
