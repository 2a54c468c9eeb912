//! The resources of a process, as plain data.

use std::time::Duration;

/// The resources that this process uses.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProcessStats {
    /// Processor time in user and kernel mode.
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    pub open_fds: u64,
    /// The limit of `open_fds`.
    pub max_fds: u64,
    /// When the process started, since the epoch. Moves with the clock of the machine.
    pub started: Duration,
}
