//! A run asks every mount once. It is complete when each has an answer or a deadline behind it, so it never takes
//! much longer than the timeout, whatever hangs.

use super::Time;

#[derive(Debug, Default)]
pub(super) struct Run {
    id: u64,
    open: bool,
    pub(super) started: Time,
    /// Mounts that still owe an answer.
    pending: usize,
    /// Mounts about which nothing could be learned.
    pub(super) unjudged: usize,
}

impl Run {
    /// Opens a run unless the last is still open: then the two are one.
    pub(super) fn open(&mut self, now: Time) -> Option<u64> {
        if self.open {
            return None;
        }
        *self = Run { id: self.id + 1, open: true, started: now, pending: 0, unjudged: 0 };
        Some(self.id)
    }

    pub(super) fn expect_one(&mut self) {
        self.pending += 1;
    }

    /// A mount that was expected is settled; `claim` is what its slot remembers.
    pub(super) fn settle(&mut self, claim: &mut Option<u64>) {
        if claim.take() == Some(self.id) {
            self.pending -= 1;
        }
    }

    /// Closes the run if nothing is owed any more.
    pub(super) fn close_if_complete(&mut self) -> bool {
        let complete = self.open && self.pending == 0;
        self.open &= !complete;
        complete
    }
}
