//! The events that wait for one hook, and which of them may run: one at a time for each mount, in order, and a few
//! together. Decides; who runs them is the worker.

use super::payload::{Payload, mountpoint};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Events that wait for one hook: a thousand mounts that die together are told.
pub const MAX_WAITING: usize = 1_000;
/// Memory of the events that wait for one hook. With [`MAX_HOOKS`](super::settings::MAX_HOOKS), 16 MiB in all.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Runs of one hook at the same time, with those that were left behind: a thousand runs of a tenth of a second are done
/// in half a minute, and a hook that hangs holds few processes.
pub const MAX_RUNNING: usize = 4;

/// What a run is about: runs of the same place do not overlap. Events that are about no mount share one.
pub(super) type Place = Option<PathBuf>;

/// The queue of one hook.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Payload>,
    bytes: usize,
    running: Vec<Place>,
}

impl Queue {
    /// One more. Is there room for it?
    pub(super) fn offer(&mut self, payload: Payload) -> bool {
        let cost = payload.message.cost();
        let fits = self.waiting.len() < MAX_WAITING && self.bytes + cost <= MAX_WAITING_BYTES;
        if fits {
            self.bytes += cost;
            self.waiting.push_back(payload);
        }
        fits
    }

    /// The next that may run now, while so many of the past do not end. It runs until [`Queue::ended`].
    pub(super) fn next(&mut self, left: usize) -> Option<(Place, Payload)> {
        if self.running.len() + left >= MAX_RUNNING {
            return None;
        }
        let free = |payload: &Payload| !self.running.contains(&place(payload));
        let at = self.waiting.iter().position(free)?;
        let payload = self.waiting.remove(at)?;
        self.bytes -= payload.message.cost();
        let place = place(&payload);
        self.running.push(place.clone());
        Some((place, payload))
    }

    pub(super) fn ended(&mut self, place: &Place) {
        if let Some(at) = self.running.iter().position(|running| running == place) {
            self.running.swap_remove(at);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Forgets what waits. How much was that?
    pub(super) fn clear(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).len()
    }
}

fn place(payload: &Payload) -> Place {
    payload.message.event.as_ref().and_then(mountpoint).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Event;
    use crate::render::Message;
    use crate::render::Priority;
    use crate::render::samples::mount;
    use std::sync::Arc;
    use std::time::SystemTime;

    fn payload(path: &str, text: &str) -> Payload {
        let event = Some(Event::Mounted { mount: mount(path, "x", "x", "rw", "rw") });
        let (time, priority, text) = (SystemTime::UNIX_EPOCH, Priority::Info, text.to_owned());
        Payload { message: Arc::new(Message { time, priority, text, event }), severity: "critical" }
    }

    #[test]
    fn one_at_a_time_for_each_mount_in_order() {
        let mut queue = Queue::default();
        for (path, text) in [("/a", "1"), ("/a", "2"), ("/b", "3"), ("/a", "4")] {
            assert!(queue.offer(payload(path, text)));
        }
        let next = |queue: &mut Queue| queue.next(0).map(|(_, payload)| payload.message.text.clone());
        assert_eq!(next(&mut queue).as_deref(), Some("1"));
        assert_eq!(next(&mut queue).as_deref(), Some("3"), "another mount does not wait");
        assert_eq!(next(&mut queue), None);
        queue.ended(&Some("/b".into()));
        assert_eq!(next(&mut queue), None);
        queue.ended(&Some("/a".into()));
        assert_eq!(next(&mut queue).as_deref(), Some("2"));
        queue.ended(&Some("/a".into()));
        assert_eq!(next(&mut queue).as_deref(), Some("4"));
        queue.ended(&Some("/a".into()));
        assert_eq!((queue.waiting(), queue.running.len(), queue.bytes), (0, 0, 0));
    }

    #[test]
    fn few_run_together() {
        let mut queue = Queue::default();
        for n in 0..10 {
            assert!(queue.offer(payload(&format!("/{n}"), "")));
        }
        assert_eq!(std::iter::from_fn(|| queue.next(1)).count(), MAX_RUNNING - 1);
        assert_eq!((queue.running.len(), queue.clear(), queue.waiting()), (MAX_RUNNING - 1, 7, 0));
    }

    #[test]
    fn it_is_bounded_in_number_and_in_bytes() {
        let mut queue = Queue::default();
        let taken = (0..2 * MAX_WAITING).filter(|_| queue.offer(payload("/a", ""))).count();
        assert_eq!(taken, MAX_WAITING);
        queue.clear();
        let large = "x".repeat(100_000);
        let taken = (0..100).filter(|_| queue.offer(payload("/a", &large))).count();
        assert_eq!(taken, 10);
        assert!(queue.bytes <= MAX_WAITING_BYTES);
    }
}
