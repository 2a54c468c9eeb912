//! What is known of one watched mount.

use crate::monitor::health::{Classification, ResponseHistory};
use crate::monitor::{EvidenceRecord, Health, LastResponse, ProbeSettings, Time};
use platform::{DeviceNumber, Mount, MountKey, ProbeOutcome, Target};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct MountEntry {
    mount: Arc<Mount>,
    /// What a probe needs of `mount`, made once.
    target: Arc<Target>,
    /// As the table says.
    is_read_only: bool,
    fstype_index: usize,
    settings: ProbeSettings,
    probe_interval: Duration,
    is_hidden: bool,
    health: Health,
    since: Time,
    history: ResponseHistory,
}

impl MountEntry {
    /// A visible mount. `probe_interval` is `settings.poll_interval`, or longer where that would keep the mount from
    /// expiring; `fstype_index` is where its type is counted.
    pub(crate) fn new(
        now: Time,
        mount: Arc<Mount>,
        settings: ProbeSettings,
        probe_interval: Duration,
        fstype_index: usize,
    ) -> MountEntry {
        MountEntry {
            target: Arc::new(Target::for_mount(&mount)),
            is_read_only: mount.read_only(),
            mount,
            fstype_index,
            settings,
            probe_interval,
            is_hidden: false,
            health: Health::Pending,
            since: now,
            history: ResponseHistory::default(),
        }
    }

    pub(crate) fn key(&self) -> MountKey {
        self.mount.key
    }

    pub(crate) fn superblock(&self) -> DeviceNumber {
        self.mount.device_number
    }

    pub(crate) fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    pub(crate) fn fstype_index(&self) -> usize {
        self.fstype_index
    }

    pub(crate) fn settings(&self) -> &ProbeSettings {
        &self.settings
    }

    /// From one probe to the next while the mount responds.
    pub(crate) fn probe_interval(&self) -> Duration {
        self.probe_interval
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Since when that is its health; for a dead mount, since it died.
    pub(crate) fn since(&self) -> Time {
        self.since
    }

    pub(crate) fn last_response(&self) -> Option<LastResponse> {
        self.history.last_response()
    }

    /// Classifies the outcome of a probe and remembers it.
    pub(crate) fn record_outcome(
        &mut self,
        now: Time,
        outcome: &ProbeOutcome,
        took: Duration,
    ) -> Classification {
        let is_late = self.health.is_hung() && took > self.settings.timeout;
        self.history.record(now, outcome, took, self.health.failure().is_some(), is_late)
    }

    /// Does `ST_RDONLY` of a response contradict the table, for the first time in this way?
    pub(crate) fn is_new_contradiction(&mut self, read_only: bool) -> bool {
        self.history.is_new_contradiction(read_only, self.is_read_only)
    }

    /// Is it dead, and no hung ancestor the cause?
    pub(crate) fn is_dead_itself(&self) -> bool {
        self.health.failure().is_some_and(|failure| failure.blocked_by.is_none())
    }

    /// Its options, path or device changed.
    pub(crate) fn set_mount(&mut self, mount: &Arc<Mount>) {
        self.mount = Arc::clone(mount);
        self.target = Arc::new(Target::for_mount(mount));
        self.is_read_only = mount.read_only();
    }

    pub(crate) fn set_settings(&mut self, settings: ProbeSettings, probe_interval: Duration) {
        (self.settings, self.probe_interval) = (settings, probe_interval);
    }

    pub(super) fn hide(&mut self) {
        (self.is_hidden, self.health) = (true, Health::Hidden);
    }

    pub(super) fn set_hidden(&mut self, is_hidden: bool) {
        self.is_hidden = is_hidden;
    }

    /// Sets the health and returns the one before.
    pub(super) fn replace_health(&mut self, now: Time, health: Health) -> Health {
        let stays_dead = self.health.failure().is_some() && health.failure().is_some();
        if self.health != health && !stays_dead {
            self.since = now;
        }
        std::mem::replace(&mut self.health, health)
    }

    pub(super) fn set_evidence(&mut self, record: &Arc<EvidenceRecord>) -> bool {
        match &mut self.health {
            Health::Dead(failure) if failure.blocked_by.is_none() => {
                failure.evidence = Some(Arc::clone(record));
                true
            }
            _ => false,
        }
    }
}
