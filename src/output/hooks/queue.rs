//! The events that wait for one hook, and which of them may run: one at a time for each mount, in order, and a few in
//! parallel. Pure: the worker runs them.

use super::payload::Payload;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Maximum number of events that wait for one hook: a thousand mounts may die together.
pub const MAX_WAITING: usize = 1_000;
/// Maximum memory of the events that wait for one hook. With [`MAX_HOOKS`](super::settings::MAX_HOOKS), 16 MiB in all.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Maximum number of parallel runs of one hook, including commands that could not be killed: a thousand runs of a tenth
/// of a second are complete in half a minute, and a hook that hangs holds few processes.
pub const MAX_RUNNING: usize = 4;

/// The queue of one hook.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Payload>,
    bytes: usize,
    /// The mount points of the runs. Runs for the same mount point do not overlap, nor do runs without a mount point.
    running: Vec<Option<PathBuf>>,
}

impl Queue {
    /// Returns false if there is no room.
    pub(super) fn push(&mut self, payload: Payload) -> bool {
        let cost = payload.message.cost();
        let fits = self.waiting.len() < MAX_WAITING && self.bytes + cost <= MAX_WAITING_BYTES;
        if fits {
            self.bytes += cost;
            self.waiting.push_back(payload);
        }
        fits
    }

    /// The next event that may run while this many commands could not be killed. It runs until [`Queue::finish`].
    pub(super) fn next(&mut self, stranded: usize) -> Option<Payload> {
        if self.running.len() + stranded >= MAX_RUNNING {
            return None;
        }
        let is_free = |payload: &Payload| self.run_of(payload).is_none();
        let payload = self.waiting.remove(self.waiting.iter().position(is_free)?)?;
        self.bytes -= payload.message.cost();
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
        self.bytes = 0;
        std::mem::take(&mut self.waiting).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Event;
    use crate::render::samples::mount;
    use crate::render::{Message, Priority};
    use std::sync::Arc;
    use std::time::SystemTime;

    fn payload(path: &str, text: &str) -> Payload {
        let event = Some(Event::Mounted { mount: mount(path, "x", "x", "rw", "rw") });
        let (time, priority, text) = (SystemTime::UNIX_EPOCH, Priority::Info, text.to_owned());
        Payload { message: Arc::new(Message { time, priority, text, event }), severity: "critical" }
    }

    #[test]
    fn events_of_one_mount_run_one_at_a_time_and_in_order() {
        let mut queue = Queue::default();
        for (path, text) in [("/a", "1"), ("/a", "2"), ("/b", "3"), ("/a", "4")] {
            assert!(queue.push(payload(path, text)));
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
        assert_eq!((queue.waiting(), queue.running.len(), queue.bytes), (0, 0, 0));
    }

    #[test]
    fn parallel_runs_are_bounded() {
        let mut queue = Queue::default();
        for n in 0..10 {
            assert!(queue.push(payload(&format!("/{n}"), "")));
        }
        assert_eq!(std::iter::from_fn(|| queue.next(1)).count(), MAX_RUNNING - 1);
        assert_eq!((queue.running.len(), queue.clear(), queue.waiting()), (MAX_RUNNING - 1, 7, 0));
    }

    #[test]
    fn waiting_events_are_bounded_in_number_and_in_bytes() {
        let mut queue = Queue::default();
        let accepted = (0..2 * MAX_WAITING).filter(|_| queue.push(payload("/a", ""))).count();
        assert_eq!(accepted, MAX_WAITING);
        queue.clear();
        let large = "x".repeat(100_000);
        let accepted = (0..100).filter(|_| queue.push(payload("/a", &large))).count();
        assert_eq!(accepted, 10);
        assert!(queue.bytes <= MAX_WAITING_BYTES);
    }
}
