//! The status for readers. Only what has changed since the last one is made anew.

use super::registry::MountEntry;
use super::{Monitor, MountStatus, MountStatuses, Status, UnexpectedOptions};
use platform::MountKey;
use std::sync::Arc;

impl Monitor {
    /// Costs as much as has changed since the last call, and a little for each hung mount and each chunk of mounts.
    pub fn status(&mut self) -> Status {
        self.mark_new_proofs();
        let changed = self.registry.take_changed();
        let mut mounts = std::mem::take(&mut self.statuses);
        mounts.renew(&changed, |key| self.registry.get(key).map(|entry| self.mount_status(entry)));
        self.statuses = mounts.clone();
        let (total, dead) = (self.registry.visible_entries(), self.registry.dead_entries());
        Status { total, dead, ..self.status_with(mounts) }
    }

    /// The same, made from scratch: for tests.
    #[doc(hidden)]
    pub fn status_from_scratch(&self) -> Status {
        let visible = || self.registry.entries().filter(|entry| !entry.is_hidden);
        let dead = self.registry.entries().filter(|entry| entry.health.failure().is_some()).count();
        let mounts = self.registry.ordered().map(|entry| self.mount_status(entry)).collect();
        Status { total: visible().count(), dead, ..self.status_with(mounts) }
    }

    fn status_with(&self, mounts: MountStatuses) -> Status {
        Status {
            at: self.now,
            mounts,
            in_flight: self.scheduler.probes.len(),
            last_run: self.last_run,
            counters: self.counters.totals.clone(),
            expected: self.expected.status(),
            unexpected_options: self.unexpected_options(),
            not_watched: self.watch_budget.not_watched(),
            ..Status::default()
        }
    }

    fn unexpected_options(&self) -> Vec<Arc<UnexpectedOptions>> {
        let is_visible = |found: &&Arc<UnexpectedOptions>| {
            self.registry.get(found.mount.key).is_some_and(|entry| !entry.is_hidden)
        };
        self.options.unexpected().filter(is_visible).cloned().collect()
    }

    fn mount_status(&self, entry: &MountEntry) -> MountStatus {
        let probe = entry.schedule.active_probe();
        MountStatus {
            mount: Arc::clone(&entry.mount),
            health: entry.health.clone(),
            since: entry.since,
            judged_at: entry.judged_at,
            is_hang_proven: self.is_known_to_hang(entry),
            last_response: entry.history.last_response,
            waiting_since: probe.and_then(|id| self.scheduler.probes.waiting_since(id)),
            settings: Arc::clone(&entry.settings),
            flapping: entry.flaps.flapping().map(Box::new),
            is_reported_slow: entry.reported.is_slow(),
            has_unexpected_options: self.options.are_unexpected(entry.key()),
            report: self.reports.state(entry).map(Box::new),
            data_path: self.data_paths.status(entry.key()).cloned().map(Box::new),
        }
    }

    /// Whether a hang is proven depends on probes of other mounts too, and they change without this entry.
    fn mark_new_proofs(&mut self) {
        let is_new = |key: &MountKey| {
            let is_proven = self.registry.get(*key).is_some_and(|entry| self.is_known_to_hang(entry));
            self.statuses.get(*key).is_some_and(|known| known.is_hang_proven != is_proven)
        };
        let new: Vec<MountKey> = self.registry.hung_entries().filter(is_new).collect();
        new.into_iter().for_each(|key| self.registry.mark_changed(key));
    }

    /// The times since when probes wait were moved.
    pub(super) fn mark_waiting(&mut self) {
        self.scheduler.probes.subjects().for_each(|key| self.registry.mark_changed(key));
    }
}
