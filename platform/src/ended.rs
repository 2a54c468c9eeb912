//! How a child process ended.

use nix::sys::signal::Signal;
use std::fmt;

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Somebody else waited for it.
    Unknown,
}

impl Ended {
    /// The exit status of a child whose exec failed, as in a shell.
    pub(crate) const EXEC_FAILED: i32 = 127;
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ended::Exited(Ended::EXEC_FAILED) => write!(f, "the program could not be executed"),
            Ended::Exited(status) => write!(f, "exit status {status}"),
            Ended::Killed(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Ended::Unknown => write!(f, "ended in an unknown way"),
        }
    }
}
