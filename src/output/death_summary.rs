//! A line after mounts have died: how many, of which servers, and the command that says what to do. A person
//! who reads the log during an incident may not know it.

use crate::monitor::Event;
use crate::render::{dead_mounts_line, next_steps_line};
use platform::Mount;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The mounts of a server die within about this time.
const COLLECTED_FOR: Duration = Duration::from_secs(1);
/// One that fails again and again has no line each time.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of mounts that are kept; the others are counted.
const MAX_MOUNTS: usize = 1000;

/// Pure.
#[derive(Debug, Default)]
pub(super) struct DeathSummary {
    mounts: DeadMounts,
    last: Option<Instant>,
}

/// Mounts of the system that have one line.
#[derive(Debug, Default)]
pub(super) struct DeadMounts {
    mounts: Vec<Arc<Mount>>,
    /// Of all, kept or not.
    count: usize,
    due: Option<Instant>,
}

impl DeathSummary {
    pub(super) fn add(&mut self, now: Instant, event: &Event) {
        let Event::Failed { mount, failure: _ } = event else { return };
        let earliest = self.last.map_or(now, |last| last + MIN_INTERVAL);
        self.mounts.add(mount, (now + COLLECTED_FOR).max(earliest));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.mounts.due()
    }

    /// The line, if it is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<String> {
        let (mounts, died) = self.mounts.take_due(now, false)?;
        self.last = Some(now);
        if let ([mount], 1) = (&mounts[..], died) {
            next_steps_line(mount).into()
        } else {
            dead_mounts_line(&mounts, died, "died")
        }
    }
}

impl DeadMounts {
    /// The line is due at this time, if this is the first of its mounts. False for a mount of a user, who must not delay
    /// the line of the system's mounts.
    pub(super) fn add(&mut self, mount: &Arc<Mount>, due: Instant) -> bool {
        let is_of_system = !mount.user().is_foreign();
        if is_of_system {
            self.count += 1;
            self.due.get_or_insert(due);
            if self.mounts.len() < MAX_MOUNTS {
                self.mounts.push(Arc::clone(mount));
            }
        }
        is_of_system
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The mounts and the number of all, if they are due or everything ends.
    pub(super) fn take_due(&mut self, now: Instant, is_ending: bool) -> Option<(Vec<Arc<Mount>>, usize)> {
        self.due.take_if(|due| is_ending || *due <= now)?;
        Some((std::mem::take(&mut self.mounts), std::mem::take(&mut self.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::samples::{failure, mount};

    fn died(path: &str, device: &str) -> Event {
        let mount = mount(path, "nfs4", device, "rw", "rw");
        Event::Failed { mount, failure: failure(Reason::Hung, None, 3.0) }
    }

    #[test]
    fn mounts_that_die_together_have_one_line_a_minute() {
        let (mut summary, start) = (DeathSummary::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for number in 0..12 {
            summary.add(start, &died(&format!("/srv/{number}"), "nas1:/x"));
        }
        assert_eq!((summary.next_deadline(), summary.take_due(start)), (Some(at(1)), None));
        let line = summary.take_due(at(1)).unwrap();
        let text = "12 mounts died (server nas1: 12); next steps: mount_status_monitor diagnose /srv/0, and so for the others";
        assert_eq!(line, text);
        assert_eq!((summary.next_deadline(), summary.take_due(at(2))), (None, None));
        for second in [5, 9] {
            summary.add(at(second), &died("/srv/a b", "nas1:/x"));
        }
        assert_eq!(summary.next_deadline(), Some(at(61)));
        assert!(summary.take_due(at(61)).unwrap().starts_with("2 mounts died (server nas1: 2); "));
        summary.add(at(500), &died("/srv/a b", "/dev/sda1"));
        let line = summary.take_due(at(501)).unwrap();
        assert_eq!(line, "Next steps: mount_status_monitor diagnose '/srv/a b'");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut summary, now) = (DeathSummary::default(), Instant::now());
        (0..5000)
            .for_each(|number| summary.add(now, &died(&format!("/{number}"), &format!("nas{number}:/"))));
        assert_eq!(summary.mounts.mounts.len(), MAX_MOUNTS);
        let line = summary.take_due(now + COLLECTED_FOR).unwrap();
        assert!(line.starts_with("5000 mounts died (") && line.len() < 300, "{line}");
    }
}
