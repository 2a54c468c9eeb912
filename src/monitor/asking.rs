//! Who is asked, and when: one mount of a superblock at a time, a window of young probes over all, and hung file
//! systems rarely. A probe that waits longer than a short grace gives its place in the window to others, so a
//! thousand hung mounts cost one timeout and not a thousand.

use super::retry;
use super::slot::{Asked, Lead, Phase, Probe, Slot};
use super::{Effect, Health, Monitor, ProbeId, Time, Timer};
use platform::{DeviceNumber, MountKey};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Young probes at a time: enough to keep the prober's threads busy, few enough to keep its queue short.
pub(super) const WINDOW: usize = 256;
/// How long a probe counts as young. Local file systems answer in microseconds, a healthy server in milliseconds.
const GRACE: Duration = Duration::from_millis(20);
/// Unanswered probes at a time, those given up included: each is a thread of about 37 KiB, so 150 MiB at worst.
pub(super) const MAX_UNANSWERED: usize = 4096;
/// An overdue probe whose prober does not say what has become of it is asked about again: it must not be forgotten,
/// whatever goes wrong there.
const CONFIRM_AGAIN: Duration = Duration::from_secs(5);
/// After this many probes in a row that ended without a word, the mount is left unjudged for a while.
const MAX_ABORTED: u32 = 3;
/// For how long.
const ABORTED_PAUSE: Duration = Duration::from_secs(10);

impl Monitor {
    /// Asks a mount as soon as may be, unless it is being asked or is known to hang.
    pub(super) fn ask(&mut self, now: Time, key: MountKey) {
        let Some(slot) = self.slots.get(&key).filter(|slot| !slot.hidden) else { return };
        if self.is_awaited(slot) {
            if slot.health.is_hung() {
                self.settle_for_run(key); // its standing verdict counts until it answers
            }
            return;
        }
        let superblock = slot.mount.device_number;
        if slot.asked != Asked::No {
            return self.settle_for_run(key); // given up; its end is noticed
        }
        if slot.way_hung.is_some() {
            self.timers.set_if_none(Timer::Ask(key), now); // asked again by its own timer, which is not to be lost
            return self.settle_for_run(key);
        }
        if let Some(outer) = self.hung_on_the_way(key) {
            return self.blame_the_way(now, key, outer);
        }
        if let Some(hang) = self.superblocks.entry(superblock).or_default().hung {
            if slot_is_new(self.slots.get(&key)) {
                self.judge_hung(now, key, hang.call, hang.waited, None);
            }
            if self.superblocks.get(&superblock).is_some_and(|shared| shared.lead.is_none()) {
                self.timers.set_if_none(Timer::Retry(superblock), now);
            }
            return self.settle_for_run(key); // asked again by its superblock's timer
        }
        self.enqueue(key, superblock);
    }

    fn enqueue(&mut self, key: MountKey, superblock: DeviceNumber) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.asked = Asked::Waiting;
        let shared = self.superblocks.entry(superblock).or_default();
        if shared.lead.is_some() {
            shared.waiting.push_back(key);
        } else {
            shared.lead = Some(Lead::Queued(key));
            self.ready.push_back(key);
        }
    }

    /// Starts what the window has room for.
    pub(super) fn start_ready(&mut self, now: Time) {
        while self.young < WINDOW && self.probes.len() < MAX_UNANSWERED {
            let Some(key) = self.ready.pop_front() else { return };
            let Some(slot) = self.slots.get(&key).filter(|slot| slot.asked == Asked::Waiting) else {
                continue;
            };
            let superblock = slot.mount.device_number;
            if let Some(outer) = self.hung_on_the_way(key) {
                self.pass_on_the_lead(superblock);
                self.blame_the_way(now, key, outer);
                continue;
            }
            self.start(now, key, superblock);
        }
        // No place will become free soon: those who wait are left unjudged.
        if self.given_up + WINDOW >= MAX_UNANSWERED && self.young == 0 {
            while let Some(key) = self.ready.pop_front() {
                self.leave_unjudged(now, key);
            }
        }
    }

    fn start(&mut self, now: Time, key: MountKey, superblock: DeviceNumber) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let shared = self.superblocks.entry(superblock).or_default();
        let known = shared.hung.or(slot.way_hung);
        let patience = match known {
            None => slot.settings.timeout,
            Some(hang) => retry::patience(
                retry::pause(hang.retries, &slot.settings),
                now - hang.last_full,
                &slot.settings,
            ),
        };
        self.last_probe += 1;
        let probe = ProbeId(self.last_probe);
        slot.asked = Asked::Probe(probe);
        self.count.asked(slot.counted);
        shared.lead = Some(Lead::Asking(probe));
        let target = Arc::clone(&slot.target);
        let deadline = now + patience;
        self.young += 1;
        self.growing_old.push_back((now + GRACE, probe));
        if patience <= GRACE {
            self.timers.set(Timer::Probe(probe), deadline);
        }
        let suspect_at = known.is_none().then_some(now + patience / 2);
        self.probes
            .insert(probe, Probe { key, superblock, patience, deadline, suspect_at, phase: Phase::Young });
        self.effects.push_back(Effect::StartProbe { probe, target });
    }

    /// Young probes whose grace is over grow old. Most have been answered by then and cost no timer.
    pub(super) fn end_grace(&mut self, now: Time) {
        while let Some(&(at, id)) = self.growing_old.front() {
            let young = self.probes.get(&id).is_some_and(|probe| probe.phase == Phase::Young);
            if young && at > now {
                return;
            }
            self.growing_old.pop_front();
            if young {
                self.probe_timer(now, id);
            }
        }
    }

    /// A probe is no longer young, or overdue.
    pub(super) fn probe_timer(&mut self, now: Time, id: ProbeId) {
        let Some(probe) = self.probes.get_mut(&id) else { return };
        match probe.phase {
            Phase::Young => {
                probe.phase = Phase::Old;
                self.young -= 1;
            }
            Phase::Old | Phase::Confirming => {}
            Phase::Condemned | Phase::Lost => return,
        }
        let suspicious = probe.suspect_at.take_if(|at| *at <= now).is_some();
        if probe.deadline > now {
            self.timers.set(Timer::Probe(id), probe.next());
        } else {
            probe.phase = Phase::Confirming;
            self.timers.set(Timer::Probe(id), now + CONFIRM_AGAIN);
            self.effects.push_back(Effect::ConfirmHang { probe: id });
        }
        if suspicious {
            self.suspect(now, id);
        }
    }

    /// A mount's own timer: its interval, or its death by an error, or a hang on its way.
    pub(super) fn own_timer(&mut self, now: Time, key: MountKey) {
        let Some(slot) = self.slots.get(&key) else { return };
        if slot.pause != self.interval {
            self.timers.set(Timer::Ask(key), now + slot.pause);
        }
        let superblock = slot.mount.device_number;
        if slot.way_hung.is_some() && slot.asked == Asked::No && !slot.hidden {
            let Some(outer) = self.hung_on_the_way(key) else { return self.enqueue(key, superblock) };
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.way_hung = None; // asked again when the outer one answers
            }
            return self.blame_the_way(now, key, outer);
        }
        self.ask(now, key);
    }

    /// Asks a hung file system again, by one of its mounts.
    pub(super) fn retry(&mut self, now: Time, superblock: DeviceNumber) {
        let Some(shared) = self.superblocks.get(&superblock) else { return };
        if shared.lead.is_some() || shared.hung.is_none() {
            return;
        }
        let members: Vec<MountKey> = shared.members.clone();
        let free = members.iter().copied().find(|&key| self.hung_on_the_way(key).is_none());
        match (free, members.first()) {
            (Some(key), _) => self.enqueue(key, superblock),
            (None, Some(key)) => {
                let pause = self.slots.get(key).map_or(self.interval, |slot| slot.settings.poll_interval);
                self.timers.set(Timer::Retry(superblock), now + pause);
            }
            (None, None) => {}
        }
    }

    /// Takes a probe that ended out of all books and returns what it was.
    pub(super) fn close_probe(&mut self, id: ProbeId) -> Option<Probe> {
        let probe = self.probes.remove(&id)?;
        match probe.phase {
            Phase::Young => self.young -= 1,
            Phase::Old | Phase::Confirming => self.timers.cancel(Timer::Probe(id)),
            Phase::Condemned | Phase::Lost => self.given_up -= 1,
        }
        if let Some(slot) = self.slots.get_mut(&probe.key)
            && slot.asked == Asked::Probe(id)
        {
            slot.asked = Asked::No;
        }
        let leads = self.superblocks.get(&probe.superblock).is_some_and(|s| s.lead == Some(Lead::Asking(id)));
        if leads {
            self.pass_on_the_lead(probe.superblock);
        }
        Some(probe)
    }

    /// The next of a superblock's mounts is asked, before others: its storage has just answered.
    pub(super) fn pass_on_the_lead(&mut self, superblock: DeviceNumber) {
        let Some(shared) = self.superblocks.get_mut(&superblock) else { return };
        shared.lead = shared.waiting.pop_front().map(Lead::Queued);
        if let Some(Lead::Queued(key)) = shared.lead {
            self.ready.push_front(key);
        }
        self.drop_if_unused(superblock);
    }

    /// A mount is no longer one of its superblock's that are watched.
    pub(super) fn leave_superblock(&mut self, key: MountKey, superblock: DeviceNumber) {
        let Some(shared) = self.superblocks.get_mut(&superblock) else { return };
        shared.leave(key);
        shared.waiting.retain(|&other| other != key);
        if shared.lead == Some(Lead::Queued(key)) {
            self.ready.retain(|&other| other != key);
            self.pass_on_the_lead(superblock);
        }
        self.drop_if_unused(superblock);
    }

    /// Nothing is remembered of a superblock that no mount and no probe belongs to.
    fn drop_if_unused(&mut self, superblock: DeviceNumber) {
        if self.superblocks.get(&superblock).is_some_and(|s| s.members.is_empty() && s.lead.is_none()) {
            let gone = self.superblocks.remove(&superblock);
            self.collecting -= usize::from(gone.is_some_and(|shared| shared.collecting));
            self.timers.cancel(Timer::Retry(superblock));
            self.timers.cancel(Timer::Evidence(superblock));
        }
    }

    /// A probe ended without a word about its mount: ask again, but not for ever.
    pub(super) fn aborted(&mut self, now: Time, id: ProbeId) {
        let Some(probe) = self.close_probe(id) else { return };
        let Some(slot) = self.slots.get_mut(&probe.key).filter(|slot| slot.asked == Asked::No) else {
            return;
        };
        slot.aborted += 1;
        if slot.hidden {
            return;
        }
        if slot.aborted >= MAX_ABORTED {
            return self.leave_unjudged(now, probe.key);
        }
        self.enqueue(probe.key, probe.superblock);
    }

    pub(super) fn leave_unjudged(&mut self, now: Time, key: MountKey) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        (slot.aborted, slot.asked) = (0, Asked::No);
        let superblock = slot.mount.device_number;
        self.run.unjudged += usize::from(slot.run.is_some());
        self.settle_for_run(key);
        if let Some(shared) = self.superblocks.get_mut(&superblock) {
            if shared.lead == Some(Lead::Queued(key)) {
                self.pass_on_the_lead(superblock);
            } else {
                shared.waiting.retain(|&other| other != key);
            }
        }
        let hung = self.superblocks.get(&superblock).is_some_and(|shared| shared.hung.is_some());
        let timer = if hung { Timer::Retry(superblock) } else { Timer::Ask(key) };
        self.timers.set(timer, now + ABORTED_PAUSE.min(self.interval));
    }

    /// Time in which this process did not run is nobody's delay.
    pub(super) fn give_time_back(&mut self, lost: Duration) {
        for (id, probe) in &mut self.probes {
            if matches!(probe.phase, Phase::Young | Phase::Old) {
                probe.deadline = probe.deadline + lost;
                probe.suspect_at = probe.suspect_at.map(|at| at + lost);
                if probe.phase == Phase::Old {
                    self.timers.set(Timer::Probe(*id), probe.next());
                }
            }
        }
    }

    /// The outermost mount through which this one's path leads and that is itself hung.
    pub(super) fn hung_on_the_way(&self, key: MountKey) -> Option<PathBuf> {
        if self.hung == 0 {
            return None;
        }
        let mut outermost = None;
        self.walk_up(key, |slot| {
            if slot.health.is_hung() {
                outermost = Some(slot.mount.mountpoint.clone());
            }
        });
        outermost
    }

    /// When the last of those mounts on the way that have not answered yet will have to.
    pub(super) fn awaited_on_the_way(&self, now: Time, key: MountKey) -> Option<Time> {
        let mut latest = None;
        self.walk_up(key, |slot| {
            if let Asked::Probe(id) = slot.asked
                && let Some(probe) = self.probes.get(&id)
                && matches!(probe.phase, Phase::Old | Phase::Confirming)
            {
                latest = latest.max(Some(probe.deadline.max(now)));
            }
        });
        latest
    }

    fn walk_up(&self, key: MountKey, mut visit: impl FnMut(&Slot)) {
        let Some(mut mount) = self.table.get(key) else { return };
        // A table read while it changes need not be a tree: no way is longer than the table.
        for _ in 0..self.table.len() {
            let Some(parent) = self.by_id.get(&mount.parent).and_then(|&key| self.table.get(key)) else {
                return;
            };
            if parent.key == mount.key {
                return;
            }
            if let Some(slot) = self.slots.get(&parent.key) {
                visit(slot);
            }
            mount = parent;
        }
    }

    /// Is an answer of this mount still to come, one that anybody counts on?
    pub(super) fn is_awaited(&self, slot: &Slot) -> bool {
        match slot.asked {
            Asked::No => false,
            Asked::Waiting => true,
            Asked::Probe(id) => self
                .probes
                .get(&id)
                .is_some_and(|probe| !matches!(probe.phase, Phase::Condemned | Phase::Lost)),
        }
    }

    pub(super) fn waiting_since(&self, slot: &Slot) -> Option<Time> {
        let Asked::Probe(id) = slot.asked else { return None };
        let probe = self.probes.get(&id)?;
        Some(Time::after_start(probe.deadline.since_start().saturating_sub(probe.patience)))
    }
}

fn slot_is_new(slot: Option<&Slot>) -> bool {
    slot.is_some_and(|slot| slot.health == Health::Pending)
}
