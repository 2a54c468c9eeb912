//! No evidence: no portable call shows the threads of another process or the state of a file system. Servers are
//! contacted by the collector on every system.

use crate::DeviceNumber;
use crate::evidence::{
    BlockedTasks, FuseServer, Holders, KernelHint, LogLine, Observation, ScanLimits, StackedFiles,
    StuckThread, Suspect, Traffic, Users,
};
use mio::{Registry, Token};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// The kernel log, which cannot be read here.
#[derive(Debug)]
pub struct KernelLog(Infallible);

impl KernelLog {
    /// # Errors
    /// Always.
    pub fn open() -> io::Result<KernelLog> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn register(&self, _: &Registry, _: Token) -> io::Result<()> {
        match self.0 {}
    }

    pub fn deregister(&self, _: &Registry) -> io::Result<()> {
        match self.0 {}
    }

    pub fn skip_to_end(&mut self) {
        match self.0 {}
    }

    pub fn read_hints(&mut self) -> (Vec<KernelHint>, bool) {
        match self.0 {}
    }
}

#[must_use]
pub const fn connection(_: DeviceNumber) -> u32 {
    0
}

#[must_use]
pub fn fuse_waiting(_: &Path, _: u32) -> Observation<u64> {
    Observation::Unknown
}

#[must_use]
pub fn fuse_server(_: &Path, connections: &[u32], _: &ScanLimits) -> Vec<Observation<FuseServer>> {
    connections.iter().map(|_| Observation::Unknown).collect()
}

#[must_use]
pub fn last_log_lines(servers: &[&[u8]]) -> Vec<Observation<LogLine>> {
    servers.iter().map(|_| Observation::Unknown).collect()
}

#[must_use]
pub fn traffic(_: &Path, mounts: &[(&OsStr, &Path)]) -> Vec<Observation<Traffic>> {
    mounts.iter().map(|_| Observation::Unknown).collect()
}

#[must_use]
pub fn blocked_tasks(_: &Path, suspects: &[Suspect], _: &ScanLimits) -> Vec<Observation<BlockedTasks>> {
    suspects.iter().map(|_| Observation::Unknown).collect()
}

#[must_use]
pub fn stuck_thread(_: &Path, _: u32, _: u32) -> Observation<StuckThread> {
    Observation::Unknown
}

#[must_use]
pub fn holders(_: &Path, _: DeviceNumber, _: u32, _: Option<u64>, _: &ScanLimits) -> Observation<Holders> {
    Observation::Unknown
}

#[must_use]
pub fn users(_: &Path, _: DeviceNumber, _: u32, _: &ScanLimits) -> Observation<Users> {
    Observation::Unknown
}

#[must_use]
pub fn stacked_files(_: &Path, _: &Path) -> StackedFiles {
    StackedFiles::default()
}
