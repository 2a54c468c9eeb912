//! The mount table is applied: mounts come, go, change, move, and disappear under others.

use super::diff::{Change, diff};
use super::slot::{Asked, Slot};
use super::visible::Hidden;
use super::{Event, Health, Monitor, ProbeSettings, Time, Timer};
use platform::{Mount, MountKey, MountTable};
use std::sync::Arc;

impl Monitor {
    pub(super) fn table_was_read(&mut self, now: Time, table: MountTable) {
        let changes = diff(&self.table, &table);
        let first = !std::mem::replace(&mut self.saw_table, true);
        self.table = table;
        if first {
            self.slots.reserve(self.table.len());
            self.superblocks.reserve(self.table.len());
        }
        if changes.iter().any(|change| !matches!(change, Change::Remounted { .. })) || first {
            self.by_id = self.table.iter().map(|mount| (mount.id, mount.key)).collect();
            let hidden = Hidden::of(&self.table);
            for change in changes {
                self.apply(now, change, &hidden, first);
            }
            self.apply_hidden(now, &hidden);
            self.look_for_expected(now, &hidden);
        } else {
            for change in changes {
                if let Change::Remounted { before, after } = change {
                    self.remounted(&before, after);
                }
            }
        }
        if self.suspects_missing() {
            self.look_for_expected(now, &Hidden::of(&self.table));
        }
        if first {
            self.begin_run(now);
        }
    }

    fn apply(&mut self, now: Time, change: Change, hidden: &Hidden, first: bool) {
        match change {
            Change::Unmounted(mount) => self.unmounted(now, mount.key),
            Change::Mounted(mount) => self.mounted(now, mount, hidden, first),
            Change::Remounted { before, after } => self.remounted(&before, after),
            Change::Moved { before, after } => self.moved(now, &before, after, hidden),
        }
    }

    fn mounted(&mut self, now: Time, mount: Arc<Mount>, hidden: &Hidden, first: bool) {
        let Some(settings) = (self.policy)(&mount) else { return };
        if !first {
            self.report(Event::Mounted { mount: Arc::clone(&mount) });
        }
        self.watch(now, mount, settings, hidden, !first);
    }

    /// Begins to watch a mount.
    pub(super) fn watch(
        &mut self,
        now: Time,
        mount: Arc<Mount>,
        settings: ProbeSettings,
        hidden: &Hidden,
        ask: bool,
    ) {
        let (key, superblock) = (mount.key, mount.device_number);
        let is_hidden = hidden.contains(key);
        let pause = self.pause_between(&mount, settings.poll_interval);
        let counted = self.count.place(&mount.fstype);
        self.slots.insert(key, Slot { pause, ..Slot::new(now, mount, settings, is_hidden, counted) });
        if !is_hidden {
            self.superblocks.entry(superblock).or_default().join(key);
            if ask {
                self.ask(now, key);
            }
        }
        if pause != self.interval {
            self.timers.set(Timer::Ask(key), now + self.spread.first_wait(pause, key.0));
        }
    }

    fn unmounted(&mut self, now: Time, key: MountKey) {
        if let Some(slot) = self.forget(key) {
            let lasted = now - slot.since;
            self.report(Event::Unmounted { mount: slot.mount, health: slot.health, lasted });
        }
    }

    /// Ends the watch over a mount; a probe of it that is under way goes on without it.
    pub(super) fn forget(&mut self, key: MountKey) -> Option<Slot> {
        self.withdraw(key);
        self.timers.cancel(Timer::Ask(key));
        self.timers.cancel(Timer::Remind(key));
        let slot = self.slots.remove(&key)?;
        self.note_hung(&slot.health, &Health::Pending);
        Some(slot)
    }

    fn remounted(&mut self, before: &Arc<Mount>, after: Arc<Mount>) {
        if let Some(slot) = self.slots.get_mut(&after.key) {
            slot.set_mount(&after);
            self.report(Event::Remounted { mount: after, before: Arc::clone(before) });
        }
    }

    fn moved(&mut self, now: Time, before: &Arc<Mount>, after: Arc<Mount>, hidden: &Hidden) {
        let wanted = (self.policy)(&after);
        match (self.slots.contains_key(&after.key), wanted) {
            (true, Some(settings)) => {
                let pause = self.pause_between(&after, settings.poll_interval);
                if let Some(slot) = self.slots.get_mut(&after.key) {
                    slot.set_mount(&after);
                    (slot.settings, slot.pause) = (settings, pause);
                }
                if before.mountpoint != after.mountpoint {
                    self.report(Event::Moved { mount: after, from: before.mountpoint.clone() });
                }
            }
            // Its new path is one that is not watched, or its old one was.
            (true, None) => self.unmounted(now, after.key),
            (false, _) => self.mounted(now, after, hidden, false),
        }
    }

    fn apply_hidden(&mut self, now: Time, hidden: &Hidden) {
        let turned: Vec<MountKey> = self
            .slots
            .iter()
            .filter(|(key, slot)| slot.hidden != hidden.contains(**key))
            .map(|(key, _)| *key)
            .collect();
        for key in turned {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            slot.hidden = !slot.hidden;
            let superblock = slot.mount.device_number;
            if slot.hidden {
                self.withdraw(key);
                self.timers.cancel(Timer::Remind(key));
                self.set_health(now, key, Health::Hidden);
            } else {
                self.superblocks.entry(superblock).or_default().join(key);
                self.set_health(now, key, Health::Pending);
                self.ask(now, key);
            }
        }
    }

    /// Takes a mount out of its superblock's queue, its run and its probe.
    fn withdraw(&mut self, key: MountKey) {
        self.settle_for_run(key);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let superblock = slot.mount.device_number;
        slot.asked = Asked::No;
        slot.way_hung = None;
        self.leave_superblock(key, superblock);
    }
}
