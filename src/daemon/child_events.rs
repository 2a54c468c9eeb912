//! What the child processes report, as inputs of the monitor.

use super::Daemon;
use crate::children::collector::CollectorEvent;
use crate::children::prober::PoolEvent;
use crate::monitor::{Input, Time};
use crate::render::notices;

impl Daemon<'_> {
    pub(super) fn drain_child_events(&mut self, now: Time) {
        let events: Vec<PoolEvent> = self.pool.drain_events().collect();
        for event in events {
            if let Some(input) = self.prober_input(event) {
                self.monitor.handle(now, input);
            }
        }
        for event in self.evidence.drain_events() {
            let input = match event {
                CollectorEvent::Found { device, evidence } => {
                    Input::EvidenceFound { superblock: device, evidence }
                }
                CollectorEvent::Ended { device } => Input::EvidenceEnded { superblock: device },
                CollectorEvent::Notice(notice) => {
                    let (priority, text) = notices::of_collector(&notice);
                    self.notice(priority, text);
                    continue;
                }
            };
            self.monitor.handle(now, input);
        }
    }

    fn prober_input(&mut self, event: PoolEvent) -> Option<Input> {
        if let PoolEvent::Responded { probe, .. } | PoolEvent::Aborted { probe } = &event {
            self.evidence.probe_ended(*probe);
        }
        if matches!(event, PoolEvent::Notice(_) | PoolEvent::Stranded { .. } | PoolEvent::Freed { .. }) {
            self.snapshots.mark_changed(); // a snapshot shows how many probers there are
        }
        Some(match event {
            PoolEvent::Responded { probe, outcome, took } => Input::ProbeResponded { probe, outcome, took },
            PoolEvent::Stuck { probe, call, elapsed, pid, tid } => {
                self.evidence.thread_located(probe, pid, tid);
                Input::ProbeStuck { probe, call, elapsed }
            }
            PoolEvent::Aborted { probe } => Input::ProbeAborted { probe },
            PoolEvent::Freed { probe } => Input::ProbeFreed { probe },
            PoolEvent::Stranded { probe } => Input::ProbeStranded { probe },
            PoolEvent::Notice(notice) => {
                let (priority, text) = notices::of_prober(&notice);
                self.notice(priority, text);
                return None;
            }
        })
    }
}
