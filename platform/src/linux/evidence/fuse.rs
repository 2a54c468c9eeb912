//! FUSE connections: how much waits in one, and who serves it.

use super::procfs::{Stat, nothing, numbers, read};
use super::tasks::Limits;
use crate::DeviceNumber;
use crate::evidence::{FuseServer, Observation};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Open files of one process that are looked at: a server opens `/dev/fuse` before it opens files for others.
const MAX_FILES: usize = 1024;

/// The number of the connection behind a FUSE mount: the kernel's own `dev_t` of its superblock.
#[must_use]
pub const fn connection(device: DeviceNumber) -> u32 {
    (device.major << 20) | device.minor
}

/// Requests that wait in a connection, below `connections` (which is `/sys/fs/fuse/connections`). Only its owner may
/// ask, and only while `fusectl` is mounted.
#[must_use]
pub fn fuse_waiting(connections: &Path, connection: u32) -> Observation<u64> {
    let mut buffer = [0; 32];
    match read(&connections.join(format!("{connection}/waiting")), &mut buffer) {
        Ok(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map_or(Observation::Unknown, Observation::Found),
        Err(error) => nothing(&error),
    }
}

/// The processes that serve these connections, below `proc`. Since Linux 6.16 an open `/dev/fuse` tells its
/// connection; before that nothing does, and a guess would be wrong where it matters.
#[must_use]
pub fn fuse_server(proc: &Path, connections: &[u32], limits: &Limits) -> Vec<Observation<FuseServer>> {
    let mut found: Vec<Option<FuseServer>> = vec![None; connections.len()];
    let mut seen = Seen::default();
    for (n, pid) in numbers(proc).enumerate() {
        if n >= limits.tasks || limits.is_over() || found.iter().all(Option::is_some) {
            break;
        }
        for connection in served_by(&proc.join(pid.to_string()), &mut seen) {
            let places = connections.iter().zip(&mut found).filter(|(wanted, _)| **wanted == connection);
            for (_, place) in places {
                // Threads and children of a server may hold it too; the first is as good as any, but one that lives
                // is better than one that is being reaped.
                if place.is_none() {
                    *place = process(proc, pid);
                }
            }
        }
    }
    let nobody = || {
        if seen.refused {
            Observation::NeedsRoot
        } else if seen.tells || !seen.unnamed {
            // Everybody was asked: nobody serves it here.
            if limits.is_over() { Observation::Unknown } else { Observation::Found(FuseServer::NotSeen) }
        } else {
            Observation::Unknown
        }
    };
    found.into_iter().map(|server| server.map_or_else(nobody, Observation::Found)).collect()
}

#[derive(Default)]
struct Seen {
    /// The files of some process may not be looked at.
    refused: bool,
    /// An open `/dev/fuse` told its connection.
    tells: bool,
    /// One did not.
    unnamed: bool,
}

/// The connections that this process has open.
fn served_by(process: &Path, seen: &mut Seen) -> Vec<u32> {
    let entries = match std::fs::read_dir(process.join("fd")) {
        Ok(entries) => entries,
        Err(error) => {
            seen.refused |= super::procfs::is_refusal(&error);
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
        let connection = String::from_utf8_lossy(info)
            .lines()
            .find_map(|line| line.strip_prefix("fuse_connection:")?.trim().parse().ok());
        match connection {
            Some(connection) => {
                seen.tells = true;
                connections.push(connection);
            }
            None => seen.unnamed = true,
        }
    }
    connections
}

fn process(proc: &Path, pid: u32) -> Option<FuseServer> {
    let mut buffer = [0; 1024];
    let stat = Stat::parse(read(&proc.join(format!("{pid}/stat")), &mut buffer).ok()?)?;
    Some(FuseServer::Process { pid, name: stat.name, state: stat.state })
}
