//! What can be told about a dead mount without a kernel that tells of it: nothing. Whether its server answers is asked
//! elsewhere, by portable calls.

use crate::DeviceNumber;
use crate::evidence::{BlockedTasks, Finding, FuseServer, LogLine, StuckThread, Suspect, Traffic};
use mio::{Registry, Token};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
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

/// What a record of the kernel log says of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSign {
    /// As the mount calls it (`server` of `server:/export`).
    pub server: Vec<u8>,
    /// It answers again.
    pub responds: bool,
}

/// New records of the kernel log; here there is none that could be waited for.
#[derive(Debug)]
pub struct KernelLog(Infallible);

impl KernelLog {
    /// # Errors
    /// Always.
    pub fn open() -> io::Result<KernelLog> {
        Err(ErrorKind::Unsupported.into())
    }

    /// # Errors
    /// None: there is no such log.
    pub fn register(&self, _: &Registry, _: Token) -> io::Result<()> {
        match self.0 {}
    }

    /// # Errors
    /// None: there is no such log.
    pub fn deregister(&self, _: &Registry) -> io::Result<()> {
        match self.0 {}
    }

    /// Forgets what has not been read yet.
    pub fn skip(&mut self) {
        match self.0 {}
    }

    /// What new records say of servers; and whether all of them were read.
    pub fn take(&mut self) -> (Vec<ServerSign>, bool) {
        match self.0 {}
    }
}

/// The last words of the kernel about each of these servers.
#[must_use]
pub fn last_words(servers: &[&[u8]]) -> Vec<Finding<LogLine>> {
    servers.iter().map(|_| Finding::Unknown).collect()
}

/// The number of a FUSE connection.
#[must_use]
pub fn connection(_: DeviceNumber) -> u32 {
    0
}

/// How many requests wait in a FUSE connection.
#[must_use]
pub fn fuse_waiting(_: &Path, _: u32) -> Finding<u64> {
    Finding::Unknown
}

/// The processes that serve these FUSE connections.
#[must_use]
pub fn fuse_server(_: &Path, connections: &[u32], _: &Limits) -> Vec<Finding<FuseServer>> {
    connections.iter().map(|_| Finding::Unknown).collect()
}

/// What went to the servers of these mounts.
#[must_use]
pub fn traffic(_: &Path, mounts: &[(&OsStr, &Path)]) -> Vec<Finding<Traffic>> {
    mounts.iter().map(|_| Finding::Unknown).collect()
}

/// The tasks that wait for each of these.
#[must_use]
pub fn blocked_tasks(_: &Path, suspects: &[Suspect], _: u32, _: &Limits) -> Vec<Finding<BlockedTasks>> {
    suspects.iter().map(|_| Finding::Unknown).collect()
}

/// Where a thread is stuck.
#[must_use]
pub fn stuck_thread(_: &Path, _: u32, _: u32) -> Finding<StuckThread> {
    Finding::Unknown
}
