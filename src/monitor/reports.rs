//! Decides what to report about the health of mounts: each change once, and reminders with growing pauses while a mount
//! is dead.

use super::registry::MountEntry;
use super::scheduler::doubled;
use super::timers::Timers;
use super::{Event, Failure, Time};
use platform::{Call, Errno, MountKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The pause before the first reminder about a dead mount; it doubles with each reminder, up to [`MAX_REMINDER_PAUSE`].
const FIRST_REMINDER: Duration = Duration::from_secs(60);
/// The longest pause between reminders.
const MAX_REMINDER_PAUSE: Duration = Duration::from_secs(3600);
/// Minimum interval between reports of a mount that is slow intermittently.
const SLOW_REPORT_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(super) struct Reports {
    pub(super) reminders: Timers<MountKey>,
    /// When to look whether a flapping mount still flaps.
    pub(super) flap_checks: Timers<MountKey>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reported {
    problem: Problem,
    /// The refusal was reported, which happens only once.
    is_denied: bool,
    /// Slowness is not reported before this time.
    slow_again_at: Time,
}

/// The problem that was reported and still exists.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
enum Problem {
    #[default]
    None,
    Slow,
    /// Its storage responds, but its data-path probe was refused.
    Refused {
        since: Time,
        errno: Errno,
    },
    /// It could not be judged.
    Unknown {
        since: Time,
    },
    Dead {
        since: Time,
        /// One bit per reason: a reason that recurs is reported once, and then only by reminders. 0: an earlier daemon may not
        /// have reported it, so the next judgement is reported in any case.
        reasons: u8,
        reminders: u32,
    },
}

/// What was reported about a mount, and when the next reminder is due: what a later daemon must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportState {
    reported: Reported,
    remind_at: Option<Time>,
}

impl ReportState {
    /// A mount was about to be reported dead, or no longer dead, when an earlier daemon ended.
    pub(super) fn in_doubt(since: Time) -> ReportState {
        let problem = Problem::Dead { since, reasons: 0, reminders: 0 };
        ReportState { reported: Reported { problem, ..Reported::default() }, remind_at: None }
    }

    /// Whether it is not known what was reported.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self.reported.problem, Problem::Dead { reasons: 0, .. })
    }

    /// The same for a daemon whose start was so many nanoseconds earlier.
    #[must_use]
    pub(super) fn shifted(self, nanos: i64) -> ReportState {
        let Reported { problem, is_denied, slow_again_at } = self.reported;
        let problem = match problem {
            Problem::None | Problem::Slow => problem,
            Problem::Unknown { since } => Problem::Unknown { since: since.shifted(nanos) },
            Problem::Refused { since, errno } => Problem::Refused { since: since.shifted(nanos), errno },
            Problem::Dead { since, reasons, reminders } => {
                Problem::Dead { since: since.shifted(nanos), reasons, reminders }
            }
        };
        let reported = Reported { problem, is_denied, slow_again_at: slow_again_at.shifted(nanos) };
        ReportState { reported, remind_at: self.remind_at.map(|at| at.shifted(nanos)) }
    }
}

impl Reports {
    /// `None` if nothing was reported about the mount that matters now.
    pub(super) fn state(&self, entry: &MountEntry) -> Option<ReportState> {
        let (reported, remind_at) = (entry.reported, self.reminders.deadline(entry.key()));
        let is_known = reported.problem != Problem::None
            || reported.is_denied
            || reported.slow_again_at > Time::default();
        is_known.then_some(ReportState { reported, remind_at })
    }

    /// Continues with what an earlier daemon has reported. A reminder comes at `not_before` at the earliest. Returns when, if
    /// one is planned.
    pub(super) fn restore(
        &mut self,
        entry: &mut MountEntry,
        state: ReportState,
        not_before: Time,
    ) -> Option<Time> {
        entry.reported = state.reported;
        let at = state.remind_at?.max(not_before);
        self.reminders.set(entry.key(), at);
        Some(at)
    }

    /// A mount responds; its entry still has the previous health.
    pub(super) fn on_alive(
        now: Time,
        entry: &mut MountEntry,
        is_slow: bool,
        took: Duration,
    ) -> Option<Event> {
        let was_dead = entry.health.failure().is_some();
        let before = entry.reported;
        let reports_slow = is_slow && !was_dead && now >= before.slow_again_at;
        let recovered = |was, since| {
            Some(Event::Recovered { mount: Arc::clone(&entry.mount), lasted: now - since, took, was })
        };
        let (problem, event) = match before.problem {
            Problem::Dead { since, .. } => {
                (Problem::None, recovered(if was_dead { entry.health.as_str() } else { "failed" }, since))
            }
            Problem::Unknown { since } => (Problem::None, recovered("unknown", since)),
            Problem::Refused { since, .. } => (Problem::None, recovered("denied", since)),
            Problem::Slow if is_slow => return None,
            Problem::Slow => (Problem::None, recovered("slow", entry.since)),
            Problem::None if reports_slow => {
                let slow_after = entry.settings.slow_after;
                (Problem::Slow, Some(Event::Slow { mount: Arc::clone(&entry.mount), took, slow_after }))
            }
            Problem::None => return None,
        };
        let slow_again_at =
            if matches!(problem, Problem::Slow) { now + SLOW_REPORT_INTERVAL } else { before.slow_again_at };
        entry.reported = Reported { problem, slow_again_at, ..before };
        event
    }

    /// A mount is dead; its entry still has the previous health. For a mount that a hung ancestor blocks, only the ancestor
    /// is reported. After a `Failed`, reminders follow.
    pub(super) fn on_dead(now: Time, entry: &mut MountEntry, failure: &Failure) -> Option<Event> {
        if failure.blocked_by.is_some() {
            if matches!(entry.reported.problem, Problem::Slow) {
                entry.reported.problem = Problem::None;
            }
            return None;
        }
        let was_dead = entry.health.failure().is_some();
        let since = if was_dead { entry.since } else { now };
        let reason = 1 << failure.reason as u8;
        let (mount, failure) = (Arc::clone(&entry.mount), failure.clone());
        if let Problem::Dead { since, reasons: reasons @ 1.., .. } = &mut entry.reported.problem {
            let is_new_reason = *reasons & reason == 0;
            *reasons |= reason;
            let lasted = now - *since;
            return (!was_dead || is_new_reason).then_some(Event::StillFailing { mount, failure, lasted });
        }
        entry.reported.problem = Problem::Dead { since, reasons: reason, reminders: 0 };
        Some(Event::Failed { mount, failure })
    }

    /// The kernel refuses the probe. This is reported once, and again when it ends a reported problem. The refusal of a
    /// data-path probe is a problem that ends.
    pub(super) fn on_denied(now: Time, entry: &mut MountEntry, call: Call, errno: Errno) -> Option<Event> {
        let event = Event::Denied { mount: Arc::clone(&entry.mount), errno, call };
        let reported = &mut entry.reported;
        if call.is_of_data() {
            let known = match reported.problem {
                Problem::Refused { since, errno } => Some((since, errno)),
                _ => None,
            };
            reported.problem = Problem::Refused { since: known.map_or(now, |(since, _)| since), errno };
            return (known.map(|(_, errno)| errno) != Some(errno)).then_some(event);
        }
        let was_denied = std::mem::replace(&mut reported.is_denied, true);
        let was_problem = matches!(
            reported.problem,
            Problem::Dead { .. } | Problem::Unknown { .. } | Problem::Refused { .. }
        );
        if was_problem {
            reported.problem = Problem::None;
        }
        (!was_denied || was_problem).then_some(event)
    }

    /// A mount that is not dead could not be judged for too long; its entry still has the previous health.
    pub(super) fn on_unknown(now: Time, entry: &mut MountEntry) -> Event {
        entry.reported.problem = Problem::Unknown { since: now };
        let (mount, was) = (Arc::clone(&entry.mount), entry.health.as_str());
        let unjudged = now - entry.judged_at.unwrap_or(entry.since);
        Event::Unknown { mount, was, unjudged }
    }

    /// Plans the next reminder about a dead mount unless one is planned, and returns when that is.
    pub(super) fn plan_reminder(&mut self, now: Time, entry: &MountEntry) -> Option<Time> {
        if self.reminders.is_set(entry.key()) {
            return None;
        }
        let Problem::Dead { reminders: sent, .. } = entry.reported.problem else { return None };
        let at = now + doubled(FIRST_REMINDER, sent).min(MAX_REMINDER_PAUSE);
        self.reminders.set(entry.key(), at);
        Some(at)
    }
}

impl Reported {
    /// It was reported to be slow, and that is not over.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self.problem, Problem::Slow)
    }

    /// Counts a reminder; returns when the mount was reported dead, if it still is.
    pub(super) fn count_reminder(&mut self) -> Option<Time> {
        let Problem::Dead { since, reminders, .. } = &mut self.problem else { return None };
        *reminders = reminders.saturating_add(1);
        Some(*since)
    }
}
