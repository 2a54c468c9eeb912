//! What the kernel tells of a dead mount without touching it: here nothing. No portable call tells of another process's
//! threads, and neither do file systems tell of themselves; what a server answers is asked elsewhere.

use crate::DeviceNumber;
use crate::evidence::{BlockedTasks, FuseServer, LogLine, Observation, StuckThread, Suspect, Traffic};
use mio::{Registry, Token};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Instant;

/// How far a pass over all tasks may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tasks that are looked at.
    pub tasks: usize,
    /// No new one is looked at after this.
    pub until: Instant,
}

/// A sign of a server in the kernel log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerStatusHint {
    /// The server's name, as the kernel writes it.
    pub server: Vec<u8>,
    /// Does it answer again?
    pub responds: bool,
}

/// The kernel log, which cannot be read here.
#[derive(Debug)]
pub struct KernelLog(Infallible);

impl KernelLog {
    /// # Errors
    /// Always.
    pub fn open() -> io::Result<KernelLog> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Errors
    /// There is none of which this could be asked.
    pub fn register(&self, _: &Registry, _: Token) -> io::Result<()> {
        match self.0 {}
    }

    /// # Errors
    /// There is none of which this could be asked.
    pub fn deregister(&self, _: &Registry) -> io::Result<()> {
        match self.0 {}
    }

    /// Passes over what is in it.
    pub fn skip_to_end(&mut self) {
        match self.0 {}
    }

    /// What is new in it, and whether that is all.
    pub fn read_hints(&mut self) -> (Vec<ServerStatusHint>, bool) {
        match self.0 {}
    }
}

/// The number of the connection behind a FUSE mount.
#[must_use]
pub const fn connection(_: DeviceNumber) -> u32 {
    0
}

/// Requests that wait in a FUSE connection.
#[must_use]
pub fn fuse_waiting(_: &Path, _: u32) -> Observation<u64> {
    Observation::Unknown
}

/// The processes that serve FUSE mounts.
#[must_use]
pub fn fuse_server(_: &Path, connections: &[u32], _: &Limits) -> Vec<Observation<FuseServer>> {
    connections.iter().map(|_| Observation::Unknown).collect()
}

/// The last words of the kernel log about servers.
#[must_use]
pub fn last_log_lines(servers: &[&[u8]]) -> Vec<Observation<LogLine>> {
    servers.iter().map(|_| Observation::Unknown).collect()
}

/// What the NFS client has sent and received.
#[must_use]
pub fn traffic(_: &Path, mounts: &[(&OsStr, &Path)]) -> Vec<Observation<Traffic>> {
    mounts.iter().map(|_| Observation::Unknown).collect()
}

/// Tasks that are blocked on mounts.
#[must_use]
pub fn blocked_tasks(_: &Path, suspects: &[Suspect], _: u32, _: &Limits) -> Vec<Observation<BlockedTasks>> {
    suspects.iter().map(|_| Observation::Unknown).collect()
}

/// Where a thread is stuck.
#[must_use]
pub fn stuck_thread(_: &Path, _: u32, _: u32) -> Observation<StuckThread> {
    Observation::Unknown
}
