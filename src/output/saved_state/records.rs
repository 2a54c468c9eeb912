//! Which output was handed what: records in memory that outlives this process, also when it is killed. The next daemon
//! repeats a report only at an output without a record of it, and marks it there.
//!
//! The records are in the file of the lock, which the daemon holds open, if it lies in memory (tmpfs): one write of a few
//! bytes at most, which waits for no storage. The file has a fixed size, which is allocated at the start, so that a write
//! cannot fail for lack of room, and the oldest record makes room for the newest. No record crosses a page, and the kernel
//! copies a part of a page as a whole, so a record is never torn by a kill.

use crate::monitor::Event;
use crate::render::Message;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Bytes of a record, which divide a page.
const SIZE: usize = 32;
/// As many as six thousand mounts need that die together, with four outputs.
const MAX_RECORDS: usize = 1 << 15;
/// Size of the file.
pub(super) const MAX_BYTES: usize = MAX_RECORDS * SIZE;
/// Larger numbers are not ours: a million records a second take 30,000 years to get there.
const MAX_NUMBER: u64 = 1 << 60;
/// In place of the hash of an output: the report is about to be handed over.
const HANDED_OVER: u32 = 0;
/// In place of the hash of a kind: `at` is the number of the last event.
const EVENT_NUMBER: u32 = 0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Record {
    /// Grows with each record, also from one daemon to the next; 0 in a place that is not used.
    number: u64,
    /// When the event happened: nanoseconds since 1970.
    at: u64,
    /// The hash of what the report is about.
    subject: u64,
    /// The hash of the kind of the event.
    kind: u32,
    /// The hash of the name of an output that has it.
    output: u32,
}

impl Record {
    fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.subject.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.kind.to_le_bytes());
        bytes[28..].copy_from_slice(&self.output.to_le_bytes());
        bytes
    }

    /// `None` for a place that is not used.
    fn from_bytes(bytes: &[u8]) -> Option<Record> {
        let long = |from| Some(u64::from_le_bytes(bytes.get(from..from + 8)?.try_into().ok()?));
        let short = |from| Some(u32::from_le_bytes(bytes.get(from..from + 4)?.try_into().ok()?));
        let record = Record {
            number: long(0)?,
            at: long(8)?,
            subject: long(16)?,
            kind: short(24)?,
            output: short(28)?,
        };
        (1..=MAX_NUMBER).contains(&record.number).then_some(record)
    }
}

/// The handle of the outputs. None of its methods waits for storage.
#[derive(Debug)]
pub(in crate::output) struct Records {
    file: File,
    last: AtomicU64,
}

impl Records {
    /// Continues after what was read of the file.
    pub(super) fn new(file: OwnedFd, text: &[u8]) -> Records {
        let last = read(text).map(|record| record.number).max().unwrap_or_default();
        Records { file: file.into(), last: last.into() }
    }

    /// Before it is handed to any output.
    pub(in crate::output) fn hand_over(&self, time: SystemTime, event: &Event) {
        if let Some(subject) = subject(event) {
            let kind = short_hash(event.name());
            self.add(nanos(time), subject, kind, HANDED_OVER);
        }
    }

    /// After an output has delivered it, or need not.
    pub(in crate::output) fn deliver(&self, output: &str, message: &Message) {
        let Some(event) = &message.event else { return };
        if let Some(subject) = subject(event) {
            self.add(nanos(message.time), subject, short_hash(event.name()), short_hash(output));
        }
    }

    /// The number of the last event, after which the next daemon continues: clients of the events know it.
    pub(in crate::output) fn set_event_number(&self, number: u64) {
        self.add(number, 0, EVENT_NUMBER, HANDED_OVER);
    }

    fn add(&self, at: u64, subject: u64, kind: u32, output: u32) {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let place = number % MAX_RECORDS as u64 * SIZE as u64;
        let record = Record { number, at, subject, kind, output };
        // There is room, and a report without a record is only repeated.
        let _ = self.file.write_all_at(&record.to_bytes(), place);
    }
}

/// What earlier daemons have handed over last about each subject.
#[derive(Debug, Default)]
pub(in crate::output) struct HandedOver {
    last: HashMap<u64, LastReport>,
    /// The number of the last event; 0 if there was none.
    pub(in crate::output) event_number: u64,
    /// The state that was kept has what was handed over until then.
    kept_until: u64,
}

#[derive(Debug)]
struct LastReport {
    at: u64,
    kind: u32,
    /// The outputs that have it.
    outputs: Vec<u32>,
}

impl HandedOver {
    /// `kept`: when the state was taken that the last daemon has left, since 1970.
    pub(super) fn new(text: &[u8], kept: Duration) -> HandedOver {
        let mut records: Vec<Record> = read(text).collect();
        records.sort_unstable_by_key(|record| record.number);
        let mut found = HandedOver { kept_until: whole_nanos(kept), ..HandedOver::default() };
        for Record { at, subject, kind, output, .. } in records {
            if (kind, output) == (EVENT_NUMBER, HANDED_OVER) {
                found.event_number = at;
            } else if output == HANDED_OVER {
                found.last.insert(subject, LastReport { at, kind, outputs: Vec::new() });
            } else if let Some(last) = found.last.get_mut(&subject)
                && (last.at, last.kind) == (at, kind)
            {
                last.outputs.push(output);
            }
        }
        found
    }

    /// The doubt about this report, the first about its subject since the start. `is_in_doubt`: the state says that it is not
    /// known whether the outputs have it. `is_new_daemon`: it may be what an earlier daemon found, too.
    pub(in crate::output) fn doubt(
        &mut self,
        event: &Event,
        is_in_doubt: bool,
        is_new_daemon: bool,
    ) -> Option<Doubt> {
        let last = self.last.remove(&subject(event)?);
        let is_same = last.as_ref().is_some_and(|last| last.kind == short_hash(event.name()));
        let is_unknown = last.as_ref().is_some_and(|last| last.at > self.kept_until) && is_new_daemon;
        let outputs = last.map(|last| last.outputs).unwrap_or_default();
        (is_in_doubt || (is_same && is_unknown)).then_some(Doubt { is_same, outputs })
    }
}

/// A report that some outputs may have got from an earlier daemon.
#[derive(Debug)]
pub(in crate::output) struct Doubt {
    /// The last report was of the same kind.
    is_same: bool,
    /// Those that have the last report.
    outputs: Vec<u32>,
}

/// A message as each output gets it.
#[derive(Debug)]
pub(in crate::output) struct Versions {
    plain: Arc<Message>,
    doubted: Option<(Arc<Message>, Doubt)>,
    records: Option<Arc<Records>>,
}

impl From<Arc<Message>> for Versions {
    fn from(plain: Arc<Message>) -> Versions {
        Versions { plain, doubted: None, records: None }
    }
}

impl Versions {
    pub(in crate::output) fn new(
        message: Message,
        doubt: Option<Doubt>,
        records: Option<Arc<Records>>,
    ) -> Versions {
        let doubted = doubt.map(|doubt| (Arc::new(message.clone().as_perhaps_repeated()), doubt));
        Versions { plain: Arc::new(message), doubted, records }
    }

    pub(in crate::output) fn are_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// For those that get every report.
    pub(in crate::output) fn any(&self) -> &Arc<Message> {
        match &self.doubted {
            Some((marked, doubt)) if doubt.is_same || doubt.outputs.is_empty() => marked,
            _ => &self.plain,
        }
    }

    /// For an output with this name; `None` if it has the report from an earlier daemon.
    pub(in crate::output) fn of(&self, output: &str) -> Option<&Arc<Message>> {
        let Some((marked, doubt)) = &self.doubted else { return Some(&self.plain) };
        let has_last = doubt.outputs.contains(&short_hash(output));
        if has_last && doubt.is_same {
            if let Some(records) = &self.records {
                records.deliver(output, &self.plain); // the next daemon looks at this report
            }
            return None;
        }
        Some(if has_last { &self.plain } else { marked })
    }
}

fn read(text: &[u8]) -> impl Iterator<Item = Record> {
    text.chunks_exact(SIZE).take(MAX_RECORDS).filter_map(Record::from_bytes)
}

/// The hash of what a report is about: a path, and what of it. `None` if no report repeats it.
fn subject(event: &Event) -> Option<u64> {
    let aspect: u8 = match event {
        Event::Failed { .. }
        | Event::Recovered { .. }
        | Event::Slow { .. }
        | Event::Denied { .. }
        | Event::Unknown { .. } => 1,
        Event::Unmounted { health, .. } if health.failure().is_some() => 1,
        Event::Missing { .. } | Event::Found { .. } => 2,
        Event::StillFailing { .. } => 3,
        Event::Flapping { .. } | Event::Steady { .. } => 4,
        Event::UnexpectedOptions { .. } | Event::ExpectedOptions { .. } => 5,
        _ => return None,
    };
    let path = event.mountpoint()?.as_os_str().as_bytes();
    Some(hash(path.iter().copied().chain([aspect])))
}

/// FNV-1a: the same in every version of the program.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// Never 0.
fn short_hash(name: &str) -> u32 {
    let long = hash(name.bytes());
    ((long ^ (long >> 32)) as u32).max(1)
}

fn nanos(time: SystemTime) -> u64 {
    whole_nanos(super::since_1970(time))
}

fn whole_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::{messages, samples};
    use std::io::Read as _;

    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn message(seconds: u64, event: Event) -> Message {
        let (priority, text) = messages::line(&event);
        Message { time: time(seconds), priority, text, event: Some(event) }
    }

    fn failed(path: &str) -> Event {
        let (mount, failure) =
            (samples::mount(path, "x", "x", "rw", "rw"), samples::failure(Reason::Hung, None, 3.0));
        Event::Failed { mount, failure }
    }

    fn recovered(path: &str) -> Event {
        let mount = samples::mount(path, "x", "x", "rw", "rw");
        let lasted = Duration::from_secs(9);
        Event::Recovered { mount, lasted, took: lasted, was: "hung" }
    }

    fn slow(path: &str) -> Event {
        let mount = samples::mount(path, "x", "x", "rw", "rw");
        Event::Slow { mount, took: Duration::from_secs(2), slow_after: Duration::from_secs(1) }
    }

    /// The file of a daemon, and what the next reads of it.
    struct Kept {
        path: tempfile::NamedTempFile,
        records: Arc<Records>,
    }

    impl Kept {
        fn new() -> Kept {
            let path = tempfile::NamedTempFile::new().unwrap();
            let records = Arc::new(Records::new(path.reopen().unwrap().into(), &[]));
            Kept { path, records }
        }

        fn text(&self) -> Vec<u8> {
            let mut text = Vec::new();
            self.path.reopen().unwrap().read_to_end(&mut text).unwrap();
            text
        }

        fn hand_over(&self, seconds: u64, event: Event, outputs: &[&str]) {
            self.records.hand_over(time(seconds), &event);
            let message = message(seconds, event);
            outputs.iter().for_each(|output| self.records.deliver(output, &message));
        }

        /// The next daemon, with a state of this time.
        fn next(self, kept: u64) -> (Kept, HandedOver) {
            let text = self.text();
            let handed_over = HandedOver::new(&text, Duration::from_secs(kept));
            let records = Arc::new(Records::new(self.path.reopen().unwrap().into(), &text));
            (Kept { records, ..self }, handed_over)
        }

        /// What each of these outputs gets of a report: `new`, `marked` or `none`.
        fn versions(&self, event: Event, doubt: Option<Doubt>) -> [&'static str; 2] {
            self.records.hand_over(time(99), &event);
            let versions = Versions::new(message(99, event), doubt, Some(Arc::clone(&self.records)));
            ["stderr", "syslog"].map(|output| match versions.of(output) {
                None => "none",
                Some(message) if message.is_perhaps_repeated() => "marked",
                Some(_) => "new",
            })
        }
    }

    #[test]
    fn only_an_output_without_a_record_gets_a_repeat() {
        let kept = Kept::new();
        kept.hand_over(1, recovered("/a"), &["stderr", "syslog"]);
        kept.hand_over(2, failed("/a"), &["stderr"]);
        kept.hand_over(2, failed("/b"), &["stderr", "syslog"]);
        let (kept, mut next) = kept.next(0);
        let doubt = next.doubt(&failed("/a"), true, true);
        assert_eq!(kept.versions(failed("/a"), doubt), ["none", "marked"]);
        let again = next.doubt(&failed("/a"), false, true);
        assert!(again.is_none(), "only the first");
        let other = next.doubt(&recovered("/b"), true, true);
        assert_eq!(kept.versions(recovered("/b"), other), ["new", "new"], "another change");
        // It was killed again, before syslog had it.
        let (kept, mut third) = kept.next(0);
        let doubt = third.doubt(&failed("/a"), true, true);
        assert_eq!(kept.versions(failed("/a"), doubt), ["none", "marked"]);
    }

    #[test]
    fn what_the_state_does_not_have_is_in_doubt_for_a_while() {
        let kept = Kept::new();
        kept.hand_over(5, slow("/a"), &["stderr"]);
        let text = kept.text();
        for (taken, is_new_daemon, expected) in
            [(4, true, ["none", "marked"]), (5, true, ["new", "new"]), (4, false, ["new", "new"])]
        {
            let mut next = HandedOver::new(&text, Duration::from_secs(taken));
            let doubt = next.doubt(&slow("/a"), false, is_new_daemon);
            assert_eq!(kept.versions(slow("/a"), doubt), expected, "{taken} {is_new_daemon}");
        }
    }

    #[test]
    fn without_records_each_output_gets_a_mark() {
        let mut next = HandedOver::default();
        let doubt = next.doubt(&failed("/a"), true, true);
        assert_eq!(Kept::new().versions(failed("/a"), doubt), ["marked", "marked"]);
    }

    #[test]
    fn oldest_record_makes_room_and_any_bytes_are_read() {
        let kept = Kept::new();
        for _ in 0..MAX_RECORDS {
            kept.hand_over(1, failed("/a"), &["stderr"]);
        }
        kept.records.set_event_number(7);
        kept.hand_over(2, failed("/b"), &["stderr"]);
        assert_eq!(kept.text().len(), MAX_BYTES);
        let (kept, mut next) = kept.next(0);
        assert_eq!((next.event_number, next.last.len()), (7, 2));
        let doubt = next.doubt(&failed("/b"), true, true);
        assert_eq!(kept.versions(failed("/b"), doubt), ["none", "marked"]);
        for length in 0..3 * SIZE {
            let _ = HandedOver::new(&[0xa5].repeat(length), Duration::ZERO);
        }
        assert_eq!(read(&[0xff; SIZE]).count(), 0);
    }
}
