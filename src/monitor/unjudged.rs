//! Mounts that are not judged for too long become unknown: `ok` of some minutes ago may no longer be true.

use super::registry::MountEntry;
use super::reports::Reports;
use super::{Health, Monitor, MountSettings, Time};
use platform::MountKey;
use std::collections::VecDeque;
use std::time::Duration;

/// Without a judgement for this many probe intervals, a mount is unknown: one probe may be lost.
const MAX_INTERVALS: u32 = 2;
/// A hang is confirmed within this time after its timeout. A mount that hangs must not become unknown before.
const CONFIRM_ALLOWANCE: Duration = Duration::from_secs(1);

/// Maximum number of stalls that are remembered: on a machine with more of them within two intervals, the oldest count
/// as time in which mounts could have been judged.
const MAX_STALLS: usize = 32;

/// When to look for mounts that were not judged for too long.
#[derive(Default)]
pub(super) struct UnjudgedCheck {
    /// No mount becomes unknown before.
    next: Option<Time>,
    /// Time before this does not count.
    counted_from: Time,
    /// When the monitor did not run, and for how long: no reason to call a mount unknown.
    stalls: VecDeque<(Time, Duration)>,
}

impl UnjudgedCheck {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.next
    }

    /// The monitor did not run for this long.
    pub(super) fn on_stall(&mut self, now: Time, lost: Duration) {
        if self.stalls.len() == MAX_STALLS {
            self.stalls.pop_front();
        }
        self.stalls.push_back((now, lost));
    }

    /// What was known before is outdated for another reason: the time counts from now.
    pub(super) fn restart(&mut self, now: Time) {
        self.counted_from = now;
        self.stalls.clear();
    }

    /// A mount is watched from now on, or its settings changed.
    pub(super) fn on_settings(&mut self, now: Time, settings: &MountSettings) {
        self.check_by(now + longest_wait(settings));
    }

    fn check_by(&mut self, at: Time) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    fn unknown_at(&self, entry: &MountEntry) -> Time {
        let last = entry.judged_at.unwrap_or(entry.since).max(self.counted_from);
        let later = self.stalls.iter().filter(|(at, _)| *at > last);
        let lost = later.fold(Duration::ZERO, |sum, (_, lost)| sum.saturating_add(*lost));
        last + longest_wait(&entry.settings) + lost
    }
}

/// How long a mount may be without a judgement.
fn longest_wait(settings: &MountSettings) -> Duration {
    settings
        .probe_interval
        .saturating_mul(MAX_INTERVALS)
        .saturating_add(settings.timeout)
        .saturating_add(CONFIRM_ALLOWANCE)
}

impl Monitor {
    /// Mounts that were not judged for two intervals become unknown, unless they are dead.
    pub(super) fn check_unjudged(&mut self, now: Time) {
        if self.unjudged.next.is_none_or(|at| at > now) {
            return;
        }
        self.unjudged.next = None;
        let mut overdue: Vec<MountKey> = Vec::new();
        for entry in self.registry.entries() {
            if matches!(entry.health, Health::Hidden | Health::Dead(_) | Health::Unknown { .. }) {
                self.unjudged.check_by(now + longest_wait(&entry.settings));
                continue;
            }
            let at = self.unjudged.unknown_at(entry);
            if at <= now { overdue.push(entry.key()) } else { self.unjudged.check_by(at) }
        }
        for key in overdue {
            self.set_unknown(now, key);
        }
    }

    fn set_unknown(&mut self, now: Time, key: MountKey) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        let event = Reports::on_unknown(now, entry);
        let was = entry.health.as_str();
        self.registry.set_health(now, key, Health::Unknown { was });
        self.end_flapping(now, key);
        self.report(event);
    }

    /// Is it hung, and does a probe of it, or of the mount that blocks it, still wait in the kernel? Then the judgement
    /// is as old as now.
    pub(super) fn is_known_to_hang(&self, entry: &MountEntry) -> bool {
        let Health::Dead(failure) = &entry.health else { return false };
        entry.health.is_hung()
            && (entry.schedule.active_probe().is_some()
                || self.scheduler.is_probed(entry.superblock())
                || failure.blocked_by.is_some() && self.registry.hung_ancestor(entry.key()).is_some())
    }
}
