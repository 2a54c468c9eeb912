//! What a process uses of the machine, as plain data.

use std::time::Duration;

/// What this process uses.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProcessStats {
    /// Time on a processor, in user and kernel mode.
    pub cpu: Duration,
    /// Memory that is there, in bytes.
    pub resident_bytes: u64,
    /// Addresses that are taken, in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many there may be.
    pub max_fds: u64,
    /// When it started, since the epoch. Moves with the clock of the machine.
    pub started: Duration,
}
