//! What an answer means, or the lack of one; and what people are told of it.

use super::evidence::BEFORE_REMINDER;
use super::slot::{Asked, Hang, Lead, Phase, Slot};
use super::{Event, Failure, Health, LastResponse, Monitor, ProbeId, Reason, Time, Timer, retry};
use platform::{Call, DeviceNumber, Errno, MountKey, ProbeOutcome, Usage};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A mount that is slow now and then is told at most this often.
const SLOW_QUIET: Duration = Duration::from_secs(600);
/// A mount below one that has not answered yet waits this much longer for its own verdict: one hang, one alarm.
const AFTER_THE_OUTER: Duration = Duration::from_millis(20);
/// Answers in a row that say nothing by themselves before they are believed: nobody interrupts each probe, and a machine
/// that is short of memory for so long has other mounts fail too.
const MAX_NOTHING: u32 = 3;
/// Probes in a row that reach another mount before that is believed.
const MAX_ELSEWHERE: u32 = 2;

/// What an outcome says.
enum Meaning {
    Alive(Option<Usage>),
    Dead(Call, Errno),
    Refused(Call, Errno),
    /// Nothing about this mount: another was reached.
    WrongMount,
    /// Nothing, the first times: the call was interrupted or this machine is short of something.
    Nothing(Call, Errno),
}

fn meaning(outcome: ProbeOutcome) -> Meaning {
    match outcome {
        ProbeOutcome::Alive(usage) => Meaning::Alive(Some(usage)),
        ProbeOutcome::WrongMount => Meaning::WrongMount,
        ProbeOutcome::Failed { call, errno } => match errno {
            // `umount -f` interrupts a probe with 512 (NFS); a signal with EINTR.
            Errno::EINTR | Errno::RESTART | Errno::ENOMEM | Errno::ENFILE | Errno::EMFILE => {
                Meaning::Nothing(call, errno)
            }
            // The kernel itself says no, or cannot carry the path: storage was not asked.
            Errno::EACCES | Errno::EPERM | Errno::ENAMETOOLONG => Meaning::Refused(call, errno),
            // A server without this call has answered.
            Errno::ENOSYS | Errno::EOPNOTSUPP => Meaning::Alive(None),
            _ => Meaning::Dead(call, errno),
        },
    }
}

impl Monitor {
    /// A probe ended with an outcome, in time or late.
    pub(super) fn answered(&mut self, now: Time, id: ProbeId, outcome: ProbeOutcome, took: Duration) {
        let meant = self.probes.get(&id).map(|probe| probe.key);
        let asked = meant.and_then(|key| self.slots.get(&key)).is_some_and(|s| s.asked == Asked::Probe(id));
        let Some(probe) = self.close_probe(id) else { return };
        if let Some(slot) = self.slots.get(&probe.key) {
            self.count.answered(slot.counted, &outcome, took);
        }
        let mut meaning = meaning(outcome);
        if let Meaning::Nothing(call, errno) = meaning
            && let Some(slot) = self.slots.get_mut(&probe.key).filter(|_| asked)
        {
            slot.nothing = slot.nothing.saturating_add(1);
            if slot.nothing >= MAX_NOTHING {
                meaning = Meaning::Dead(call, errno);
            }
        }
        match meaning {
            Meaning::Nothing(..) => return self.not_understood(now, probe.key, probe.superblock, asked),
            Meaning::WrongMount => return self.reached_another(now, probe.key, probe.superblock, asked),
            Meaning::Alive(_) | Meaning::Dead(..) | Meaning::Refused(..) => {}
        }
        let late = |slot: &Slot| slot.health.is_hung() && took > slot.settings.timeout;
        if matches!(meaning, Meaning::Alive(_)) && asked && self.slots.get(&probe.key).is_some_and(late) {
            // It answers, but not in time: asked afresh, so that storage at the edge of its timeout does not die and
            // recover all the time.
            self.settle_for_run(probe.key);
            return self.ask_after_a_hang(now, probe.key, probe.superblock);
        }
        if let Some(slot) = self.slots.get_mut(&probe.key).filter(|_| asked) {
            (slot.way_hung, slot.aborted, slot.elsewhere) = (None, 0, 0);
            match meaning {
                Meaning::Alive(usage) => self.judge_alive(now, probe.key, usage, took),
                Meaning::Dead(call, errno) => {
                    slot.answered = Some(LastResponse { at: now, took, usage: None });
                    self.judge_dead_by(now, probe.key, call, errno);
                }
                Meaning::Refused(call, errno) => self.judge_refused(now, probe.key, call, errno),
                Meaning::Nothing(..) | Meaning::WrongMount => {}
            }
            self.settle_for_run(probe.key);
        }
        self.superblock_answers(now, probe.superblock, probe.key);
    }

    /// A file system that hung says something again: all its other mounts are asked.
    fn superblock_answers(&mut self, now: Time, superblock: DeviceNumber, by: MountKey) {
        let Some(shared) = self.superblocks.get_mut(&superblock) else { return };
        if shared.hung.take().is_some() {
            self.timers.cancel(Timer::Retry(superblock));
            let members: Vec<MountKey> = shared.members.clone();
            for key in members.into_iter().filter(|&key| key != by) {
                self.ask(now, key);
            }
        }
    }

    fn judge_alive(&mut self, now: Time, key: MountKey, usage: Option<Usage>, took: Duration) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.answered = Some(LastResponse { at: now, took, usage });
        (slot.retries, slot.nothing) = (0, 0);
        if let Some(shared) = self.superblocks.get_mut(&slot.mount.device_number) {
            shared.evidence = None; // about a trouble that is over
            if slot.health.failure().is_some() {
                shared.collected_at = None; // it was worth it; only suspicions in vain make us slow to look again
            }
        }
        // The kernel may go read-only without an event (`errors=remount-ro`): the table is then out of date.
        if let Some(usage) = usage
            && usage.read_only != slot.read_only
            && slot.doubted_read_only != Some(usage.read_only)
        {
            slot.doubted_read_only = Some(usage.read_only);
            self.doubt = Some(super::TableDoubt::Contradicted);
        }
        let slow = took > slot.settings.slow_after;
        let (was, mount) = (slot.health.as_str(), Arc::clone(&slot.mount));
        let was_dead = slot.health.failure().is_some();
        let slow_after = slot.settings.slow_after;
        let (told_dead, told_slow) = (slot.told_dead.take(), slot.told_slow);
        let lasted = now - told_dead.unwrap_or(slot.since);
        let tell_slow = slow && !was_dead && !told_slow && now >= slot.slow_quiet_until;
        slot.told_slow = slow && (told_slow || tell_slow);
        if tell_slow {
            slot.slow_quiet_until = now + SLOW_QUIET;
        }
        self.set_health(now, key, if slow { Health::Slow } else { Health::Ok });
        if told_dead.is_some() || (told_slow && !slow) {
            let was = if was_dead || told_dead.is_none() { was } else { "failed" };
            self.report(Event::Recovered { mount, lasted, took, was });
        } else if tell_slow {
            self.report(Event::Slow { mount, took, slow_after });
        }
    }

    fn judge_dead_by(&mut self, now: Time, key: MountKey, call: Call, errno: Errno) {
        let reason = Reason::of(errno);
        let (call, errno) = (Some(call), Some(errno));
        self.judge_dead(
            now,
            key,
            Failure { reason, errno, call, waited: Duration::ZERO, blocked_by: None, evidence: None },
            true,
        );
        if let Some(slot) = self.slots.get_mut(&key) {
            let pause = retry::pause(slot.retries, &slot.settings);
            let pause = self.spread.jittered(pause, key.0, slot.retries);
            slot.retries = slot.retries.saturating_add(1);
            self.timers.set(Timer::Ask(key), now + pause);
        }
    }

    pub(super) fn judge_hung(
        &mut self,
        now: Time,
        key: MountKey,
        call: Call,
        waited: Duration,
        blocked_by: Option<PathBuf>,
    ) {
        let tell = blocked_by.is_none();
        let failure = Failure {
            reason: Reason::Hung,
            errno: None,
            call: Some(call),
            waited,
            blocked_by,
            evidence: None,
        };
        self.judge_dead(now, key, failure, tell);
    }

    /// Dead from now on, or dead as before. What lies behind a hung mount is not told: its cause is.
    fn judge_dead(&mut self, now: Time, key: MountKey, mut failure: Failure, tell: bool) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let superblock = slot.mount.device_number;
        if failure.blocked_by.is_none() {
            let shared = self.superblocks.get(&superblock);
            failure.evidence = match slot.health.failure() {
                Some(_) => shared.and_then(|shared| shared.evidence.clone()),
                None => shared.and_then(|shared| shared.fresh_evidence(now)),
            };
        }
        let mount = Arc::clone(&slot.mount);
        self.count.failed(slot.counted, failure.reason);
        let before = slot.health.failure().map(|failure| failure.reason);
        let dead_since = if before.is_some() { slot.since } else { now };
        let told = slot.told_dead.is_some();
        slot.told_slow = false;
        if tell && !told {
            (slot.told_dead, slot.reminders) = (Some(dead_since), 0);
        }
        let lasted = now - slot.told_dead.unwrap_or(dead_since);
        let reason = 1 << failure.reason as u8;
        let new_reason = slot.told_reasons & reason == 0;
        if tell {
            slot.told_reasons = if told { slot.told_reasons | reason } else { reason };
        }
        self.set_health(now, key, Health::Dead(failure.clone()));
        if !tell {
            return;
        }
        if !told {
            self.set_reminder(now, key, superblock, 0);
            self.report(Event::Failed { mount, failure });
            self.collect_at_death(now, key);
        } else if before.is_none() || new_reason {
            self.report(Event::StillFailing { mount, failure, lasted });
        }
    }

    fn judge_refused(&mut self, now: Time, key: MountKey, call: Call, errno: Errno) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let mount = Arc::clone(&slot.mount);
        let told = std::mem::replace(&mut slot.told_denied, true);
        // Told once, and again when it ends what was told to be dead.
        let was_dead = slot.told_dead.take().is_some();
        self.set_health(now, key, Health::Denied(errno));
        if !told || was_dead {
            self.report(Event::Denied { mount, errno, call });
        }
    }

    /// A hang on the way to a mount is told of the outer one alone.
    pub(super) fn blame_the_way(&mut self, now: Time, key: MountKey, outer: PathBuf) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.asked = Asked::No;
        }
        self.judge_hung(now, key, Call::Identify, Duration::ZERO, Some(outer));
        self.settle_for_run(key);
    }

    fn not_understood(&mut self, now: Time, key: MountKey, superblock: DeviceNumber, asked: bool) {
        let hung = self.superblocks.get(&superblock).is_some_and(|shared| shared.hung.is_some());
        if hung {
            self.timers.set(Timer::Retry(superblock), now + self.first_pause(key));
            self.settle_for_run(key);
        } else if asked {
            self.leave_unjudged(now, key);
        }
    }

    /// The path leads to another mount: the table is behind, or the mount is out of reach.
    fn reached_another(&mut self, now: Time, key: MountKey, superblock: DeviceNumber, asked: bool) {
        self.doubt = Some(super::TableDoubt::Contradicted);
        let pause = self.first_pause(key);
        if self.superblocks.get(&superblock).is_some_and(|shared| shared.hung.is_some()) {
            self.timers.set(Timer::Retry(superblock), now + pause);
        }
        let Some(slot) = self.slots.get_mut(&key).filter(|_| asked) else { return };
        slot.elsewhere = slot.elsewhere.saturating_add(1);
        let believed = slot.elsewhere >= MAX_ELSEWHERE && slot.health.failure().is_none();
        if !believed {
            self.timers.set(Timer::Ask(key), now + pause);
        } else if slot.health != Health::Hidden {
            self.set_health(now, key, Health::Hidden);
        }
        self.settle_for_run(key);
    }

    fn first_pause(&self, key: MountKey) -> Duration {
        self.slots.get(&key).map_or(self.interval, |slot| retry::pause(0, &slot.settings))
    }

    /// The prober says that an overdue probe is inside a call.
    pub(super) fn stuck(&mut self, now: Time, id: ProbeId, call: Call, elapsed: Duration) {
        let Some(probe) = self.probes.get(&id) else { return };
        if probe.phase != Phase::Confirming {
            return;
        }
        let (key, superblock, patience) = (probe.key, probe.superblock, probe.patience);
        let outer = self.hung_on_the_way(key);
        let wait_until = if elapsed < patience {
            Some(now + (patience - elapsed)) // its thread began late
        } else if outer.is_none() {
            self.awaited_on_the_way(now, key).map(|deadline| deadline + AFTER_THE_OUTER)
        } else {
            None
        };
        let Some(probe) = self.probes.get_mut(&id) else { return };
        if let Some(at) = wait_until {
            (probe.phase, probe.deadline) = (Phase::Old, at);
            return self.timers.set(Timer::Probe(id), at);
        }
        probe.phase = Phase::Condemned;
        self.timers.cancel(Timer::Probe(id));
        self.given_up += 1;
        self.effects.push_back(super::Effect::AbandonProbe { probe: id });
        // Before a mount is reached, the path alone can hang: then its file system is not to blame, and its other
        // mounts need not wait for a path that is not theirs.
        if call == Call::Identify || outer.is_some() {
            if self.superblocks.get(&superblock).is_some_and(|s| s.lead == Some(Lead::Asking(id))) {
                self.pass_on_the_lead(superblock);
            }
            self.way_hangs(now, id, key, elapsed, patience, outer);
        } else {
            self.superblock_hangs(now, superblock, call, elapsed, patience);
        }
    }

    fn superblock_hangs(
        &mut self,
        now: Time,
        superblock: DeviceNumber,
        call: Call,
        elapsed: Duration,
        patience: Duration,
    ) {
        let Some(shared) = self.superblocks.get_mut(&superblock) else { return };
        shared.waiting.clear();
        let members: Vec<MountKey> = shared.members.clone();
        if let Some(hang) = &mut shared.hung {
            hang.retries = hang.retries.saturating_add(1);
            hang.given_up = now;
            let timeout = members.first().and_then(|key| self.slots.get(key)).map(|s| s.settings.timeout);
            if timeout.is_none_or(|timeout| patience >= timeout) {
                hang.last_full = now;
            }
        } else {
            shared.hung = Some(Hang { call, waited: elapsed, retries: 0, last_full: now, given_up: now });
        }
        for key in members {
            if let Some(slot) = self.slots.get_mut(&key)
                && slot.asked == Asked::Waiting
            {
                slot.asked = Asked::No;
                slot.way_hung = None; // asked again with the others, when the file system answers
            }
            if self.slots.get(&key).is_some_and(|slot| !slot.health.is_hung()) {
                self.judge_hung(now, key, call, elapsed, None);
            }
            self.settle_for_run(key);
        }
    }

    fn way_hangs(
        &mut self,
        now: Time,
        id: ProbeId,
        key: MountKey,
        elapsed: Duration,
        patience: Duration,
        outer: Option<PathBuf>,
    ) {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.asked == Asked::Probe(id)) else {
            return;
        };
        let (retries, before) =
            slot.way_hung.map_or((0, now), |hang| (hang.retries.saturating_add(1), hang.last_full));
        let last_full = if patience >= slot.settings.timeout { now } else { before };
        slot.way_hung =
            Some(Hang { call: Call::Identify, waited: elapsed, retries, last_full, given_up: now });
        self.judge_hung(now, key, Call::Identify, elapsed, outer);
        self.settle_for_run(key);
    }

    /// A condemned probe resists: nothing of its file system is asked until it is gone.
    pub(super) fn lost(&mut self, id: ProbeId) {
        if let Some(probe) = self.probes.get_mut(&id)
            && probe.phase == Phase::Condemned
        {
            probe.phase = Phase::Lost;
        }
    }

    /// A condemned probe is gone: its mount may be asked again.
    pub(super) fn freed(&mut self, now: Time, id: ProbeId) {
        let Some(probe) = self.close_probe(id) else { return };
        self.ask_after_a_hang(now, probe.key, probe.superblock);
    }

    /// Asks what hung again when the pause since it was given up is over: at once if that is long ago, as when a probe
    /// that could not be killed is let go at last.
    fn ask_after_a_hang(&mut self, now: Time, key: MountKey, superblock: DeviceNumber) {
        let slot = self.slots.get(&key);
        let again = |hang: &Hang| {
            // Its mount may be gone meanwhile; its brothers are still waiting for a word.
            let pause = slot.map_or(Duration::ZERO, |slot| retry::pause(hang.retries, &slot.settings));
            now.max(hang.given_up + self.spread.jittered(pause, key.0, hang.retries))
        };
        if let Some(hang) = slot.and_then(|slot| slot.way_hung.as_ref()) {
            self.timers.set(Timer::Ask(key), again(hang));
        }
        // Also where the way was to blame: the file system itself is still owed an answer.
        if let Some(hang) = self.superblocks.get(&superblock).and_then(|shared| shared.hung) {
            self.timers.set(Timer::Retry(superblock), again(&hang));
        }
    }

    /// Tells that a mount is still dead.
    pub(super) fn remind(&mut self, now: Time, key: MountKey) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(failure) = slot.health.failure().cloned() else { return };
        slot.reminders = slot.reminders.saturating_add(1);
        let (mount, lasted) = (Arc::clone(&slot.mount), now - slot.since);
        let reminders = slot.reminders;
        self.set_reminder(now, key, mount.device_number, reminders);
        self.report(Event::StillFailing { mount, failure, lasted });
    }

    fn set_reminder(&mut self, now: Time, key: MountKey, superblock: DeviceNumber, reminders: u32) {
        let pause = retry::reminder(reminders);
        self.timers.set(Timer::Remind(key), now + pause);
        self.timers.set(Timer::Evidence(superblock), now + pause.saturating_sub(BEFORE_REMINDER));
    }

    /// Changes the health of a mount; how long it has been dead does not depend on the reason.
    pub(super) fn set_health(&mut self, now: Time, key: MountKey, health: Health) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let before = std::mem::replace(&mut slot.health, health.clone());
        self.health_revision += u64::from(before != health);
        let same = before == health || (before.failure().is_some() && health.failure().is_some());
        if !same {
            slot.since = now;
        }
        if health.failure().is_none() {
            self.timers.cancel(Timer::Remind(key));
        }
        self.note_hung(&before, &health);
    }

    pub(super) fn note_hung(&mut self, before: &Health, after: &Health) {
        self.hung += usize::from(after.is_hung());
        self.hung -= usize::from(before.is_hung());
        self.way_is_free |= before.is_hung() && !after.is_hung();
    }

    /// Mounts that were out of reach behind a hung one may be in reach again.
    pub(super) fn ask_what_was_behind(&mut self, now: Time) {
        let behind: Vec<MountKey> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.health.failure().is_some_and(|f| f.blocked_by.is_some()))
            .filter(|(_, slot)| slot.way_hung.is_none())
            .map(|(key, _)| *key)
            .collect();
        for key in behind {
            self.ask(now, key);
        }
    }
}
