//! The last events in a ring. A reader keeps the number of the last event that it got and reads the events after it. A
//! slow reader misses the oldest events, the least important first, and learns how many.

use super::lock;
use super::ranked_queue::{RANKS, Rank};
use crate::render::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Room for the failures of a few thousand mounts that die together.
const MAX_EVENTS: usize = 4096;
/// Maximum memory of all events: paths can have 4,000 bytes.
const MAX_BYTES: usize = 4 << 20;
/// Of both, each rank keeps at least 1/`SHARES[rank]`, if it has so many events.
const SHARES: [usize; RANKS] = [8, 4, 4, 3];

/// Numbers begin with 1 and have no gaps.
#[derive(Debug, Default)]
pub struct EventLog(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    lanes: [Lane; RANKS],
    last: u64,
}

/// The events of one rank.
#[derive(Debug, Default)]
struct Lane {
    events: VecDeque<(u64, Arc<Message>)>,
    bytes: usize,
}

impl EventLog {
    pub fn add(&self, message: Arc<Message>) {
        let mut ring = lock(&self.0);
        ring.last += 1;
        let number = ring.last;
        let lane = &mut ring.lanes[Rank::of_message(&message) as usize];
        lane.bytes += message.cost();
        lane.events.push_back((number, message));
        ring.shrink();
    }

    /// The number of the newest event; 0 before the first.
    pub fn last(&self) -> u64 {
        lock(&self.0).last
    }

    /// Up to `limit` events after number `after`, oldest first, and how many were dropped before and between them.
    pub fn after(&self, after: u64, limit: usize) -> (Vec<(u64, Arc<Message>)>, u64) {
        let ring = lock(&self.0);
        let mut rests = ring.lanes.each_ref().map(|lane| {
            let skip = lane.events.partition_point(|(number, _)| *number <= after);
            lane.events.range(skip..).peekable()
        });
        let mut found = Vec::new();
        while found.len() < limit {
            let first = |rest: &mut std::iter::Peekable<_>| -> Option<u64> {
                rest.peek().map(|(number, _): &&(u64, Arc<Message>)| *number)
            };
            let next = rests.iter_mut().filter_map(|rest| Some((first(rest)?, rest))).min_by_key(|(n, _)| *n);
            let Some((number, message)) = next.and_then(|(_, rest)| rest.next()) else { break };
            found.push((*number, Arc::clone(message)));
        }
        let seen = found.last().map_or(after, |(number, _)| *number);
        let missed = seen - after - found.len() as u64;
        (found, missed)
    }
}

impl Ring {
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
    use crate::monitor::{Event, Reason};
    use crate::render::{Priority, samples};
    use std::time::SystemTime;

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

    #[test]
    fn churn_does_not_displace_a_death() {
        let log = EventLog::default();
        let event = Some(Event::Failed {
            mount: samples::mount("/a", "nfs4", "host:/a", "rw", "rw"),
            failure: samples::failure(Reason::Hung, None, 3.0),
        });
        let died = Message { event, ..(*message("died")).clone() };
        log.add(message("first"));
        log.add(Arc::new(died));
        (0..3 * MAX_EVENTS).for_each(|_| log.add(message("x")));
        let (found, missed) = log.after(0, 2);
        assert_eq!(
            found.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            [2, 2 * MAX_EVENTS as u64 + 4]
        );
        assert_eq!(found[0].1.text, "died");
        assert_eq!(missed, 2 * MAX_EVENTS as u64 + 2, "before and between them");
    }
}
