//! The text of the file: one JSON object. It is read strictly; what is not exactly as this version writes it is not used.

use super::events::SavedEvent;
use crate::monitor::{SavedStatus, Time};
use crate::output::NumberedMessage;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of the file; another version of the program does not read it.
const VERSION: u32 = 1;
/// Maximum size of the file: ten thousand mounts with ordinary paths take half of it. With longer paths fewer are kept.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// The circumstances in which a saved state has a meaning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Context {
    /// The run of the machine.
    pub(super) boot: String,
    /// The watched mount namespace; `None` for our own.
    pub(super) namespace: Option<u64>,
    /// The start of the daemon, by the clock that all daemons of this run share.
    pub(super) start: Duration,
}

/// What an earlier daemon has left, in the times of this one.
#[derive(PartialEq, Debug)]
pub struct Restored {
    pub status: SavedStatus,
    /// The last deaths and recoveries, the oldest first.
    pub(crate) events: Vec<NumberedMessage>,
    /// The number of its last event.
    pub(crate) last_event: u64,
    /// When the status was taken, since 1970.
    pub(super) taken: Duration,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    boot: String,
    namespace: Option<u64>,
    start: Duration,
    last_event: u64,
    taken: Duration,
    status: SavedStatus,
    events: Vec<SavedEvent>,
}

/// What is written, in the times of this daemon.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Content {
    pub(super) status: SavedStatus,
    pub(super) events: Vec<SavedEvent>,
    pub(super) last_event: u64,
    pub(super) taken: Duration,
}

pub(super) fn encode(context: &Context, content: Content) -> Vec<u8> {
    let Context { boot, namespace, start } = context.clone();
    let Content { status, events, last_event, taken } = content;
    let version = VERSION;
    let mut document = Document { version, boot, namespace, start, last_event, taken, status, events };
    loop {
        let text = serde_json::to_vec(&document).expect("names and numbers are valid JSON");
        if text.len() <= MAX_BYTES {
            return text;
        }
        if !document.status.halve() {
            document.events.clear();
        }
    }
}

/// The state for a daemon in these circumstances, at this time since its start, or why there is none.
pub(super) fn decode(text: &[u8], context: &Context, now: Duration) -> Result<Restored, String> {
    let damaged = |error: serde_json::Error| format!("it is damaged ({error})");
    let Version { version } = serde_json::from_slice(text).map_err(damaged)?;
    if version != VERSION {
        return Err("another version of the program has written it".to_owned());
    }
    let saved: Document = serde_json::from_slice(text).map_err(damaged)?;
    if saved.boot != context.boot {
        return Err("it is from before the last start of the machine".to_owned());
    }
    if saved.namespace != context.namespace {
        return Err("it is of another mount namespace".to_owned());
    }
    let nanos =
        |time: Duration| i64::try_from(time.as_nanos()).map_err(|_| "it is damaged (start)".to_owned());
    let status = saved.status.shifted(nanos(saved.start)?.saturating_sub(nanos(context.start)?));
    if status.is_later_than(Time::after_start(now)) {
        return Err("its times are in the future".to_owned());
    }
    let events = saved.events.iter().map(SavedEvent::to_message).collect::<Option<Vec<_>>>();
    Ok(Restored {
        status,
        events: events
            .filter(|events| is_ordered(events, saved.last_event))
            .ok_or("it is damaged (events)")?,
        last_event: saved.last_event,
        taken: saved.taken,
    })
}

/// Events have growing numbers, up to the last one.
fn is_ordered(events: &[NumberedMessage], last: u64) -> bool {
    events.is_sorted_by(|(a, _), (b, _)| a < b)
        && events.iter().all(|(number, _)| (1..=last).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Event, Health, Reason};
    use crate::output::EventLog;
    use crate::output::saved_state::events::last_events;
    use crate::render::{Message, messages, samples};
    use platform::Errno;
    use std::os::unix::ffi::OsStringExt as _;
    use std::sync::Arc;
    use std::time::SystemTime;

    fn context(start: u64) -> Context {
        Context { boot: "boot".to_owned(), namespace: None, start: Duration::from_secs(start) }
    }

    /// Mounts in each health that is kept, and events about one of them.
    fn content() -> Content {
        let dead = || Health::Dead(samples::failure(Reason::Stale, Some(Errno::ESTALE), 0.0).into());
        let blocked = || Health::Dead(samples::failure(Reason::Hung, None, 3.0).into());
        let name = std::ffi::OsString::from_vec(b"/srv/\xff".to_vec());
        let odd = platform::Mount { mountpoint: name.into(), ..(*samples::sshfs()).clone() };
        let healths = [dead(), blocked(), Health::Slow, Health::Denied(Errno::EACCES), Health::Ok];
        let mut mounts: Vec<_> = (1..)
            .zip(healths)
            .map(|(key, health)| {
                let mount = platform::Mount { key: platform::MountKey(key), ..odd.clone() };
                samples::status_of(Arc::new(mount), health)
            })
            .collect();
        mounts[4].health = Health::Unknown { was: "slow" };
        let mut status = SavedStatus::of(&samples::status(mounts));
        let (mount, took) = (Arc::new(odd), Duration::from_millis(3));
        let failure = samples::failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        let events = [
            Event::Failed { mount: Arc::clone(&mount), failure },
            Event::Recovered { mount: Arc::clone(&mount), lasted: took * 9, took, was: "failed" },
            Event::Unmounted { mount, health: dead(), lasted: took },
        ];
        status.doubt(events.iter().map(|event| (Time::default(), event)));
        let log = EventLog::default();
        for event in events {
            let (priority, text) = messages::line(&event);
            let time = SystemTime::UNIX_EPOCH + took;
            log.add(Arc::new(Message { time, priority, text, event: Some(event) }));
        }
        let events = last_events(&log);
        assert_eq!(events.len(), 3);
        Content { status, events, last_event: 7, taken: Duration::from_secs(8) }
    }

    #[test]
    fn next_daemon_reads_what_was_written() {
        let content = content();
        let text = encode(&context(100), content.clone());
        let now = Duration::from_secs(11);
        let read = decode(&text, &context(100), now).unwrap();
        assert_eq!((&read.status, read.last_event, read.taken.as_secs()), (&content.status, 7, 8));
        assert_eq!(read.content(), content);
        assert_eq!(read.status.doubts().count(), 1);
        // A minute later, the same moments are before the start.
        let later = decode(&text, &context(160), Duration::ZERO).unwrap();
        assert_eq!(later.status, content.status.shifted(-60_000_000_000));
        assert_eq!(decode(&encode(&context(160), later.content()), &context(160), now).unwrap(), later);
    }

    #[test]
    fn what_is_foreign_or_damaged_is_refused() {
        let text = String::from_utf8(encode(&context(100), content())).unwrap();
        let now = Duration::from_secs(11);
        let why = |text: &str, context: &Context| decode(text.as_bytes(), context, now).unwrap_err();
        assert_eq!(
            why(&text.replace(":1,", ":2,"), &context(100)),
            "another version of the program has written it"
        );
        assert_eq!(
            why(&text, &Context { boot: "other".to_owned(), ..context(100) }),
            "it is from before the last start of the machine"
        );
        assert_eq!(
            why(&text, &Context { namespace: Some(1), ..context(100) }),
            "it is of another mount namespace"
        );
        assert_eq!(why(&text, &context(10)), "its times are in the future");
        for damaged in [
            text.replace("\"last_event\":7", "\"last_event\":2"),
            text.replace("\"number\":2", "\"number\":1"),
            text.replace("\"last_event\"", "\"more\":1,\"last_event\""),
            text.replace("\"was\":\"failed\"", "\"was\":\"x\""),
        ] {
            let why = why(&damaged, &context(100));
            assert!(why.starts_with("it is damaged"), "{why}");
        }
        for length in 0..text.len() {
            assert!(decode(&text.as_bytes()[..length], &context(100), now).is_err(), "{length}");
        }
    }

    #[test]
    fn long_paths_leave_room_for_fewer_mounts() {
        let path = format!("/{}", "x".repeat(4000));
        let dead = || Health::Dead(samples::failure(Reason::Hung, None, 3.0).into());
        let mounts = (0..4000).map(|key| {
            let mount = samples::mount(&path, "nfs4", "nas:/x", "rw", "rw");
            let mount = platform::Mount { key: platform::MountKey(key), ..(*mount).clone() };
            samples::status_of(Arc::new(mount), dead())
        });
        let status = SavedStatus::of(&samples::status(mounts.collect()));
        let text = encode(&context(1), Content { status, ..Content::default() });
        assert!(text.len() <= MAX_BYTES && text.len() > MAX_BYTES / 4, "{}", text.len());
        let read = decode(&text, &context(1), Duration::from_secs(11)).unwrap();
        assert_eq!(read.status.problems().0, 1000);
    }
}
