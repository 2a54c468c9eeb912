//! The transports of the NFS client (`/sys/kernel/sunrpc/xprt-switches`, Linux 5.14, of this network namespace). The
//! number of queued requests is above 0 while any task waits, connected or not. `last_used` is the time when a request
//! ended last; it cannot be read while the transport is not connected (`net/sunrpc/sysfs.c`, `net/sunrpc/xprt.c`).

use crate::linux::procfs::read;
use crate::signs::{Sign, Waiting};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Maximum number of transports that are looked at: of different servers, and of one server (`nconnect` permits 16).
const MAX_SWITCHES: usize = 1024;
const MAX_TRANSPORTS: usize = 64;
/// More than the content of any of these files.
const MAX_FILE: usize = 1024;

/// The servers for which requests wait.
///
/// # Errors
/// There is no such directory.
pub(super) fn waiting(switches: &Path) -> io::Result<Vec<Waiting>> {
    let mut waiting = Vec::new();
    for (connection, switch) in numbered(switches, "switch-")?.take(MAX_SWITCHES) {
        let mut buffer = [0; MAX_FILE];
        let info = read(&switch.join("xprt_switch_info"), &mut buffer).unwrap_or_default();
        if number(info, "queue_len").is_none_or(|queued| queued <= 0) {
            continue;
        }
        let (mut addresses, mut answers) = (Vec::new(), 0);
        for (_, transport) in numbered(&switch, "xprt-").into_iter().flatten().take(MAX_TRANSPORTS) {
            addresses.extend(address(&transport));
            let info = read(&transport.join("xprt_info"), &mut buffer).unwrap_or_default();
            answers = answers.max(number(info, "last_used").unwrap_or(0));
        }
        addresses.sort_unstable();
        addresses.dedup();
        let answers = u64::try_from(answers).unwrap_or(u64::MAX);
        let of = |address| Waiting { sign: Sign::Server(address), connection, answers };
        waiting.extend(addresses.into_iter().map(of));
    }
    Ok(waiting)
}

/// The entries with this prefix and a number after it, which another `-` may follow.
fn numbered(directory: &Path, prefix: &str) -> io::Result<impl Iterator<Item = (u32, PathBuf)>> {
    let entries = fs::read_dir(directory)?.filter_map(Result::ok);
    Ok(entries.filter_map(move |entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(prefix)?.split('-').next()?.parse().ok()?;
        Some((number, entry.path()))
    }))
}

fn address(transport: &Path) -> Option<Vec<u8>> {
    let mut buffer = [0; MAX_FILE];
    let text = read(&transport.join("dstaddr"), &mut buffer).ok()?;
    let address = text.split(|&byte| byte == b'\n' || byte == 0).next()?;
    (!address.is_empty()).then(|| address.to_vec())
}

/// The value of the line `NAME=NUMBER`. The kernel writes a NUL after the last line.
fn number(text: &[u8], name: &str) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.split(['\n', '\0']);
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.12 shows it.
    const INFO: &str = "last_used=4294951024\ncur_cong=0\ncong_win=256\nmax_num_slots=65536\nmin_num_slots=2\n\
                        num_reqs=2\nbinding_q_len=0\nsending_q_len=0\npending_q_len=1\nbacklog_q_len=0\nmain_xprt=1\n\
                        src_port=867\ntasks_queuelen=1\ndst_port=2049\n\0";

    fn set(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).unwrap();
        files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).unwrap());
    }

    #[test]
    fn servers_with_queued_requests_are_found() {
        let directory = std::env::temp_dir().join(format!("msm-sunrpc-signs-{}", std::process::id()));
        assert!(waiting(&directory).is_err(), "an older kernel");
        let busy = "num_xprts=2\nnum_active=2\nnum_unique_destaddr=1\nqueue_len=3\n\0";
        let idle = "num_xprts=1\nnum_active=1\nnum_unique_destaddr=1\nqueue_len=0\n\0";
        let address = ("dstaddr", "10.9.0.2\n\0");
        let later = INFO.replace("4294951024", "4294951030");
        set(&directory.join("switch-3"), &[("xprt_switch_info", busy)]);
        set(&directory.join("switch-3/xprt-4-tcp"), &[address, ("xprt_info", INFO)]);
        set(&directory.join("switch-3/xprt-5-tcp"), &[address, ("xprt_info", &later)]);
        set(&directory.join("switch-4"), &[("xprt_switch_info", idle)]);
        set(&directory.join("switch-4/xprt-6-tcp"), &[("dstaddr", "10.9.1.2\n\0"), ("xprt_info", INFO)]);
        // Not connected: its `xprt_info` cannot be read.
        set(&directory.join("switch-5"), &[("xprt_switch_info", busy)]);
        set(&directory.join("switch-5/xprt-7-tcp"), &[("dstaddr", "fd00::5\n\0")]);
        set(&directory.join("other"), &[("xprt_switch_info", busy)]);
        let mut found = waiting(&directory).unwrap();
        found.sort_by_key(|waiting| waiting.connection);
        let of = |address: &str, connection, answers| Waiting {
            sign: Sign::Server(address.into()),
            connection,
            answers,
        };
        assert_eq!(found, [of("10.9.0.2", 3, 4_294_951_030), of("fd00::5", 5, 0)]);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn number_is_that_of_a_whole_name() {
        assert_eq!(number(INFO.as_bytes(), "tasks_queuelen"), Some(1));
        assert_eq!(number(b"num_xprts=1\nqueue_len=-1\n\0", "queue_len"), Some(-1));
        for text in [&b""[..], b"queue_len", b"queue_len=", b"queue_len=x", b"xqueue_len=1", b"\xff"] {
            assert_eq!(number(text, "queue_len"), None);
        }
    }
}
