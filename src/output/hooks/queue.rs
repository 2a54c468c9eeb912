//! The events that wait for one hook, and which of them may run: one at a time for each mount, in order, and a few in
//! parallel, deaths and recoveries first. Pure: the worker runs them.

use super::payload::Payload;
use crate::output::ranked_queue::{Limits, Rank, RankedQueue};
use std::path::{Path, PathBuf};

/// Maximum number of events that wait for one hook: a thousand mounts may die together.
pub const MAX_WAITING: usize = 1_000;
/// Maximum memory of the events that wait for one hook. With [`MAX_HOOKS`](super::settings::MAX_HOOKS), 16 MiB in all.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Maximum number of parallel runs of one hook, including commands that could not be killed: a thousand runs of a tenth
/// of a second are complete in half a minute, and a hook that hangs holds few processes.
pub const MAX_RUNNING: usize = 4;

/// The queue of one hook.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: RankedQueue<Payload>,
    /// The mount points of the runs. Runs for the same mount point do not overlap, nor do runs without a mount point.
    running: Vec<Option<PathBuf>>,
}

impl Default for Queue {
    fn default() -> Queue {
        let limits = Limits { items: MAX_WAITING, bytes: MAX_WAITING_BYTES };
        Queue { waiting: RankedQueue::new(limits), running: Vec::new() }
    }
}

impl Queue {
    /// Returns how many events were dropped: this one, or less important ones.
    pub(super) fn push(&mut self, payload: Payload) -> u64 {
        let rank = Rank::of_message(&payload.message);
        self.waiting.push(rank, payload.message.cost(), payload)
    }

    /// Adds the event of a drill, which takes no place from others. Returns false if there is no room.
    pub(super) fn push_drill(&mut self, payload: Payload) -> bool {
        while let Some((place, _)) = self.waiting.find(Payload::is_of_drill) {
            self.waiting.take(place); // of an earlier one, which is over
        }
        let (rank, cost) = (Rank::of_message(&payload.message), payload.message.cost());
        let has_room = self.waiting.fits(rank, cost);
        if has_room {
            self.waiting.push_always(rank, cost, payload);
        }
        has_room
    }

    /// The next event that may run while this many commands could not be killed: the most important one, after earlier
    /// events of the same mount point. It runs until [`Queue::finish`].
    pub(super) fn next(&mut self, stranded: usize) -> Option<Payload> {
        if self.running.len() + stranded >= MAX_RUNNING {
            return None;
        }
        let (_, wanted) = self.waiting.find(|payload| self.run_of(payload).is_none())?;
        let place = self.waiting.find_first(|payload| payload.mountpoint() == wanted.mountpoint())?;
        let payload = self.waiting.take(place)?;
        self.running.push(payload.mountpoint().map(Path::to_path_buf));
        Some(payload)
    }

    /// The index of a run for the same mount point.
    fn run_of(&self, payload: &Payload) -> Option<usize> {
        self.running.iter().position(|running| running.as_deref() == payload.mountpoint())
    }

    pub(super) fn finish(&mut self, payload: &Payload) {
        if let Some(index) = self.run_of(payload) {
            self.running.swap_remove(index);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Drops the events that wait. Returns their number.
    pub(super) fn clear(&mut self) -> usize {
        self.waiting.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Event;
    use crate::monitor::Reason;
    use crate::render::samples::{failure, mount};
    use crate::render::{Message, Priority};
    use std::sync::Arc;
    use std::time::SystemTime;

    fn payload(path: &str, text: &str) -> Payload {
        let event = Some(Event::Mounted { mount: mount(path, "x", "x", "rw", "rw") });
        let (time, priority, text) = (SystemTime::UNIX_EPOCH, Priority::Info, text.to_owned());
        let message = Arc::new(Message { time, priority, text, event });
        Payload { message, severity: "critical", receipt: None }
    }

    #[test]
    fn events_of_one_mount_run_one_at_a_time_and_in_order() {
        let mut queue = Queue::default();
        for (path, text) in [("/a", "1"), ("/a", "2"), ("/b", "3"), ("/a", "4")] {
            assert_eq!(queue.push(payload(path, text)), 0);
        }
        let next = |queue: &mut Queue| queue.next(0).map(|payload| payload.message.text.clone());
        assert_eq!(next(&mut queue).as_deref(), Some("1"));
        assert_eq!(next(&mut queue).as_deref(), Some("3"), "another mount does not wait");
        assert_eq!(next(&mut queue), None);
        queue.finish(&payload("/b", ""));
        assert_eq!(next(&mut queue), None);
        queue.finish(&payload("/a", ""));
        assert_eq!(next(&mut queue).as_deref(), Some("2"));
        queue.finish(&payload("/a", ""));
        assert_eq!(next(&mut queue).as_deref(), Some("4"));
        queue.finish(&payload("/a", ""));
        assert_eq!((queue.waiting(), queue.running.len(), queue.waiting.bytes()), (0, 0, 0));
    }

    #[test]
    fn parallel_runs_are_bounded() {
        let mut queue = Queue::default();
        for n in 0..10 {
            assert_eq!(queue.push(payload(&format!("/{n}"), "")), 0);
        }
        assert_eq!(std::iter::from_fn(|| queue.next(1)).count(), MAX_RUNNING - 1);
        assert_eq!((queue.running.len(), queue.clear(), queue.waiting()), (MAX_RUNNING - 1, 7, 0));
    }

    #[test]
    fn waiting_events_are_bounded_in_number_and_in_bytes() {
        let mut queue = Queue::default();
        let accepted = (0..2 * MAX_WAITING).filter(|_| queue.push(payload("/a", "")) == 0).count();
        assert_eq!(accepted, MAX_WAITING);
        queue.clear();
        let large = "x".repeat(100_000);
        let accepted = (0..100).filter(|_| queue.push(payload("/a", &large)) == 0).count();
        assert_eq!(accepted, 10);
        assert!(queue.waiting.bytes() <= MAX_WAITING_BYTES);
    }

    #[test]
    fn death_runs_before_thousands_of_mounts_that_appeared() {
        let mut queue = Queue::default();
        let dropped: u64 = (0..2 * MAX_WAITING).map(|n| queue.push(payload(&format!("/{n}"), ""))).sum();
        assert_eq!(dropped as usize, MAX_WAITING);
        queue.push(payload("/a", "dropped"));
        let (mount, failure) = (mount("/7", "x", "x", "rw", "rw"), failure(Reason::Hung, None, 3.0));
        let event = Some(Event::Failed { mount, failure });
        let (time, priority, text) = (SystemTime::UNIX_EPOCH, Priority::Error, "died".to_owned());
        let message = Arc::new(Message { time, priority, text, event });
        let died = Payload { message, severity: "critical", receipt: None };
        assert_eq!(queue.push(died), 1, "the last that appeared");
        let mut next = || queue.next(0).map(|payload| payload.message.text.clone());
        assert_eq!(next().as_deref(), Some(""), "it appeared before it died");
        queue.finish(&payload("/7", ""));
        assert_eq!(queue.next(0).map(|payload| payload.message.text.clone()).as_deref(), Some("died"));
    }
}
