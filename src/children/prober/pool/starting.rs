//! How a lane gets its prober, and what happens while it gets none.

use super::{Epitaph, Pool, Probe};
use crate::children::prober::PoolEvent;
use crate::children::prober::ProberNotice;
use crate::children::prober::SpawnError;
use crate::children::prober::handle::Handle;
use crate::monitor::Time;
use mio::Token;
use platform::Errno;
use std::io;

impl Pool {
    /// Gets the waiting probes of a lane a prober, if that may be tried now.
    pub(super) fn find_prober(&mut self, now: Time, number: usize) {
        if self.lanes[number].active.is_none()
            && self.lanes[number].backoff.retry_at().is_none_or(|at| at <= now)
        {
            match self.spawn(number) {
                Ok(slot) => self.lanes[number].active = Some(slot),
                Err(error) => self.spawn_failed(now, number, error),
            }
        }
        let lane = &mut self.lanes[number];
        let Some((slot, prober)) = lane.active.and_then(|slot| Some((slot, self.probers[slot].as_mut()?)))
        else {
            lane.waiting_since.get_or_insert(now);
            return;
        };
        let mut adopted = 0;
        let mut unconfirmed = Vec::new();
        let waiting = |probe: &Probe| probe.lane == number && probe.prober.is_none();
        for (id, probe) in self.probes.iter_mut().filter(|(_, probe)| waiting(probe)) {
            probe.prober = Some(slot);
            adopted += 1;
            if std::mem::take(&mut probe.confirm_later) {
                unconfirmed.push(*id);
            }
        }
        lane.waiting_since = None;
        prober.adopt(lane.waiting.drain(..), adopted);
        for probe in unconfirmed {
            prober.confirm(probe);
        }
    }

    fn spawn(&mut self, lane: usize) -> Result<usize, SpawnError> {
        let slot = self.probers.iter().position(Option::is_none).ok_or(SpawnError::TooMany)?;
        let failed = |error: io::Error| SpawnError::System(Errno::from_io(&error));
        let (child, channel) = self.launcher.spawn().map_err(failed)?;
        match Handle::new(lane, child, channel, &self.registry, Token(self.first_token + slot)) {
            Ok(prober) => {
                self.probers[slot] = Some(prober);
                Ok(slot)
            }
            Err((error, child)) => {
                child.kill();
                self.zombies.push((child, Epitaph::Expected));
                Err(failed(error))
            }
        }
    }

    pub(super) fn spawn_failed(&mut self, now: Time, lane: usize, error: SpawnError) {
        let backoff = &mut self.lanes[lane].backoff;
        let retry_in = backoff.next(now);
        if backoff.has_grown() {
            self.notice(ProberNotice::SpawnFailed { error, retry_in });
        }
    }

    pub(super) fn abort_waiting(&mut self, lane: usize) {
        self.lanes[lane].waiting.clear();
        self.lanes[lane].waiting_since = None;
        let events = &mut self.events;
        self.probes.retain(|&probe, found| {
            let waits = found.lane == lane && found.prober.is_none();
            if waits {
                events.push_back(PoolEvent::Aborted { probe });
            }
            !waits
        });
    }
}
