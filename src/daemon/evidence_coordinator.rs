//! Passes the monitor's requests for evidence to the collector, together with the threads that are stuck.

use crate::children::collector::{CollectRequest, CollectorEvent, CollectorHandle};
use crate::monitor::{ProbeId, Time};
use mio::{Registry, Token};
use platform::{DeviceNumber, Mount};
use rustc_hash::FxHashMap;
use std::io;
use std::time::Duration;

pub(super) struct EvidenceCoordinator {
    collector: CollectorHandle,
    /// Probes whose threads are being located.
    locating: FxHashMap<ProbeId, DeviceNumber>,
}

impl EvidenceCoordinator {
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub(super) fn new(registry: Registry, token: Token) -> io::Result<EvidenceCoordinator> {
        let collector = CollectorHandle::new(registry, token, None)?;
        Ok(EvidenceCoordinator { collector, locating: FxHashMap::default() })
    }

    /// Requests evidence. The caller locates the thread of `probe`, if there is one.
    pub(super) fn collect(
        &mut self,
        now: Time,
        mount: &Mount,
        mount_ids: &[u32],
        probe: Option<ProbeId>,
        alone: bool,
        patience: Duration,
    ) {
        self.collector.collect(now, CollectRequest::new(mount, mount_ids, alone, patience));
        if let Some(probe) = probe {
            self.locating.insert(probe, mount.device_number);
        }
    }

    /// The probe is stuck in this thread; `tid` is 0 if that is not known.
    pub(super) fn thread_located(&mut self, probe: ProbeId, pid: u32, tid: u32) {
        if let Some(device) = self.locating.remove(&probe).filter(|_| tid != 0) {
            self.collector.inspect_thread(device, pid, tid);
        }
    }

    pub(super) fn probe_ended(&mut self, probe: ProbeId) {
        self.locating.remove(&probe);
    }

    pub(super) fn handle_ready(&mut self, now: Time) {
        self.collector.handle_ready(now);
    }

    pub(super) fn reap_children(&mut self, now: Time) {
        self.collector.reap_children(now);
    }

    pub(super) fn flush(&mut self, now: Time) {
        self.collector.flush(now);
    }

    pub(super) fn has_events(&self) -> bool {
        self.collector.has_events()
    }

    pub(super) fn drain_events(&mut self) -> Vec<CollectorEvent> {
        self.collector.drain_events().collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.collector.next_deadline()
    }

    pub(super) fn handle_deadline(&mut self, now: Time) {
        self.collector.handle_deadline(now);
    }

    pub(super) fn shutdown(&mut self) {
        self.collector.shutdown();
    }
}
