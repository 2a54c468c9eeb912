//! What the kernel logs about servers: the last line about one, as evidence, and new lines, as a reason to probe its
//! mounts at once. Reading `/dev/kmsg` touches no storage; it needs root or `CAP_SYSLOG` if `kernel.dmesg_restrict` is
//! set.

use crate::evidence::{LogLine, Observation, ServerStatusHint};
use crate::linux::procfs::not_observed;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

const KERNEL_LOG: &str = "/dev/kmsg";
/// The limit of the kernel (`CONSOLE_EXT_LOG_MAX`).
const MAX_RECORD: usize = 8192;
/// Maximum number of old records searched: more than the usual buffer holds; takes tens of milliseconds.
const MAX_OLD_RECORDS: usize = 20_000;
/// Maximum number of new records read in one turn of the event loop.
const MAX_NEW_RECORDS: usize = 64;
/// Longer lines are truncated as evidence.
const MAX_LINE: usize = 256;

/// The records of the kernel log that are written after it was opened.
#[derive(Debug)]
pub struct KernelLog(File);

impl KernelLog {
    /// # Errors
    /// There is no kernel log, or this user may not read it.
    pub fn open() -> io::Result<KernelLog> {
        let mut file = open()?;
        file.seek(SeekFrom::End(0))?;
        Ok(KernelLog(file))
    }

    /// Readable when there is a new record.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token, Interest::READABLE)
    }

    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn deregister(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.0.as_raw_fd()))
    }

    /// Skips the records that were not read yet.
    pub fn skip_to_end(&mut self) {
        // After an error, the old records are read as if they were new.
        let _ = self.0.seek(SeekFrom::End(0));
    }

    /// The hints of new records, and whether all new records were read.
    pub fn read_hints(&mut self) -> (Vec<ServerStatusHint>, bool) {
        hints_in(&mut self.0)
    }
}

/// [`KernelLog::read_hints`] for a log whose reads return one record each.
#[doc(hidden)]
pub fn hints_in(log: &mut impl Read) -> (Vec<ServerStatusHint>, bool) {
    let mut hints = Vec::new();
    let mut buffer = [0; MAX_RECORD];
    for _ in 0..MAX_NEW_RECORDS {
        match next_record(log, &mut buffer) {
            Some(record) => hints.extend(parse_record(record).and_then(|(_, text)| parse_hint(text))),
            None => return (hints, true),
        }
    }
    (hints, false)
}

/// The last line of the kernel log about each of these servers.
#[must_use]
pub fn last_log_lines(servers: &[&[u8]]) -> Vec<Observation<LogLine>> {
    let mut file = match open() {
        Ok(file) => file,
        Err(error) => return servers.iter().map(|_| not_observed(&error)).collect(),
    };
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    last_lines_in(&mut file, now, servers)
}

/// [`last_log_lines`] for a log whose reads return one record each, at this time since boot.
#[doc(hidden)]
pub fn last_lines_in(log: &mut impl Read, now: Duration, servers: &[&[u8]]) -> Vec<Observation<LogLine>> {
    let mut lines: Vec<Observation<LogLine>> = servers.iter().map(|_| Observation::Unknown).collect();
    let mut buffer = [0; MAX_RECORD];
    for _ in 0..MAX_OLD_RECORDS {
        let Some(record) = next_record(log, &mut buffer) else { break };
        let Some((written, text)) = parse_record(record) else { continue };
        let Some(hint) = parse_hint(text) else { continue };
        if let Some(index) = servers.iter().position(|server| *server == hint.server) {
            let text = String::from_utf8_lossy(&text[..text.len().min(MAX_LINE)]).into_owned();
            lines[index] = Observation::Found(LogLine { text, age: now.saturating_sub(written) });
        }
    }
    lines
}

fn open() -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(KERNEL_LOG)
}

/// The next record, if there is one.
fn next_record<'a>(file: &mut impl Read, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match file.read(buffer) {
            Ok(0) => return None,
            Ok(length) => return Some(&buffer[..length]),
            // EPIPE: records were overwritten before they were read; the next read returns the oldest remaining one.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// The time since boot and the text of `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, which lines of properties follow.
fn parse_record(record: &[u8]) -> Option<(Duration, &[u8])> {
    let end = record.iter().position(|&byte| byte == b';')?;
    let (head, rest) = (std::str::from_utf8(&record[..end]).ok()?, &record[end + 1..]);
    let written = head.split(',').nth(2)?.parse().ok()?;
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Some((Duration::from_micros(written), line))
}

/// `nfs: server NAME not responding, still trying` (or `timed out`), `nfs: server NAME OK`,
/// `CIFS: VFS: \\NAME has not responded in 180 seconds. Reconnecting...`.
fn parse_hint(text: &[u8]) -> Option<ServerStatusHint> {
    let find = |needle: &[u8]| text.windows(needle.len()).position(|window| window == needle);
    let (server, responds) = if let Some(start) = find(b": server ").map(|at| at + 9) {
        let rest = &text[start..];
        let end = rest.iter().position(|&byte| byte == b' ')?;
        match &rest[end + 1..] {
            b"OK" => (&rest[..end], true),
            state if state.starts_with(b"not responding") => (&rest[..end], false),
            _ => return None,
        }
    } else {
        let end = find(b" has not responded in ")?;
        let start = find(br"\\")? + 2;
        (text.get(start..end)?, false)
    };
    (!server.is_empty()).then(|| ServerStatusHint { server: server.to_vec(), responds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_servers_become_hints() {
        let of = |line: &str| {
            parse_hint(line.as_bytes()).map(|hint| (String::from_utf8(hint.server).unwrap(), hint.responds))
        };
        for (line, expected) in [
            ("nfs: server 10.0.0.5 not responding, still trying", Some(("10.0.0.5", false))),
            ("nfs: server fs-1.example not responding, timed out", Some(("fs-1.example", false))),
            ("nfs: server fd00::5 OK", Some(("fd00::5", true))),
            ("CIFS: VFS: \\\\nas has not responded in 180 seconds. Reconnecting...", Some(("nas", false))),
            ("CIFS: VFS: has not responded in 180 seconds", None),
            ("nfs: server  OK", None),
            ("nfs: server a", None),
            ("usb: server room is OK", None),
            ("", None),
        ] {
            assert_eq!(of(line), expected.map(|(name, responds)| (name.to_owned(), responds)), "{line}");
        }
    }

    #[test]
    fn record_is_split_into_time_and_text() {
        let record = b"5,1234,7976185772,-;nfs: server a OK\n SUBSYSTEM=x\n";
        assert_eq!(
            parse_record(record),
            Some((Duration::from_micros(7_976_185_772), &b"nfs: server a OK"[..]))
        );
        for record in [&b""[..], b"5,1,2", b"5;x", b"5,1,x,-;y", b"\xff,1,2;y"] {
            assert_eq!(parse_record(record), None);
        }
    }

    #[test]
    fn real_log_is_read_to_its_end_or_refused() {
        let found = last_log_lines(&[b"no such server"]);
        assert!(matches!(found[0], Observation::Unknown | Observation::NeedsRoot), "{found:?}");
        if let Ok(mut log) = KernelLog::open() {
            let (_, all) = log.read_hints();
            assert!(all, "there are few new records");
        }
    }
}
