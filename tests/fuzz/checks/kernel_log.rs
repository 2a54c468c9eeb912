//! The kernel log: records of `/dev/kmsg`, each followed by its indented properties, as `cat /dev/kmsg` shows them.

use super::at;
use super::machine::Machine;
use mount_status_monitor::monitor::Input;
use platform::collect::{hints_in, last_lines_in};
use platform::evidence::{Evidence, KernelHint, LogLine, Observation, ServerStatusHint, StalledStorage};
use std::io::{self, ErrorKind, Read};
use std::time::Duration;

/// The limits of the parser.
const MAX_RECORD: usize = 8192;
const MAX_NEW_RECORDS: usize = 64;
const MAX_LINE: usize = 256;
const NOW: Duration = Duration::from_secs(1_000_000);

pub fn kernel_log(input: &[u8]) {
    let records = records(input);
    let (hints, complete) = hints_in(&mut Log::new(&records));
    let read = &records[..records.len().min(MAX_NEW_RECORDS)];
    assert_eq!(complete, records.len() < MAX_NEW_RECORDS, "{} records", records.len());
    assert!(hints.len() <= read.len(), "a record has at most one hint");

    // Each hint comes from a record that says the same.
    let alone: Vec<_> = read
        .iter()
        .flat_map(|record| hints_in(&mut Log::new(&[record])).0.into_iter().zip([*record]))
        .collect();
    assert_eq!(alone.len(), hints.len(), "records do not depend on each other");
    for (hint, (same, record)) in hints.iter().zip(&alone) {
        assert_eq!(hint, same);
        let text = text(record).expect("a record with a hint has a text");
        check_text(&text, hint);
        let priority = record.split(|&byte| byte == b',').next().and_then(|it| str::from_utf8(it).ok());
        assert!(priority.is_some_and(|it| it.parse::<u8>().is_ok_and(|it| it < 8)), "facility of {record:?}");
    }
    check_last_lines(&records);

    let mut machine = Machine::new();
    for hint in hints {
        let input = match hint {
            KernelHint::Server(ServerStatusHint { server, responds }) => {
                Input::ServerStatusHint { server, responds }
            }
            KernelHint::Stall(storage) => Input::StorageStall(storage),
        };
        machine.handle(at(1), input);
    }
    machine.finish(at(2));
}

fn check_text(text: &[u8], hint: &KernelHint) {
    let starts: &[&[u8]] = match hint {
        KernelHint::Server(ServerStatusHint { server, responds }) => {
            let state: &[u8] = if *responds { b" OK" } else { b" not respond" };
            assert!(!server.is_empty() && contains(text, server), "{hint:?}");
            assert!(contains(text, state) || contains(text, b" has not responded in "), "{hint:?}");
            &[b"nfs: ", b"lockd: ", b"CIFS"]
        }
        KernelHint::Stall(StalledStorage::Ceph) => &[b"ceph: ", b"libceph: "],
        KernelHint::Stall(StalledStorage::Lustre) => &[b"Lustre: ", b"LustreError: "],
        KernelHint::Stall(StalledStorage::Any) => &[b"INFO: task "],
    };
    assert!(starts.iter().any(|start| text.starts_with(start)), "{hint:?} from {}", text.escape_ascii());
}

fn check_last_lines(records: &[&[u8]]) {
    let with_hints: Vec<(Vec<u8>, &[u8])> = records
        .iter()
        .flat_map(|record| hints_in(&mut Log::new(&[record])).0.into_iter().zip([*record]))
        .filter_map(|(hint, record)| match hint {
            KernelHint::Server(hint) => Some((hint.server, record)),
            KernelHint::Stall(_) => None,
        })
        .collect();
    let mut servers: Vec<&[u8]> = with_hints.iter().map(|(server, _)| server.as_slice()).collect();
    servers.sort_unstable();
    servers.dedup();
    servers.push(b"a server that is not in the log");
    let lines = last_lines_in(&mut Log::new(records), NOW, &servers);
    if let Some(line) = lines.iter().find_map(Observation::found) {
        show(line.clone());
    }
    assert_eq!(lines.len(), servers.len());
    for (server, line) in servers.iter().zip(&lines) {
        let last = with_hints.iter().rfind(|(name, _)| name == server);
        let expected = last.map(|(_, record)| text(record).expect("it has a hint"));
        let found = line.found().map(|line| line.text.as_str());
        let shortened =
            expected.map(|text| String::from_utf8_lossy(&text[..text.len().min(MAX_LINE)]).into_owned());
        assert_eq!(found, shortened.as_deref(), "{}", server.escape_ascii());
        assert!(line.found().is_none_or(|line| line.age <= NOW));
    }
}

/// As evidence about a mount, in every output.
fn show(line: LogLine) {
    let mut machine = Machine::new();
    let device = machine.kill_one();
    let evidence = Evidence { kernel_log: Some(Observation::Found(line)), ..Evidence::default() };
    machine.handle(at(25_001), Input::EvidenceFound { superblock: device, evidence: Box::new(evidence) });
    machine.handle(at(25_002), Input::EvidenceEnded { superblock: device });
    machine.finish(at(25_002));
}

/// The records of a log: every line that is not indented starts one.
fn records(input: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    let mut start = 0;
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        let position = line.as_ptr().addr() - input.as_ptr().addr();
        if position > start && !line.starts_with(b" ") {
            records.push(&input[start..position]);
            start = position;
        }
    }
    if start < input.len() {
        records.push(&input[start..]);
    }
    records
}

/// The text of a record, read independently of the parser.
fn text(record: &[u8]) -> Option<Vec<u8>> {
    let record = &record[..record.len().min(MAX_RECORD)];
    let start = record.iter().position(|&byte| byte == b';')? + 1;
    let line = record[start..].split(|&byte| byte == b'\n').next()?;
    let mut text = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let digits = line.get(at + 2..at + 4).filter(|_| line[at..].starts_with(b"\\x"));
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|digits| std::str::from_utf8(digits).ok()) {
            Some(digits) => {
                text.push(u8::from_str_radix(digits, 16).expect("two digits"));
                at += 4;
            }
            None => {
                text.push(line[at]);
                at += 1;
            }
        }
    }
    Some(text)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Returns one record for each read, as `/dev/kmsg` does, and now and then the errors that it may return.
struct Log<'a> {
    records: &'a [&'a [u8]],
    next: usize,
    reads: usize,
}

impl<'a> Log<'a> {
    fn new(records: &'a [&'a [u8]]) -> Log<'a> {
        Log { records, next: 0, reads: 0 }
    }
}

impl Read for Log<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match self.reads % 4 {
            1 => return Err(ErrorKind::BrokenPipe.into()),
            2 => return Err(ErrorKind::Interrupted.into()),
            _ => {}
        }
        let Some(record) = self.records.get(self.next) else { return Err(ErrorKind::WouldBlock.into()) };
        self.next += 1;
        let length = record.len().min(buffer.len());
        buffer[..length].copy_from_slice(&record[..length]);
        Ok(length)
    }
}
