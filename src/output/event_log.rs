//! The last events in a ring. A reader keeps the number of the last event that it got and reads the events after it. A
//! slow reader misses the oldest events and learns how many.

use super::lock;
use crate::render::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Room for the failures of a few thousand mounts that die together.
const MAX_EVENTS: usize = 4096;
/// Maximum memory of all events: paths can have 4,000 bytes.
const MAX_BYTES: usize = 4 << 20;

/// Numbers begin with 1 and have no gaps.
#[derive(Debug, Default)]
pub struct EventLog(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Message>>,
    bytes: usize,
    last: u64,
}

impl EventLog {
    pub fn add(&self, message: Arc<Message>) {
        let mut ring = lock(&self.0);
        ring.last += 1;
        ring.bytes += message.cost();
        ring.events.push_back(message);
        while ring.events.len() > MAX_EVENTS || (ring.bytes > MAX_BYTES && ring.events.len() > 1) {
            if let Some(oldest) = ring.events.pop_front() {
                ring.bytes -= oldest.cost();
            }
        }
    }

    /// The number of the newest event; 0 before the first.
    pub fn last(&self) -> u64 {
        lock(&self.0).last
    }

    /// Up to `limit` events after number `after`, oldest first, and how many were dropped before them.
    pub fn after(&self, after: u64, limit: usize) -> (Vec<(u64, Arc<Message>)>, u64) {
        let ring = lock(&self.0);
        let first = ring.last + 1 - ring.events.len() as u64;
        let next = after.saturating_add(1);
        let missed = first.saturating_sub(next).min(ring.last);
        let skip = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let numbered = (first..).zip(&ring.events).skip(skip).take(limit);
        (numbered.map(|(number, message)| (number, Arc::clone(message))).collect(), missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Priority;
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
}
