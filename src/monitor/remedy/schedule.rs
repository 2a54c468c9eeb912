//! When the daemon makes an attempt to remedy a mount. Whether one is permitted, and what it does, is decided in the child
//! that makes it, from facts that are fresh then.

use super::attempts::{MAX_RUNNING, Outcome};
use super::facts::Death;
use super::report::{MountRemedy, RemedyOverview, RemedyReport, RemedyTotals};
use super::settings::{Mode, RemedySettings};
use crate::backoff::Backoff;
use crate::monitor::{Failure, Reason, Time, server_name};
use platform::{DeviceNumber, Mount, MountKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Pauses before a refused or failed attempt is made again. What forbids one may end by itself within seconds, or never:
/// looking costs a few processes.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// After a failed attempt: a server that is being started needs a minute.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// Mounts that are not dead any more, and what was done about them, are kept for so long and so many: for people who look
/// later, and so that a mount that dies again and again is not remedied, and reported, each time.
const KEEP_ENDED: Duration = Duration::from_secs(3_600);
const MAX_ENDED: usize = 100;

/// A mount that is dead for a reason of its own.
#[derive(Clone, Copy, Debug)]
pub struct DeadMount<'m> {
    pub mount: &'m Arc<Mount>,
    pub failure: &'m Failure,
    pub since: Time,
}

/// An attempt to be made now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptOrder {
    pub mount: Arc<Mount>,
    pub settings: RemedySettings,
    pub death: Death,
}

/// How the process of an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttemptEnd {
    /// After its last report, or without any because the mount is not dead any more.
    Finished,
    /// It cannot say how far it has come. In words.
    Died(String),
}

/// The dead mounts with a remedy, and their attempts.
#[derive(Debug, Default)]
pub struct RemedySchedule {
    entries: BTreeMap<MountKey, Entry>,
    totals: RemedyTotals,
}

#[derive(Debug)]
struct Entry {
    mount: Arc<Mount>,
    settings: RemedySettings,
    failure: Failure,
    since: Time,
    /// Since when it is dead for this reason.
    reason_since: Time,
    backoff: Backoff<Time>,
    /// `None`: a dry run was made, and no other follows for this death.
    not_before: Option<Time>,
    is_dead: bool,
    is_running: bool,
    /// The attempt has reported how it ended.
    has_ended: bool,
    last: Option<(RemedyReport, Time)>,
}

/// Mounts of one server are remedied one after another.
#[derive(PartialEq, Eq)]
enum Server<'m> {
    Named(&'m [u8]),
    Superblock(DeviceNumber),
}

impl<'m> Server<'m> {
    fn of(mount: &'m Mount) -> Server<'m> {
        server_name(mount).map_or(Server::Superblock(mount.device_number), Server::Named)
    }
}

impl Entry {
    fn new(dead: DeadMount<'_>, settings: RemedySettings, now: Time) -> Entry {
        Entry {
            mount: Arc::clone(dead.mount),
            settings,
            failure: dead.failure.clone(),
            since: dead.since,
            // Its reason may have changed before it was seen here.
            reason_since: if dead.failure.reason == Reason::Stale { now } else { dead.since },
            backoff: Backoff::new(FIRST_PAUSE, MAX_PAUSE),
            not_before: Some(now),
            is_dead: true,
            is_running: false,
            has_ended: false,
            last: None,
        }
    }

    /// The dead mount has these settings now, and this failure.
    fn update(&mut self, dead: DeadMount<'_>, settings: RemedySettings, now: Time) {
        let is_new_death = !self.is_dead || dead.since != self.since;
        if is_new_death || dead.failure.reason != self.failure.reason {
            self.reason_since = now;
        }
        if self.settings != settings {
            self.retry(now); // it may permit more
        } else if is_new_death && self.not_before.is_none() && !self.is_running {
            let reported_at = self.last.as_ref().map(|(_, at)| *at + MAX_PAUSE);
            self.not_before = Some(reported_at.map_or(now, |at| at.max(now)));
        }
        self.settings = settings;
        self.mount = Arc::clone(dead.mount);
        self.failure = dead.failure.clone();
        self.since = dead.since;
        self.is_dead = true;
    }

    fn retry(&mut self, now: Time) {
        self.not_before = Some(now);
        let _ = self.backoff.reset();
    }

    /// When the next attempt may begin.
    fn due(&self) -> Option<Time> {
        let not_before = self.not_before.filter(|_| self.is_dead && !self.is_running)?;
        // The server may only be moving to another machine while it does not know its clients.
        let since =
            if self.failure.reason == Reason::Stale { self.since.max(self.reason_since) } else { self.since };
        Some(not_before.max(since + self.settings.after))
    }

    fn order(&self, now: Time) -> AttemptOrder {
        let Failure { reason, errno, call, .. } = self.failure;
        let lasted = now - self.since;
        let stale_for = if reason == Reason::Stale { now - self.reason_since } else { Duration::ZERO };
        let death = Death { key: self.mount.key, reason, errno, call, lasted, stale_for };
        AttemptOrder { mount: Arc::clone(&self.mount), settings: self.settings.clone(), death }
    }

    fn remedy(&self) -> MountRemedy {
        MountRemedy {
            mount: Arc::clone(&self.mount),
            mode: self.settings.mode,
            is_running: self.is_running,
            next_attempt: self.due(),
            last: self.last.clone(),
        }
    }

    /// Whether it says what was said before: a refusal for the same reasons, or that nothing more is tried.
    fn is_known(&self, report: &RemedyReport) -> bool {
        let RemedyReport::Refused { reasons, .. } = report else { return false };
        match &self.last {
            Some((RemedyReport::Refused { reasons: before, .. }, _)) => {
                let guards = |reasons: &[super::RefusalReason]| {
                    reasons.iter().map(|reason| reason.guard.clone()).collect::<Vec<_>>()
                };
                guards(before) == guards(reasons)
            }
            Some((RemedyReport::Failed { gave_up: true, .. }, _)) => {
                reasons.iter().all(|reason| matches!(&*reason.guard, "gave_up" | "attempts_spent"))
            }
            _ => false,
        }
    }
}

impl RemedySchedule {
    /// All mounts that are dead now. `settings` are those of a mount's rule.
    pub fn update<'m>(
        &mut self,
        now: Time,
        dead: impl Iterator<Item = DeadMount<'m>>,
        settings: impl Fn(&Mount) -> Option<RemedySettings>,
    ) {
        let mut before = std::mem::take(&mut self.entries);
        for dead in dead {
            let settings = settings(dead.mount).filter(|settings| settings.mode != Mode::Off);
            let Some(settings) = settings.filter(|_| dead.failure.blocked_by.is_none()) else { continue };
            let key = dead.mount.key;
            let entry = match before.remove(&key) {
                Some(mut entry) => {
                    entry.update(dead, settings, now);
                    entry
                }
                None => Entry::new(dead, settings, now),
            };
            self.entries.insert(key, entry);
        }
        for (key, mut entry) in before {
            entry.is_dead = false;
            self.entries.insert(key, entry);
        }
        self.forget_ended(now);
    }

    fn forget_ended(&mut self, now: Time) {
        let ended = self.entries.values().filter(|entry| !entry.is_dead && !entry.is_running);
        let mut times: Vec<Time> = ended.filter_map(|entry| Some(entry.last.as_ref()?.1)).collect();
        times.sort_unstable();
        let oldest = times.len().checked_sub(MAX_ENDED).map(|surplus| times[surplus]);
        let is_recent = |at: Time| now.since(at) < KEEP_ENDED && oldest.is_none_or(|oldest| at >= oldest);
        self.entries.retain(|_, entry| {
            entry.is_dead || entry.is_running || entry.last.as_ref().is_some_and(|(_, at)| is_recent(*at))
        });
    }

    /// The next attempt, if one is to be made now.
    pub fn begin_next(&mut self, now: Time) -> Option<AttemptOrder> {
        let (due, key) = self.next_due()?;
        if due > now {
            return None;
        }
        let entry = self.entries.get_mut(&key)?;
        (entry.is_running, entry.has_ended) = (true, false);
        self.totals.attempts += u64::from(entry.settings.mode == Mode::Act);
        self.totals.dry_runs += u64::from(entry.settings.mode == Mode::DryRun);
        Some(entry.order(now))
    }

    /// When [`RemedySchedule::begin_next`] must be called next, unless something else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.next_due().map(|(due, _)| due)
    }

    fn next_due(&self) -> Option<(Time, MountKey)> {
        let running: Vec<Server<'_>> = self
            .entries
            .values()
            .filter(|entry| entry.is_running)
            .map(|entry| Server::of(&entry.mount))
            .collect();
        if running.len() >= MAX_RUNNING {
            return None;
        }
        let is_free = |entry: &&Entry| !running.contains(&Server::of(&entry.mount));
        let waiting = self.entries.values().filter(is_free);
        waiting.filter_map(|entry| Some((entry.due()?, entry.mount.key))).min()
    }

    /// Takes a report of an attempt. Returns the mount if it is to be reported to others: what they know already is not.
    pub fn take_report(&mut self, now: Time, key: MountKey, report: &RemedyReport) -> Option<Arc<Mount>> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.is_running)?;
        let totals = &mut self.totals;
        let mut pause = entry.backoff.clone();
        match report {
            RemedyReport::Planned { mode: Mode::DryRun, .. } => {
                (entry.has_ended, entry.not_before) = (true, None);
            }
            RemedyReport::Remedied { .. } => {
                totals.remedied += 1;
                // Unless it dies again meanwhile.
                (entry.has_ended, entry.not_before) = (true, Some(now + MAX_PAUSE));
            }
            RemedyReport::Planned { .. } => {}
            RemedyReport::Step(_) => totals.steps += 1,
            RemedyReport::Refused { .. } => {
                totals.refused += 1;
                (entry.has_ended, entry.not_before) = (true, Some(now + pause.next(now)));
            }
            RemedyReport::Failed { outcome, gave_up, .. } => {
                totals.failed += u64::from(*outcome != Outcome::NotMountedAgain);
                totals.gave_up += u64::from(*gave_up);
                // The operator may permit more attempts meanwhile.
                let pause = if *gave_up { MAX_PAUSE } else { pause.next(now).max(FAILURE_PAUSE) };
                (entry.has_ended, entry.not_before) = (true, Some(now + pause));
            }
        }
        entry.backoff = pause;
        if entry.is_known(report) {
            return None;
        }
        entry.last = Some((report.clone(), now));
        Some(Arc::clone(&entry.mount))
    }

    /// The process of an attempt has ended. Returns what is to be reported, if it could not report that itself.
    pub fn end(&mut self, now: Time, key: MountKey, end: AttemptEnd) -> Option<(Arc<Mount>, RemedyReport)> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.is_running)?;
        let mut report = None;
        if let (AttemptEnd::Died(how), false) = (end, entry.has_ended) {
            let advice = format!("{how}; look at the mount, and at the records of the last steps");
            let failed = RemedyReport::Failed { outcome: Outcome::Failed, gave_up: false, advice };
            report = self.take_report(now, key, &failed).map(|mount| (mount, failed));
        }
        let entry = self.entries.get_mut(&key)?;
        entry.is_running = false;
        if !std::mem::replace(&mut entry.has_ended, true) {
            entry.not_before = Some(now + entry.backoff.next(now));
        }
        self.forget_ended(now);
        report
    }

    /// The configuration was loaded again: the operator may have removed what forbade an attempt.
    pub fn retry_all(&mut self, now: Time) {
        for entry in self.entries.values_mut().filter(|entry| entry.not_before.is_some()) {
            entry.retry(now);
        }
    }

    /// There is no mount that has a remedy, or had one lately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A mount that is dead or being remedied.
    #[must_use]
    pub fn mount(&self, key: MountKey) -> Option<&Arc<Mount>> {
        self.entries.get(&key).map(|entry| &entry.mount)
    }

    /// For readers. `rules`: those with a remedy.
    #[must_use]
    pub fn overview(&self, rules: usize) -> RemedyOverview {
        let mounts = self.entries.values().map(Entry::remedy).collect();
        RemedyOverview { rules, mounts, totals: self.totals }
    }
}
