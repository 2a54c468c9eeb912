//! The last events in a ring. A reader keeps the number of the last event that it got and reads the events after it. A
//! slow reader misses the oldest events, the least important first, and learns how many. Vital events (deaths, recoveries
//! and the like) have lanes of their own: they are the history, which routine does not displace.

use super::lock;
use super::ranked_queue::Rank;
use crate::monitor::Event;
use crate::render::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Room for the failures of a few thousand mounts that die together.
const MAX_EVENTS: usize = 4096;
/// Maximum memory of all events: paths can have 4,000 bytes.
const MAX_BYTES: usize = 4 << 20;

/// Routine, mounts that are slow and no longer slow, and deaths, recoveries and the like; each of users' mounts and of
/// the system's.
const LANES: usize = 6;
/// The first lane of vital events.
const FIRST_VITAL: usize = 2;
/// Of both limits, each lane keeps at least 1/`SHARES[lane]`, if it has so many events. A mount that is slow now and then
/// is reported a thousand times a week: this must not displace a death.
const SHARES: [usize; LANES] = [10, 8, 10, 8, 6, 3];

/// Numbers begin with 1, or after those of an earlier daemon, and have no gaps.
#[derive(Debug, Default)]
pub struct EventLog(Mutex<Ring>);

pub type NumberedMessage = (u64, Arc<Message>);

#[derive(Debug, Default)]
struct Ring {
    lanes: [Lane; LANES],
    last: u64,
    /// The last event of an earlier daemon.
    last_restored: u64,
}

/// Events of the same importance.
#[derive(Debug, Default)]
struct Lane {
    events: VecDeque<NumberedMessage>,
    bytes: usize,
}

impl EventLog {
    pub fn add(&self, message: Arc<Message>) {
        let mut ring = lock(&self.0);
        ring.last += 1;
        let number = ring.last;
        ring.push((number, message));
    }

    /// Continues with the events of an earlier daemon, the oldest first, and after its last number.
    pub fn restore(&self, events: Vec<NumberedMessage>, last: u64) {
        let mut ring = lock(&self.0);
        events.into_iter().for_each(|event| ring.push(event));
        (ring.last, ring.last_restored) = (last, last);
    }

    /// The number after which the events of this daemon come.
    pub fn last_restored(&self) -> u64 {
        lock(&self.0).last_restored
    }

    /// The number of the newest event; 0 before the first.
    pub fn last(&self) -> u64 {
        lock(&self.0).last
    }

    /// Up to `limit` events after number `after`, oldest first, and how many were dropped before and between them.
    pub fn after(&self, after: u64, limit: usize) -> (Vec<NumberedMessage>, u64) {
        let found = oldest(&lock(&self.0).lanes, after, limit);
        let seen = found.last().map_or(after, |(number, _)| *number);
        let missed = seen - after - found.len() as u64;
        (found, missed)
    }

    /// The numbers of the last `count` vital events, newest first. Events about users' mounts are at most three quarters
    /// of them, if there are enough others.
    pub fn last_vital(&self, count: usize) -> Vec<u64> {
        let ring = lock(&self.0);
        let of = |is_of_system: usize| ring.lanes.iter().skip(FIRST_VITAL + is_of_system).step_by(2);
        let mut of_system = newest(of(1), count);
        let of_users = newest(of(0), count - of_system.len().min(count / 4));
        of_system.truncate(count - of_users.len());
        let mut numbers: Vec<u64> = of_system.iter().chain(&of_users).map(|(number, _)| *number).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers
    }

    /// The vital events with these numbers that are still kept, in the same order.
    pub fn vital(&self, numbers: &[u64]) -> Vec<NumberedMessage> {
        let ring = lock(&self.0);
        let find = |number: &u64| {
            ring.lanes[FIRST_VITAL..].iter().find_map(|lane| {
                let index = lane.events.binary_search_by_key(number, |(number, _)| *number).ok()?;
                lane.events.get(index).cloned()
            })
        };
        numbers.iter().filter_map(find).collect()
    }

    /// The number after which the events from this time on come.
    pub fn before_time(&self, time: SystemTime) -> u64 {
        let ring = lock(&self.0);
        let is_later = |(_, message): &&NumberedMessage| message.time >= time;
        let first = ring.lanes.iter().filter_map(|lane| lane.events.iter().find(is_later));
        first.map(|(number, _)| number - 1).min().unwrap_or(ring.last)
    }

    /// The newest events that are not vital, newest first.
    pub fn newest_others(&self, limit: usize) -> Vec<NumberedMessage> {
        newest(lock(&self.0).lanes[..FIRST_VITAL].iter(), limit)
    }
}

/// Reminders repeat what a death has said.
fn lane_of(message: &Message) -> usize {
    let rank = Rank::of_message(message);
    let kind = match &message.event {
        Some(Event::StillFailing { .. }) => 0,
        Some(Event::Slow { .. } | Event::Recovered { was: "slow", .. }) => 1,
        _ if rank.is_vital() => 2,
        _ => 0,
    };
    2 * kind + usize::from(rank.is_of_system())
}

fn oldest(lanes: &[Lane], after: u64, limit: usize) -> Vec<NumberedMessage> {
    let rests = lanes.iter().map(|lane| {
        let skip = lane.events.partition_point(|(number, _)| *number <= after);
        lane.events.range(skip..)
    });
    merged(rests, |number| number, limit)
}

fn newest<'a>(lanes: impl Iterator<Item = &'a Lane>, limit: usize) -> Vec<NumberedMessage> {
    merged(lanes.map(|lane| lane.events.iter().rev()), |number| u64::MAX - number, limit)
}

/// The first events of lanes that are sorted by `key`.
fn merged<'a>(
    lanes: impl Iterator<Item: Iterator<Item = &'a NumberedMessage>>,
    key: impl Fn(u64) -> u64,
    limit: usize,
) -> Vec<NumberedMessage> {
    let mut lanes: Vec<_> = lanes.map(Iterator::peekable).collect();
    let mut found = Vec::new();
    while found.len() < limit {
        let first = |lane: &mut std::iter::Peekable<_>| -> Option<u64> {
            lane.peek().map(|(number, _): &&NumberedMessage| key(*number))
        };
        let next = lanes.iter_mut().filter_map(|lane| Some((first(lane)?, lane))).min_by_key(|(key, _)| *key);
        let Some(event) = next.and_then(|(_, lane)| lane.next()) else { break };
        found.push(event.clone());
    }
    found
}

impl Ring {
    fn push(&mut self, (number, message): NumberedMessage) {
        let lane = &mut self.lanes[lane_of(&message)];
        lane.bytes += message.cost();
        lane.events.push_back((number, message));
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.lanes.iter().map(|lane| lane.events.len()).sum::<usize>() > MAX_EVENTS
            || self.lanes.iter().map(|lane| lane.bytes).sum::<usize>() > MAX_BYTES
        {
            let is_over = |(lane, share): &(&mut Lane, usize)| {
                let too_many = lane.events.len() > MAX_EVENTS / share;
                (too_many || lane.bytes > MAX_BYTES / share) && lane.events.len() > 1
            };
            let Some((lane, _)) = self.lanes.iter_mut().zip(SHARES).find(is_over) else { return };
            if let Some((_, oldest)) = lane.events.pop_front() {
                lane.bytes -= oldest.cost();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Health, Reason};
    use crate::render::{Priority, messages, samples};
    use std::time::Duration;

    fn message(text: &str) -> Arc<Message> {
        let time = SystemTime::UNIX_EPOCH;
        Arc::new(Message { time, priority: Priority::Notice, text: text.to_owned(), event: None })
    }

    fn numbers(log: &EventLog, after: u64) -> (Vec<u64>, u64) {
        let (found, missed) = log.after(after, usize::MAX);
        (found.iter().map(|(number, _)| *number).collect(), missed)
    }

    #[test]
    fn reader_gets_events_after_its_number() {
        let log = EventLog::default();
        assert_eq!(numbers(&log, 0), (vec![], 0));
        for text in ["a", "b", "c"] {
            log.add(message(text));
        }
        assert_eq!(numbers(&log, 0), (vec![1, 2, 3], 0));
        assert_eq!(numbers(&log, 2), (vec![3], 0));
        assert_eq!(numbers(&log, 3), (vec![], 0));
        assert_eq!(numbers(&log, 99), (vec![], 0));
        assert_eq!(log.after(0, 1).0[0].1.text, "a");
    }

    #[test]
    fn slow_reader_learns_how_many_events_it_missed() {
        let log = EventLog::default();
        (0..MAX_EVENTS + 10).for_each(|_| log.add(message("x")));
        let (found, missed) = numbers(&log, 3);
        assert_eq!((found.len(), found[0], missed), (MAX_EVENTS, 11, 7));
    }

    #[test]
    fn long_messages_are_bounded_by_their_bytes() {
        let log = EventLog::default();
        (0..200).for_each(|_| log.add(message(&"x".repeat(100_000))));
        let (found, _) = numbers(&log, 0);
        assert!(found.len() * 100_000 <= MAX_BYTES && found.last() == Some(&200));
    }

    fn of_event(event: Event) -> Arc<Message> {
        let (time, (priority, text)) = (SystemTime::UNIX_EPOCH, messages::line(&event));
        Arc::new(Message { time, priority, text, event: Some(event) })
    }

    #[test]
    fn churn_does_not_displace_a_death() {
        let log = EventLog::default();
        let failure = || samples::failure(Reason::Hung, None, 3.0);
        let mount = || samples::mount("/a", "nfs4", "host:/a", "rw", "rw");
        let lasted = Duration::from_secs(60);
        log.add(message("first"));
        log.add(of_event(Event::Failed { mount: mount(), failure: failure() }));
        log.add(of_event(Event::Unmounted {
            mount: mount(),
            health: Health::Dead(failure().into()),
            lasted,
        }));
        for _ in 0..3 * MAX_EVENTS {
            log.add(of_event(Event::Mounted { mount: mount() }));
            log.add(of_event(Event::Unmounted { mount: mount(), health: Health::Ok, lasted }));
            log.add(of_event(Event::StillFailing { mount: mount(), failure: failure(), lasted }));
            log.add(of_event(Event::Slow { mount: mount(), took: lasted, slow_after: lasted }));
            log.add(of_event(Event::Recovered { mount: mount(), lasted, took: lasted, was: "slow" }));
        }
        let (found, missed) = log.after(0, 3);
        assert_eq!([found[0].0, found[1].0], [2, 3]);
        assert_eq!(missed, found[2].0 - 3, "before and between them");
        assert!(found[0].1.text.starts_with("Mount failed health-check: "), "{}", found[0].1.text);
        let kept = log.vital(&[3, 2, 1]);
        assert_eq!(kept, [found[1].clone(), found[0].clone()]);
        assert!(log.after(0, usize::MAX).0.len() <= MAX_EVENTS);
    }

    #[test]
    fn history_has_no_routine_and_no_reminders() {
        let log = EventLog::default();
        let mount = || samples::mount("/a", "nfs4", "host:/a", "rw", "rw");
        let failure = || samples::failure(Reason::Hung, None, 3.0);
        let lasted = Duration::from_secs(60);
        for event in [
            Event::Mounted { mount: mount() },
            Event::Failed { mount: mount(), failure: failure() },
            Event::StillFailing { mount: mount(), failure: failure(), lasted },
            Event::Recovered { mount: mount(), lasted, took: lasted, was: "hung" },
            Event::Slow { mount: mount(), took: lasted, slow_after: lasted },
            Event::Run { mounts: 1, dead: 0, unjudged: 0, took: lasted },
        ] {
            log.add(of_event(event));
        }
        let numbers = |events: &[NumberedMessage]| events.iter().map(|(n, _)| *n).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 9].map(|count| log.last_vital(count)), [&[][..], &[5], &[5, 4], &[5, 4, 2]]);
        assert_eq!(numbers(&log.vital(&[4, 99, 1, 2])), [4, 2]);
        assert_eq!(numbers(&log.newest_others(2)), [6, 3]);
    }

    #[test]
    fn users_do_not_fill_the_history() {
        let log = EventLog::default();
        let failed = |options: &str| {
            let mount = samples::mount("/a", "fuse.sshfs", "host:/a", "rw", options);
            of_event(Event::Failed { mount, failure: samples::failure(Reason::Hung, None, 3.0) })
        };
        (0..10).for_each(|_| log.add(failed("rw")));
        assert_eq!(log.last_vital(2), [10, 9]);
        (0..1000).for_each(|_| log.add(failed("rw,user_id=123456,group_id=1")));
        assert_eq!(log.last_vital(8), [1010, 1009, 1008, 1007, 1006, 1005, 10, 9]);
        assert_eq!(log.last_vital(100)[89..], [921, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn events_are_found_by_their_time() {
        let log = EventLog::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(log.before_time(at(0)), 0);
        for (seconds, priority) in [(10, Priority::Notice), (20, Priority::Error), (30, Priority::Notice)] {
            log.add(Arc::new(Message { time: at(seconds), priority, ..(*message("x")).clone() }));
        }
        assert_eq!([0, 10, 11, 20, 30, 31].map(|seconds| log.before_time(at(seconds))), [0, 0, 1, 1, 2, 3]);
    }
}
