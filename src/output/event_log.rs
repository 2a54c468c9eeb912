//! The last events, in a ring: whoever follows them keeps a number and asks for what came after it. One who is too
//! slow misses the oldest and is told how many.

use crate::render::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Events kept: a machine with some thousand mounts that all die is still told whole.
const MAX_EVENTS: usize = 4096;
/// Bytes kept: paths can have 4,000 of them.
const MAX_BYTES: usize = 4 << 20;

/// An event and its number; numbers begin with 1 and have no gaps.
#[derive(Clone, Debug)]
pub struct SequencedEvent {
    /// Its number.
    pub number: u64,
    /// What happened.
    pub message: Arc<Message>,
}

/// How many events were no longer there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Missed(pub u64);

/// The ring.
#[derive(Debug, Default)]
pub struct EventLog(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Arc<Message>>,
    bytes: usize,
    /// The number of the last one.
    last: u64,
}

impl EventLog {
    /// Adds an event; the oldest goes when there are too many.
    pub fn add(&self, message: Arc<Message>) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        ring.bytes += message.cost();
        ring.kept.push_back(message);
        while ring.kept.len() > MAX_EVENTS || (ring.bytes > MAX_BYTES && ring.kept.len() > 1) {
            if let Some(oldest) = ring.kept.pop_front() {
                ring.bytes -= oldest.cost();
            }
        }
    }

    /// The number of the last event; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// At most `most` of the events after number `after`, oldest first, and how many of them are gone.
    #[must_use]
    pub fn after(&self, after: u64, most: usize) -> (Vec<SequencedEvent>, Missed) {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.last + 1 - ring.kept.len() as u64;
        let missed = first.saturating_sub(after.saturating_add(1)).min(ring.last);
        let skip = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let found = ring.kept.iter().enumerate().skip(skip).take(most);
        let numbered = |(place, message): (usize, &Arc<Message>)| SequencedEvent {
            number: first + place as u64,
            message: Arc::clone(message),
        };
        (found.map(numbered).collect(), Missed(missed))
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
        (found.iter().map(|event| event.number).collect(), missed.0)
    }

    #[test]
    fn a_follower_gets_what_came_after() {
        let log = EventLog::default();
        assert_eq!(numbers(&log, 0), (vec![], 0));
        for text in ["a", "b", "c"] {
            log.add(message(text));
        }
        assert_eq!(numbers(&log, 0), (vec![1, 2, 3], 0));
        assert_eq!(numbers(&log, 2), (vec![3], 0));
        assert_eq!(numbers(&log, 3), (vec![], 0));
        assert_eq!(numbers(&log, 99), (vec![], 0));
        assert_eq!(log.after(0, 1).0[0].message.text, "a");
    }

    #[test]
    fn a_slow_follower_is_told_what_it_missed() {
        let log = EventLog::default();
        for _ in 0..MAX_EVENTS + 10 {
            log.add(message("x"));
        }
        let (found, missed) = numbers(&log, 3);
        assert_eq!((found.len(), found[0], missed), (MAX_EVENTS, 11, 7));
    }

    #[test]
    fn its_bytes_are_bounded() {
        let log = EventLog::default();
        let long = "x".repeat(100_000);
        for _ in 0..200 {
            log.add(message(&long));
        }
        let (found, _) = numbers(&log, 0);
        assert!(found.len() * 100_000 <= MAX_BYTES && found.last() == Some(&200));
    }
}
