//! A run probes every mount once. It is complete when each has responded or missed its deadline, so it never takes much
//! longer than the timeout, whatever hangs.

use crate::monitor::Time;

#[derive(Debug, Default)]
pub(super) struct Run {
    id: u64,
    is_open: bool,
    started_at: Time,
    pending: usize,
    unjudged: usize,
}

/// A mount's place in a run that still waits for it.
pub(super) type RunTicket = Option<u64>;

impl Run {
    /// Opens a run. False if the last one is still open: then the two are one.
    pub(super) fn open(&mut self, now: Time) -> bool {
        let opens = !self.is_open;
        if opens {
            *self = Run { id: self.id + 1, is_open: true, started_at: now, pending: 0, unjudged: 0 };
        }
        opens
    }

    /// The run waits for one more mount.
    pub(super) fn expect(&mut self) -> RunTicket {
        self.pending += 1;
        Some(self.id)
    }

    /// The run no longer waits for a mount.
    pub(super) fn settle(&mut self, ticket: &mut RunTicket) {
        if ticket.take() == Some(self.id) {
            self.pending -= 1;
        }
    }

    /// The run no longer waits for a mount, which could not be judged.
    pub(super) fn settle_unjudged(&mut self, ticket: &mut RunTicket) {
        self.unjudged += usize::from(ticket.is_some());
        self.settle(ticket);
    }

    /// Closes the run if it waits for no mount any more; returns its start and how many mounts could not be judged.
    pub(super) fn close_if_complete(&mut self) -> Option<(Time, usize)> {
        let is_complete = self.is_open && self.pending == 0;
        self.is_open &= !is_complete;
        is_complete.then_some((self.started_at, self.unjudged))
    }
}
