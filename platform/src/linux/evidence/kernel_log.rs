//! What the kernel logs about storage: the last line about a server, as evidence, and new lines, as a reason to probe
//! mounts at once. Reading `/dev/kmsg` touches no storage; it needs root or `CAP_SYSLOG` if `kernel.dmesg_restrict` is
//! set.

use super::kernel_hint;
use crate::evidence::{KernelHint, LogLine, Observation};
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
/// The lower bits of a priority are its level; the others are its facility, which is 0 for the kernel (syslog(3)).
const LEVEL_BITS: u32 = 3;
const KERNEL_FACILITY: u32 = 0;

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
    pub fn read_hints(&mut self) -> (Vec<KernelHint>, bool) {
        hints_in(&mut self.0)
    }
}

/// [`KernelLog::read_hints`] for a log whose reads return one record each.
#[doc(hidden)]
pub fn hints_in(log: &mut impl Read) -> (Vec<KernelHint>, bool) {
    let mut hints = Vec::new();
    let mut buffer = [0; MAX_RECORD];
    for _ in 0..MAX_NEW_RECORDS {
        match next_record(log, &mut buffer) {
            Some(record) => {
                hints.extend(parse_record(record).and_then(|(_, text)| kernel_hint::parse(&text)));
            }
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
        let Some(KernelHint::Server(hint)) = kernel_hint::parse(&text) else { continue };
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
/// `None` if the kernel did not write it.
fn parse_record(record: &[u8]) -> Option<(Duration, Vec<u8>)> {
    let end = record.iter().position(|&byte| byte == b';')?;
    let (head, rest) = (std::str::from_utf8(&record[..end]).ok()?, &record[end + 1..]);
    let mut fields = head.split(',');
    // The kernel gives what processes write another facility (`devkmsg_write()` in `kernel/printk/printk.c`).
    let priority: u32 = fields.next()?.parse().ok()?;
    if priority >> LEVEL_BITS != KERNEL_FACILITY {
        return None;
    }
    let written = fields.nth(1)?.parse().ok()?;
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Some((Duration::from_micros(written), unescape(line)))
}

/// `/dev/kmsg` shows backslashes, control bytes and bytes above 126 as `\xNN`.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let escaped = match text {
            [b'\\', b'x', high, low, ..] => hexadecimal(*high).zip(hexadecimal(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                plain.push(high << 4 | low);
                text = &text[4..];
            }
            None => {
                plain.push(*first);
                text = rest;
            }
        }
    }
    plain
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn record_of_the_kernel_is_split_into_time_and_text() {
        let at = Duration::from_micros(7_976_185_772);
        for (record, text) in [
            (&b"5,1234,7976185772,-;nfs: server a OK\n SUBSYSTEM=x\n"[..], &b"nfs: server a OK"[..]),
            (
                b"3,1234,7976185772,-,caller=T1;CIFS: VFS: \\x5c\\x5cnas is\\xff\\x1b[m\n",
                b"CIFS: VFS: \\\\nas is\xff\x1b[m",
            ),
            (b"7,1234,7976185772,c;\\x5c\\x4 \\xzz \\", b"\\\\x4 \\xzz \\"),
        ] {
            assert_eq!(parse_record(record), Some((at, text.to_vec())), "{}", record.escape_ascii());
        }
        for record in [&b""[..], b"5,1,2", b"5;x", b"5,1,x,-;y", b"\xff,1,2;y", b"x,1,2,-;y"] {
            assert_eq!(parse_record(record), None);
        }
    }

    #[test]
    fn records_that_processes_wrote_are_no_hints() {
        // Facility user (1) and daemon (3); the kernel turns a written facility 0 into 1.
        for priority in [8 + 3, 24 + 5, 8, u32::MAX] {
            let record = format!("{priority},1,2,-;nfs: server nas not responding, still trying\n");
            assert_eq!(parse_record(record.as_bytes()), None, "{record}");
        }
    }

    /// A written line is read back as one of a process.
    #[test]
    fn forged_line_in_the_real_log_is_not_believed() {
        let (Ok(mut log), Ok(mut kmsg)) = (KernelLog::open(), File::options().write(true).open(KERNEL_LOG))
        else {
            println!("skipped: this user may not write to {KERNEL_LOG}");
            return;
        };
        for line in [
            "nfs: server forged not responding, still trying",
            "<3>nfs: server forged OK",
            "<0>: server forged OK",
        ] {
            kmsg.write_all(line.as_bytes()).unwrap();
        }
        let mut is_written = false;
        let mut buffer = [0; MAX_RECORD];
        let mut reader = log.0.try_clone().unwrap();
        while let Some(record) = next_record(&mut reader, &mut buffer) {
            is_written |= record.windows(6).any(|part| part == b"forged");
            assert!(parse_record(record).is_none_or(|(_, text)| !text.ends_with(b"forged OK")));
        }
        assert!(is_written, "the kernel did not keep what was written");
        log.skip_to_end();
        assert!(!last_log_lines(&[b"forged"]).iter().any(|line| line.found().is_some()));
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
