//! Handles changes of the mount table and of the configuration: mounts appear, disappear, change, move, become hidden
//! or visible.

use super::registry::{Change, MountEntry, TableDifference};
use super::scheduler::{Readiness, idle_safe_interval};
use super::{Effect, Event, Monitor, MonitorConfig, MountSettings, ProbeSettings, TableDoubt, Time};
use platform::{Mount, MountKey, TableUpdate};
use std::sync::Arc;
use std::time::Duration;

impl Monitor {
    pub(super) fn update_table(&mut self, now: Time, update: TableUpdate) {
        self.counters.totals.table_reads += 1;
        if let TableUpdate::Changes(changes) = &update {
            self.counters.totals.mounts_missed += changes.missed;
        }
        let is_first = !self.registry.has_table();
        let difference = self.registry.update_table(update);
        let is_structural = difference.is_structural();
        let saved = if is_first { self.take_saved() } else { None };
        let concerns_expected = is_first || self.concerns_expected(&difference);
        for change in difference.changes {
            match change {
                Change::Unmounted(mount) => self.on_unmounted(now, mount.key),
                Change::Mounted(mount) => self.on_mounted(now, mount, is_first),
                Change::Remounted { before, after } => self.on_remounted(now, before, after),
                Change::Moved { before, after } => self.on_moved(now, &before, after),
            }
        }
        if let Some(saved) = saved {
            self.restore_mounts(now, saved);
        }
        for key in difference.moved_places {
            self.update_visibility(now, key);
            self.update_user(key);
            self.apply_rules(now, key);
        }
        if is_structural {
            self.watch_admissible(now);
        }
        if difference.has_new_ancestors {
            self.reprobe_blocked(now);
        }
        if concerns_expected || self.expected.has_suspects() {
            self.check_expected(now);
        }
        if is_first {
            self.start_run(now);
        }
    }

    /// Whether an expected mount may be present or missing now, or on another mount.
    fn concerns_expected(&self, difference: &TableDifference) -> bool {
        let moved = difference.moved_places.iter().filter_map(|&key| self.registry.tree().get(key));
        let mut mounts = difference.changes.iter().flat_map(Change::states).flatten().chain(moved);
        difference.is_structural() && mounts.any(|mount| self.expected.has_below(&mount.mountpoint))
    }

    fn on_mounted(&mut self, now: Time, mount: Arc<Mount>, is_first: bool) {
        let Some(settings) = self.settings_of(&mount) else { return };
        let key = mount.key;
        let is_watched = self.watch(now, Arc::clone(&mount), settings);
        if is_watched && !is_first {
            self.report(Event::Mounted { mount });
            self.request_probe(now, key);
        }
        self.apply_rules(now, key);
    }

    fn on_unmounted(&mut self, now: Time, key: MountKey) {
        if let Some(entry) = self.forget(key) {
            let (mount, lasted) = (Arc::clone(&entry.mount), now - entry.since);
            self.report_of(entry.user(), Event::Unmounted { mount, health: entry.health.clone(), lasted });
        }
    }

    fn on_remounted(&mut self, now: Time, before: Arc<Mount>, after: Arc<Mount>) {
        let key = after.key;
        if let Some(entry) = self.registry.get_mut(key) {
            entry.set_mount(&after);
            self.report(Event::Remounted { mount: after, before });
            self.apply_rules(now, key);
        }
    }

    fn on_moved(&mut self, now: Time, before: &Arc<Mount>, after: Arc<Mount>) {
        let Some(settings) = self.settings_of(&after) else { return self.on_unmounted(now, after.key) };
        let Some(entry) = self.registry.get_mut(after.key) else { return self.on_mounted(now, after, false) };
        entry.set_mount(&after);
        let key = after.key;
        let has_other_path = before.mountpoint != after.mountpoint;
        let was_path_hung = has_other_path && self.scheduler.leave_path(&mut entry.schedule);
        self.set_settings(now, key, settings);
        if self.admit_again(key) && has_other_path {
            self.report(Event::Moved { mount: after, from: before.mountpoint.clone() });
        }
        if was_path_hung {
            self.request_probe(now, key);
        }
        self.apply_rules(now, key);
    }

    /// Most mounts have the same settings, which they share. `None` for a mount that must not be touched.
    fn settings_of(&mut self, mount: &Mount) -> Option<Arc<MountSettings>> {
        let probe = (self.policy)(mount)?;
        let settings = MountSettings { probe, probe_interval: self.probe_interval(mount, &probe) };
        if *self.last_settings != settings {
            self.last_settings = Arc::new(settings);
        }
        Some(Arc::clone(&self.last_settings))
    }

    /// Returns false if too many mounts of its user are watched.
    fn watch(&mut self, now: Time, mount: Arc<Mount>, settings: Arc<MountSettings>) -> bool {
        let user = self.registry.user(mount.key);
        if let Err(notice) = self.watch_budget.admit(user, &mount) {
            let notice = notice.filter(|_| self.event_budget.admit(now, user, false));
            self.effects.extend(notice.map(Effect::Notify));
            return false;
        }
        let fstype_index = self.counters.index_for(&mount);
        self.scheduler.set_mount_interval(now, mount.key, settings.probe_interval, true);
        self.unjudged.on_settings(now, &settings);
        self.registry.insert(MountEntry::new(now, mount, settings, fstype_index));
        true
    }

    fn set_settings(&mut self, now: Time, key: MountKey, settings: Arc<MountSettings>) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        let interval = settings.probe_interval;
        let is_new_interval = entry.settings.probe_interval != interval;
        self.unjudged.on_settings(now, &settings);
        entry.set_settings(settings);
        self.scheduler.set_mount_interval(now, key, interval, is_new_interval);
    }

    /// Stops watching a mount. Its probe in flight continues.
    fn forget(&mut self, key: MountKey) -> Option<MountEntry> {
        let Some(entry) = self.remove_entry(key) else {
            self.watch_budget.forget(key);
            return None;
        };
        self.watch_budget.release(entry.user(), key);
        Some(entry)
    }

    fn remove_entry(&mut self, key: MountKey) -> Option<MountEntry> {
        let mut entry = self.registry.remove(key)?;
        self.scheduler.remove_mount(&mut entry);
        self.reports.flap_checks.cancel(key);
        self.options.forget(key);
        self.data_paths.forget(key);
        self.stop_reminders(key);
        self.forget_unused_superblock(entry.superblock());
        Some(entry)
    }

    /// The interval between probes of a mount that responds: its poll interval, or longer if an automounter would otherwise
    /// never find it idle.
    fn probe_interval(&self, mount: &Mount, settings: &ProbeSettings) -> Duration {
        let idle_timeout = self.registry.parent(mount).and_then(|trigger| trigger.idle_timeout());
        settings.poll_interval.max(idle_timeout.map_or(Duration::ZERO, idle_safe_interval))
    }

    /// Hidden mounts are not probed; mounts that become visible are probed at once.
    fn update_visibility(&mut self, now: Time, key: MountKey) {
        if !self.registry.update_visibility(now, key) {
            return;
        }
        let Some(entry) = self.registry.get_mut(key) else { return };
        if entry.is_hidden {
            let superblock = entry.superblock();
            self.scheduler.withdraw(entry);
            self.stop_reminders(key);
            self.forget_unused_superblock(superblock);
        } else {
            self.request_probe(now, key);
        }
    }

    fn update_user(&mut self, key: MountKey) {
        if self.registry.get(key).is_some_and(|entry| entry.user() != self.registry.user(key)) {
            self.admit_again(key);
        }
    }

    /// Returns false if a watched mount no longer is, because another user has to pay for it, or its names are longer.
    fn admit_again(&mut self, key: MountKey) -> bool {
        let user = self.registry.user(key);
        let Some(entry) = self.registry.get_mut(key) else { return false };
        self.watch_budget.release(entry.user(), key);
        let is_admitted = self.watch_budget.admit(user, &entry.mount).is_ok();
        if is_admitted {
            self.scheduler.set_user(entry, user);
        } else {
            self.remove_entry(key);
        }
        is_admitted
    }

    /// Watches mounts that had to wait until others of their user were gone.
    fn watch_admissible(&mut self, now: Time) {
        for key in self.watch_budget.admissible() {
            let mount = self.registry.tree().get(key).cloned();
            match mount.and_then(|mount| Some((self.settings_of(&mount)?, mount))) {
                Some((settings, mount)) => {
                    self.watch(now, mount, settings);
                    self.request_probe(now, key);
                    self.apply_rules(now, key);
                }
                None => self.watch_budget.forget(key),
            }
        }
    }

    fn check_expected(&mut self, now: Time) {
        let events = self.expected.check(now, &self.registry);
        self.report_all(events);
    }

    /// Applies a new configuration. A probe in flight is judged by the settings that it started with. A newly watched mount
    /// is probed at once; a mount that is no longer watched is forgotten without a report.
    pub(super) fn reconfigure(&mut self, now: Time, config: MonitorConfig) {
        self.policy = config.policy;
        self.options.replace_policy(config.expected_options);
        self.data_paths.replace_policy(config.data_paths);
        self.searches_every_directory = config.searches_every_directory;
        self.scheduler.set_run_interval(now, config.poll_interval);
        let mounts: Vec<Arc<Mount>> = self.registry.tree().iter().cloned().collect();
        for mount in mounts {
            let key = mount.key;
            let Some(settings) = self.settings_of(&mount) else {
                self.forget(key);
                continue;
            };
            if self.registry.get(key).is_some() {
                self.set_settings(now, key, settings);
            } else if self.watch(now, mount, settings) {
                self.request_probe(now, key);
            }
            self.apply_rules(now, key);
        }
        self.watch_admissible(now);
        self.expected.replace(config.expected);
        if self.registry.has_table() {
            self.check_expected(now);
        }
    }

    pub(super) fn start_run(&mut self, now: Time) {
        self.doubt_table(TableDoubt::RunStarted);
        let is_new = self.scheduler.start_run(now);
        let run_interval = self.scheduler.run_interval();
        let mut keys: Vec<MountKey> = self.registry.entries().map(MountEntry::key).collect();
        keys.sort_unstable(); // the order of the table
        for key in keys {
            let Some(entry) = self.registry.get_mut(key).filter(|entry| !entry.is_hidden) else { continue };
            if is_new {
                self.scheduler.expect_in_run(entry);
            }
            if entry.settings.probe_interval == run_interval || entry.judged_at.is_none() {
                self.request_probe(now, key);
            } else if self.scheduler.readiness(entry) != Readiness::Pending {
                self.scheduler.complete_in_run(entry); // probed at its own interval: its present health counts
            }
        }
    }
}
