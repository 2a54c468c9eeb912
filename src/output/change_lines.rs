//! Log lines of mounts that appear, disappear or move. One at a time each has a line, at once; many together, or for
//! hours, have a line with their number. Each stays an event of its own.

use super::token_bucket::TokenBucket;
use crate::monitor::Event;
use crate::render::{Message, Priority};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More changes than this within [`HELD_FOR`] have one line, as those of a pod with many volumes.
const MAX_LINES: usize = 20;
/// How long a line waits for others.
const HELD_FOR: Duration = Duration::from_secs(1);
/// The first changes of a burst do not wait: a person who mounts by hand sees each at once.
const AT_ONCE: f64 = 5.0;
const AT_ONCE_PER_SECOND: f64 = 50.0;
/// In the long run less than one line a minute: machines on which mounts come and go all day must not fill their log.
/// An hour of such lines is what a person may still read.
const LONG_RUN: f64 = 500.0;
const LONG_RUN_PER_SECOND: f64 = 1.0 / 70.0;

/// Decides when the lines of such changes are written. Pure.
#[derive(Debug)]
pub(super) struct ChangeLines {
    at_once: TokenBucket,
    long_run: TokenBucket,
    /// The first of those that wait.
    held: Vec<Arc<Message>>,
    counts: Counts,
    last: Option<Arc<Message>>,
    held_since: Option<Instant>,
}

/// A kind of change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Appeared,
    Disappeared,
    Moved,
}

#[derive(Default, Debug)]
struct Counts([usize; 3]);

impl Default for ChangeLines {
    fn default() -> ChangeLines {
        ChangeLines {
            at_once: TokenBucket::new(AT_ONCE, AT_ONCE_PER_SECOND),
            long_run: TokenBucket::new(LONG_RUN, LONG_RUN_PER_SECOND),
            held: Vec::new(),
            counts: Counts::default(),
            last: None,
            held_since: None,
        }
    }
}

impl ChangeLines {
    /// Whether these lines are limited: changes that are routine.
    pub(super) fn are_for(message: &Message) -> bool {
        message.priority == Priority::Info
            && message.event.as_ref().is_some_and(|event| kind(event).is_some())
    }

    /// Whether this line is written now. If not, it waits.
    pub(super) fn admit(&mut self, now: Instant, message: &Arc<Message>) -> bool {
        let Some(kind) = message.event.as_ref().and_then(kind) else { return true };
        if self.held_since.is_none() && self.at_once.take(now, 1.0, 0.0) && self.long_run.take(now, 1.0, 0.0)
        {
            return true;
        }
        self.held_since.get_or_insert(now);
        self.counts.0[kind as usize] += 1;
        if self.held.len() < MAX_LINES {
            self.held.push(Arc::clone(message));
        }
        self.last = Some(Arc::clone(message));
        false
    }

    /// Whether one more line of routine may be written in the long run.
    pub(super) fn take_line(&mut self, now: Instant) -> bool {
        self.long_run.take(now, 1.0, 0.0)
    }

    /// When the lines that wait are due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = self.held_since? + HELD_FOR;
        Some(self.long_run.next_token().map_or(due, |at| at.max(due)))
    }

    /// What is written now instead of the lines that wait, if it is due or everything ends.
    pub(super) fn take_due(&mut self, now: Instant, is_ending: bool) -> Vec<Arc<Message>> {
        let Some(since) = self.held_since else { return Vec::new() };
        if !is_ending && self.next_deadline().is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.held_since = None;
        let (held, last) = (std::mem::take(&mut self.held), self.last.take());
        let counts = std::mem::take(&mut self.counts);
        let is_each_written = counts.total() + AT_ONCE as usize <= MAX_LINES
            && self.long_run.take(now, counts.total() as f64, 0.0);
        if is_each_written || counts.total() == 1 {
            return held;
        }
        self.long_run.take(now, 1.0, 0.0);
        last.map(|last| Arc::new(summary(&counts, now - since, &last))).into_iter().collect()
    }
}

fn kind(event: &Event) -> Option<Kind> {
    match event {
        Event::Mounted { .. } => Some(Kind::Appeared),
        Event::Unmounted { .. } => Some(Kind::Disappeared),
        Event::Moved { .. } => Some(Kind::Moved),
        _ => None,
    }
}

/// `Mounts changed: 35 appeared, 2 disappeared within 1s; the last: Mount appeared: …`
fn summary(counts: &Counts, within: Duration, last: &Message) -> Message {
    let seconds = within.as_secs().max(1);
    let text = format!("Mounts changed: {counts} within {seconds}s; the last: {}", last.text);
    Message { time: last.time, priority: Priority::Info, text, event: None }
}

impl Counts {
    fn total(&self) -> usize {
        self.0.iter().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.iter().zip(["appeared", "disappeared", "moved"]).filter(|(count, _)| **count > 0);
        for (place, (count, word)) in words.enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{count} {word}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Health;
    use crate::monitor::testing::mount;
    use crate::render::messages;
    use std::time::SystemTime;

    fn message(event: Event) -> Arc<Message> {
        let (priority, text) = messages::line(&event);
        Arc::new(Message { time: SystemTime::UNIX_EPOCH, priority, text, event: Some(event) })
    }

    fn appeared(number: u64) -> Arc<Message> {
        message(Event::Mounted { mount: Arc::new(mount(number, &format!("/m{number}"))) })
    }

    fn disappeared(number: u64) -> Arc<Message> {
        let mount = Arc::new(mount(number, &format!("/m{number}")));
        message(Event::Unmounted { mount, health: Health::Ok, lasted: Duration::ZERO })
    }

    fn texts(messages: &[Arc<Message>]) -> Vec<&str> {
        messages.iter().map(|message| message.text.as_str()).collect()
    }

    #[test]
    fn one_change_at_a_time_is_written_at_once() {
        let (mut lines, mut now) = (ChangeLines::default(), Instant::now());
        for number in 1..=400 {
            assert!(lines.admit(now, &appeared(number)), "{number}");
            assert_eq!(lines.next_deadline(), None);
            now += Duration::from_millis(25);
        }
    }

    #[test]
    fn a_few_together_are_all_written_within_a_second() {
        let (mut lines, now) = (ChangeLines::default(), Instant::now());
        let at_once = (1..=20).filter(|number| lines.admit(now, &appeared(*number))).count();
        assert_eq!(at_once, 5);
        assert!(lines.take_due(now + Duration::from_millis(900), false).is_empty());
        let due = lines.next_deadline().unwrap();
        assert!(due <= now + Duration::from_millis(1100));
        assert_eq!(lines.take_due(due, false), (6..=20).map(appeared).collect::<Vec<_>>());
        assert_eq!(lines.next_deadline(), None);
        assert!(lines.admit(due, &appeared(21)), "the next is written at once again");
    }

    #[test]
    fn the_rest_of_a_burst_is_one_line() {
        let (mut lines, now) = (ChangeLines::default(), Instant::now());
        for number in 1..=40 {
            lines.admit(now, &appeared(number));
        }
        lines.admit(now, &disappeared(7));
        let due = lines.take_due(now + Duration::from_secs(2), false);
        let text =
            "Mounts changed: 35 appeared, 1 disappeared within 2s; the last: Mount disappeared: /m7 (tmpfs";
        assert!(due.len() == 1 && due[0].text.starts_with(text), "{:?}", texts(&due));
        assert_eq!(due[0].priority, Priority::Info);
    }

    #[test]
    fn what_waits_at_the_end_is_written() {
        let (mut lines, now) = (ChangeLines::default(), Instant::now());
        for number in 1..=7 {
            lines.admit(now, &appeared(number));
        }
        assert_eq!(lines.take_due(now, true), [appeared(6), appeared(7)]);
    }

    #[test]
    fn memory_is_bounded_in_a_storm() {
        let (mut lines, now) = (ChangeLines::default(), Instant::now());
        for number in 1..=100_000 {
            lines.admit(now, &appeared(number));
        }
        assert!(lines.held.len() == MAX_LINES);
        assert!(lines.take_due(now, true)[0].text.contains(": 99995 appeared within 1s"));
    }

    #[test]
    fn a_week_of_pods_has_less_than_a_line_a_minute() {
        let (mut lines, mut now) = (ChangeLines::default(), Instant::now());
        let (mut written, mut waited) = (0, Duration::ZERO);
        const MINUTES: u64 = 7 * 24 * 60;
        for minute in 0..MINUTES {
            // 300 mounts appear in an hour, and 300 disappear.
            for change in 0..10 {
                let number = minute * 10 + change;
                let message = if change % 2 == 0 { appeared(number) } else { disappeared(number) };
                written += u64::from(lines.admit(now, &message));
                for _ in 0..6 {
                    now += Duration::from_secs(1);
                    let since = lines.held_since;
                    let due = lines.take_due(now, false).len() as u64;
                    if due > 0 {
                        waited = waited.max(now - since.unwrap());
                    }
                    written += due;
                }
            }
        }
        assert!(written < MINUTES, "{written}");
        assert!(waited < Duration::from_secs(75), "{waited:?}");
    }

    #[test]
    fn the_end_of_a_dead_mount_is_not_routine() {
        let failure = crate::render::samples::failure(crate::monitor::Reason::Hung, None, 3.0);
        let (mount, lasted) = (Arc::new(mount(1, "/m")), Duration::from_secs(60));
        let health = Health::Dead(Box::new(failure));
        assert!(!ChangeLines::are_for(&message(Event::Unmounted { mount, health, lasted })));
        assert!(ChangeLines::are_for(&disappeared(1)));
    }
}
