//! Handles the replies of probers.

use super::{Pool, Probe, ProbeState, THREADS_LOG_INTERVAL};
use crate::children::child::Received;
use crate::children::prober::handle::ProberHandle;
use crate::children::prober::wire::{self, Reply};
use crate::children::prober::{PoolEvent, ProbeId, ProberNotice};
use crate::monitor::Time;
use platform::Errno;
use std::collections::hash_map::Entry;

impl Pool {
    /// Handles everything that a prober has sent, including the end of its channel.
    pub(super) fn read_replies(&mut self, now: Time, slot: usize) {
        // Both are taken out, so that each reply can change the rest of the pool.
        let Some(mut prober) = self.probers[slot].take() else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = loop {
            match prober.process.receive(&mut buffer) {
                Received::Packet(length) => {
                    let valid = wire::decode_replies(&buffer[..length]).all(|reply| {
                        reply.map(|reply| self.handle_reply(now, slot, &mut prober, reply)).is_ok()
                    });
                    if !valid {
                        break Received::ProtocolError;
                    }
                }
                received => break received,
            }
        };
        self.buffer = buffer;
        self.probers[slot] = Some(prober);
        match received {
            Received::Closed => self.on_exit(now, slot),
            Received::ProtocolError => self.kill_unresponsive(now, slot),
            Received::Nothing | Received::Packet(_) => {}
        }
    }

    fn handle_reply(&mut self, now: Time, slot: usize, prober: &mut ProberHandle, reply: Reply) {
        match reply {
            Reply::Ready => {
                prober.is_ready = true;
                self.notify(prober.user, ProberNotice::Started { pid: prober.process.pid() });
            }
            Reply::Response { probe, outcome, took } => {
                if self.release(now, slot, prober, probe).is_some() {
                    self.events.push_back(PoolEvent::Responded { probe, outcome, took });
                }
            }
            Reply::Confirming(probe) => {
                if let Some(found) = self.held_by(slot, probe) {
                    found.confirm_by = None;
                }
            }
            Reply::Located { probe, tid } => {
                if let Some(found) = self.held_by(slot, probe) {
                    found.thread = (tid != 0).then_some(tid);
                    let pid = prober.process.pid();
                    self.events.push_back(PoolEvent::Located { probe, pid, tid });
                }
            }
            Reply::Stuck { probe, call, elapsed, tid } => {
                if let Some(found) = self.held_by(slot, probe) {
                    found.confirm_by = None;
                    found.thread = (tid != 0).then_some(tid);
                    self.events.push_back(PoolEvent::Stuck { probe, call, elapsed });
                }
            }
            Reply::NotStarted(probe) => {
                if let Some(state) = self.release(now, slot, prober, probe) {
                    self.events.push_back(state.end_without_response(probe));
                }
            }
            Reply::ThreadsFailed(errno) => self.on_threads_failed(now, prober, errno),
        }
    }

    fn held_by(&mut self, slot: usize, probe: ProbeId) -> Option<&mut Probe> {
        self.probes.get_mut(&probe).filter(|found| found.prober == Some(slot))
    }

    /// Removes a finished probe of this prober.
    fn release(
        &mut self,
        now: Time,
        slot: usize,
        prober: &mut ProberHandle,
        probe: ProbeId,
    ) -> Option<ProbeState> {
        let Entry::Occupied(found) = self.probes.entry(probe) else { return None };
        if found.get().prober != Some(slot) {
            return None;
        }
        let state = found.remove().state;
        prober.release(now);
        match state {
            ProbeState::Pending => {}
            ProbeState::Abandoned { .. } => prober.abandoned -= 1,
            ProbeState::Retained => prober.retained -= 1,
        }
        Some(state)
    }

    fn on_threads_failed(&mut self, now: Time, prober: &mut ProberHandle, errno: Errno) {
        if prober.threads_failed_logged_at.is_none_or(|at| at + THREADS_LOG_INTERVAL <= now) {
            prober.threads_failed_logged_at = Some(now);
            self.notify(prober.user, ProberNotice::ThreadsFailed { pid: prober.process.pid(), errno });
        }
    }
}

impl ProbeState {
    pub(super) fn end_without_response(self, probe: ProbeId) -> PoolEvent {
        match self {
            ProbeState::Pending => PoolEvent::Aborted { probe },
            ProbeState::Abandoned { .. } | ProbeState::Retained => PoolEvent::Freed { probe },
        }
    }
}
