//! Log lines that remind of dead mounts. Those of many mounts at the same time, which died with their server, have one
//! line. Each stays an event of its own.

use super::death_summary::DeadMounts;
use crate::monitor::Event;
use crate::render::{Message, Priority, dead_mounts_line};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More reminders than this within [`HELD_FOR`] have one line: those of a server with many mounts would fill a screen
/// again and again.
const MAX_LINES: usize = 5;
/// How long a line waits for others.
const HELD_FOR: Duration = Duration::from_secs(1);

/// Pure.
#[derive(Debug, Default)]
pub(super) struct ReminderLines {
    mounts: DeadMounts,
    /// The first lines.
    held: Vec<Arc<Message>>,
    /// The highest of all, which rules may have lowered for some.
    priority: Option<Priority>,
}

impl ReminderLines {
    /// Whether this line is written now. If not, it waits.
    pub(super) fn admit(&mut self, now: Instant, message: &Arc<Message>) -> bool {
        let Some(Event::StillFailing { mount, .. }) = &message.event else { return true };
        if !self.mounts.add(mount, now + HELD_FOR) {
            return true;
        }
        let priority = message.priority;
        self.priority = Some(self.priority.map_or(priority, |highest| highest.min(priority)));
        if self.held.len() < MAX_LINES {
            self.held.push(Arc::clone(message));
        }
        false
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.mounts.due()
    }

    /// What is written now instead of the lines that wait, if it is due or everything ends.
    pub(super) fn take_due(&mut self, now: Instant, is_ending: bool) -> Vec<Arc<Message>> {
        let Some((mounts, count)) = self.mounts.take_due(now, is_ending) else { return Vec::new() };
        let held = std::mem::take(&mut self.held);
        let priority = self.priority.take();
        match (&held[..], dead_mounts_line(&mounts, count, "are still failing")) {
            ([first, ..], Some(line)) if count > MAX_LINES => {
                let priority = priority.unwrap_or(first.priority);
                let text = format!("{line}; the first: {}", first.text);
                vec![Arc::new(Message { time: first.time, priority, text, event: None })]
            }
            _ => held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::messages;
    use crate::render::samples::{failure, mount};
    use std::time::SystemTime;

    fn reminder(number: usize) -> Arc<Message> {
        let mount = mount(&format!("/srv/{number}"), "nfs4", "nas1:/x", "rw", "rw");
        let event =
            Event::StillFailing { mount, failure: failure(Reason::Hung, None, 3.0), lasted: HELD_FOR * 180 };
        let (priority, text) = messages::line(&event);
        Arc::new(Message { time: SystemTime::UNIX_EPOCH, priority, text, event: Some(event) })
    }

    #[test]
    fn a_few_reminders_have_lines_of_their_own() {
        let (mut lines, now) = (ReminderLines::default(), Instant::now());
        let all: Vec<_> = (0..MAX_LINES).map(reminder).collect();
        assert!(all.iter().all(|message| !lines.admit(now, message)));
        assert_eq!(lines.next_deadline(), Some(now + HELD_FOR));
        assert!(lines.take_due(now, false).is_empty());
        assert_eq!(lines.take_due(now + HELD_FOR, false), all);
        assert_eq!(lines.next_deadline(), None);
        lines.admit(now, &all[0]);
        assert_eq!(lines.take_due(now, true), all[..1], "everything ends");
    }

    #[test]
    fn many_reminders_have_one_line_with_the_next_steps() {
        let (mut lines, now) = (ReminderLines::default(), Instant::now());
        for number in 0..12 {
            // A rule has lowered the priority of all but the last.
            let priority = if number < 11 { Priority::Info } else { Priority::Warning };
            let message = Message { priority, ..(*reminder(number)).clone() };
            assert!(!lines.admit(now, &Arc::new(message)));
        }
        let due = lines.take_due(now + HELD_FOR, false);
        let text = "12 mounts are still failing (server nas1: 12); next steps: mount_status_monitor diagnose /srv/0, \
                    and so for the others; the first: Mount still failing: /srv/0 (hung for 3m;";
        assert!(due.len() == 1 && due[0].text.starts_with(text), "{due:?}");
        assert_eq!((due[0].priority, lines.next_deadline()), (Priority::Warning, None));
    }
}
