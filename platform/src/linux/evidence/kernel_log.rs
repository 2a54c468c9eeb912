//! What the kernel's clients say of servers in its log: the last word about one, as evidence, and new words as they
//! come, as a reason to ask its mounts at once. Reading `/dev/kmsg` touches no storage; it needs root or `CAP_SYSLOG`
//! where `kernel.dmesg_restrict` is set.

use super::procfs::nothing;
use crate::evidence::{LogLine, Observation};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

const FILE: &str = "/dev/kmsg";
/// The kernel makes no longer record (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;
/// Records that one look at the past takes in: more than the usual ring has; some tens of milliseconds.
const MAX_PAST: usize = 20_000;
/// Records that one turn of the daemon's loop takes in.
const MAX_AT_ONCE: usize = 64;
/// A line that is kept as evidence is cut here.
const MAX_LINE: usize = 256;

/// A client's word about its server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerStatusHint {
    /// As the mount calls it (`server` of `server:/export`).
    pub server: Vec<u8>,
    /// It answers again.
    pub responds: bool,
}

/// New records of the kernel log, from the moment of opening on.
#[derive(Debug)]
pub struct KernelLog(File);

impl KernelLog {
    /// # Errors
    /// There is none, or this user may not read it.
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

    /// Forgets what has not been read yet.
    pub fn skip_to_end(&mut self) {
        // An error leaves it where it is, and what is old is then read late.
        let _ = self.0.seek(SeekFrom::End(0));
    }

    /// What new records say of servers; and whether all of them were read, or there may be more.
    pub fn read_hints(&mut self) -> (Vec<ServerStatusHint>, bool) {
        let mut signs = Vec::new();
        let mut buffer = [0; RECORD];
        for _ in 0..MAX_AT_ONCE {
            match next(&mut self.0, &mut buffer) {
                Some(record) => signs.extend(text(record).and_then(|(_, text)| sign(text))),
                None => return (signs, true),
            }
        }
        (signs, false)
    }
}

/// The last word of the kernel log about each of these servers.
#[must_use]
pub fn last_log_lines(servers: &[&[u8]]) -> Vec<Observation<LogLine>> {
    let mut file = match open() {
        Ok(file) => file,
        Err(error) => return servers.iter().map(|_| nothing(&error)).collect(),
    };
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    let mut words: Vec<Observation<LogLine>> = servers.iter().map(|_| Observation::Unknown).collect();
    let mut buffer = [0; RECORD];
    for _ in 0..MAX_PAST {
        let Some(record) = next(&mut file, &mut buffer) else { break };
        let Some((written, text)) = text(record) else { continue };
        let Some(sign) = sign(text) else { continue };
        if let Some(place) = servers.iter().position(|server| *server == sign.server) {
            let text = String::from_utf8_lossy(&text[..text.len().min(MAX_LINE)]).into_owned();
            words[place] = Observation::Found(LogLine { text, age: now.saturating_sub(written) });
        }
    }
    words
}

fn open() -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(FILE)
}

/// The next record; none when there is none yet.
fn next<'a>(file: &mut impl Read, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match file.read(buffer) {
            Ok(0) => return None,
            Ok(length) => return Some(&buffer[..length]),
            // Records were overwritten before they were read: it goes on with the oldest that is left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, then lines of properties.
fn text(record: &[u8]) -> Option<(Duration, &[u8])> {
    let end = record.iter().position(|&byte| byte == b';')?;
    let (head, rest) = (std::str::from_utf8(&record[..end]).ok()?, &record[end + 1..]);
    let written = head.split(',').nth(2)?.parse().ok()?;
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Some((Duration::from_micros(written), line))
}

/// `nfs: server NAME not responding, still trying` (or `timed out`), `nfs: server NAME OK`,
/// `CIFS: VFS: \\NAME has not responded in 180 seconds. Reconnecting...`.
fn sign(text: &[u8]) -> Option<ServerStatusHint> {
    let find = |needle: &[u8]| text.windows(needle.len()).position(|window| window == needle);
    let (server, responds) = if let Some(start) = find(b": server ").map(|at| at + 9) {
        let rest = &text[start..];
        let end = rest.iter().position(|&byte| byte == b' ')?;
        let said = &rest[end + 1..];
        let responds = if said == b"OK" { true } else { !said.starts_with(b"not responding") };
        if responds && said != b"OK" {
            return None;
        }
        (&rest[..end], responds)
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
    fn words_about_servers() {
        let of =
            |line: &str| sign(line.as_bytes()).map(|s| (String::from_utf8(s.server).unwrap(), s.responds));
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
    fn records() {
        let record = b"5,1234,7976185772,-;nfs: server a OK\n SUBSYSTEM=x\n";
        assert_eq!(text(record), Some((Duration::from_micros(7_976_185_772), &b"nfs: server a OK"[..])));
        for record in [&b""[..], b"5,1,2", b"5;x", b"5,1,x,-;y", b"\xff,1,2;y"] {
            assert_eq!(text(record), None);
        }
    }

    #[test]
    fn the_real_log_is_read_to_its_end_or_refused() {
        let found = last_log_lines(&[b"no such server"]);
        assert!(matches!(found[0], Observation::Unknown | Observation::NeedsRoot), "{found:?}");
        if let Ok(mut log) = KernelLog::open() {
            let (_, all) = log.read_hints();
            assert!(all, "from its end on there are few");
        }
    }
}
