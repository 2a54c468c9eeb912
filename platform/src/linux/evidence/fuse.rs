//! FUSE connections: their waiting requests and their servers.

use crate::DeviceNumber;
use crate::evidence::{FuseServer, Observation, ScanLimits};
use crate::linux::procfs::{Stat, is_permission_error, not_observed, number_field, numeric_entries, read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Maximum number of inspected open files per process: a server opens `/dev/fuse` before other files.
const MAX_FILES: usize = 1024;

/// The number of a FUSE mount's connection: the kernel's `dev_t` of its superblock.
#[must_use]
pub const fn connection(device: DeviceNumber) -> u32 {
    (device.major << 20) | device.minor
}

/// The number of waiting requests of a connection, read below `connections` (`/sys/fs/fuse/connections`). Only its
/// owner may read it, and only while `fusectl` is mounted.
#[must_use]
pub fn fuse_waiting(connections: &Path, connection: u32) -> Observation<u64> {
    let mut buffer = [0; 32];
    match read(&connections.join(format!("{connection}/waiting")), &mut buffer) {
        Ok(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map_or(Observation::Unknown, Observation::Found),
        Err(error) => not_observed(&error),
    }
}

/// The processes that serve these connections, below `proc`. Since Linux 6.16 the `fdinfo` of an open `/dev/fuse` names
/// its connection; before that it cannot be determined, and a guess would often be wrong.
#[must_use]
pub fn fuse_server(proc: &Path, connections: &[u32], limits: &ScanLimits) -> Vec<Observation<FuseServer>> {
    let mut servers: Vec<Option<FuseServer>> = vec![None; connections.len()];
    let mut scan = ScanResult::default();
    for (n, pid) in numeric_entries(proc).enumerate() {
        if n >= limits.tasks || limits.is_over() || servers.iter().all(Option::is_some) {
            break;
        }
        for connection in open_connections(&proc.join(pid.to_string()), &mut scan) {
            for (_, server) in
                connections.iter().zip(&mut servers).filter(|(wanted, _)| **wanted == connection)
            {
                // Children of a server may hold it too; the first process whose stat can still be read is shown.
                if server.is_none() {
                    *server = process(proc, pid);
                }
            }
        }
    }
    let not_found = || {
        if scan.was_refused {
            Observation::NeedsRoot
        } else if limits.is_over() || (scan.has_unnamed && !scan.has_named) {
            Observation::Unknown
        } else {
            Observation::Found(FuseServer::NotSeen) // all processes were inspected
        }
    };
    servers.into_iter().map(|server| server.map_or_else(not_found, Observation::Found)).collect()
}

#[derive(Default)]
struct ScanResult {
    /// The files of some process may not be read.
    was_refused: bool,
    /// An open `/dev/fuse` named its connection.
    has_named: bool,
    /// An open `/dev/fuse` did not name its connection.
    has_unnamed: bool,
}

/// The connections that this process has open.
fn open_connections(process: &Path, scan: &mut ScanResult) -> Vec<u32> {
    let entries = match std::fs::read_dir(process.join("fd")) {
        Ok(entries) => entries,
        Err(error) => {
            scan.was_refused |= is_permission_error(&error);
            return Vec::new();
        }
    };
    let mut connections = Vec::new();
    for entry in entries.filter_map(Result::ok).take(MAX_FILES) {
        let is_fuse = |link: &Path| link.as_os_str().as_bytes() == b"/dev/fuse";
        if !std::fs::read_link(entry.path()).is_ok_and(|link| is_fuse(&link)) {
            continue;
        }
        let mut buffer = [0; 1024];
        let info = read(&process.join("fdinfo").join(entry.file_name()), &mut buffer).unwrap_or_default();
        match number_field(info, "fuse_connection").and_then(|number| u32::try_from(number).ok()) {
            Some(connection) => {
                scan.has_named = true;
                connections.push(connection);
            }
            None => scan.has_unnamed = true,
        }
    }
    connections
}

/// Whether this process serves this connection; `None` if the kernel does not tell.
pub(in crate::linux) fn serves_connection(proc: &Path, pid: u32, connection: u32) -> Option<bool> {
    let mut scan = ScanResult::default();
    let found = open_connections(&proc.join(pid.to_string()), &mut scan).contains(&connection);
    (found || !(scan.was_refused || scan.has_unnamed)).then_some(found)
}

fn process(proc: &Path, pid: u32) -> Option<FuseServer> {
    let mut buffer = [0; 1024];
    let stat = Stat::parse(read(&proc.join(format!("{pid}/stat")), &mut buffer).ok()?)?;
    Some(FuseServer::Process { pid, name: stat.name, state: stat.state })
}
