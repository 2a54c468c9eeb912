//! What is done about a dead mount, in words: for tables, the status page, JSON and alerts.

use super::escape::escape_os;
use super::remedy_messages::{cut, failure_word, left_words, reasons, step_names};
use super::{HumanDuration, Snapshot};
use crate::monitor::remedy::{Mode, MountRemedy, Outcome, RemedyOverview, RemedyReport, StepResult};
use crate::monitor::{MountStatus, Time};
use platform::MountKey;
use std::collections::HashSet;
use std::time::Duration;

/// An attempt that has ended is shown for so long, for people who look the next day.
const SHOWN_FOR: Duration = Duration::from_secs(86_400);

/// The remedy of a dead mount, if a rule has one for it.
pub(crate) fn of_mount<'o>(remedies: &'o RemedyOverview, status: &MountStatus) -> Option<&'o MountRemedy> {
    status.health.failure()?;
    remedies.of(status.mount.key)
}

/// One word for programs.
pub(super) fn state(remedy: &MountRemedy) -> &'static str {
    match &remedy.last {
        _ if remedy.is_running => "running",
        None | Some((RemedyReport::Refused { waits: true, .. }, _)) => "waiting",
        Some((report, _)) => match report {
            RemedyReport::Planned { .. } => "planned",
            RemedyReport::Refused { .. } => "refused",
            RemedyReport::Step(_) => "running",
            RemedyReport::Remedied { .. } => "remedied",
            RemedyReport::Failed { gave_up: true, .. } => "gave_up",
            RemedyReport::Failed { outcome: Outcome::NotMountedAgain, .. } => "ended",
            RemedyReport::Failed { .. } => "failed",
        },
    }
}

/// Without times, so that it changes only when something happens: `remedy refused: stacked: loop0 is on it`.
pub(crate) fn words(remedy: &MountRemedy) -> String {
    let dry_run = if remedy.mode == Mode::DryRun { " (dry-run)" } else { "" };
    let text = match (&remedy.last, remedy.is_running) {
        (Some((RemedyReport::Planned { steps, .. }, _)), true) => format!("under way: {}", step_names(steps)),
        (Some((RemedyReport::Step(StepResult { step, outcome, .. }), _)), _) => {
            format!("under way: {}: {}", step.as_str(), cut(outcome))
        }
        (_, true) => "is being planned".to_owned(),
        (None, false) => "waits until the mount has been dead for long enough".to_owned(),
        (Some((report, _)), false) => match report {
            RemedyReport::Planned { steps, .. } => {
                format!("would be {}; nothing is done", step_names(steps))
            }
            RemedyReport::Refused { reasons: why, waits } => {
                format!("{}: {}", if *waits { "waits" } else { "refused" }, reasons(why))
            }
            RemedyReport::Remedied { took, left } => {
                format!("succeeded after {}{}", HumanDuration(*took), left_words(left))
            }
            RemedyReport::Failed { outcome, gave_up, advice } => {
                format!("{}: {}", failure_word(*outcome, *gave_up), cut(advice))
            }
            RemedyReport::Step(_) => unreachable!("it is among those under way"),
        },
    };
    format!("remedy{dry_run} {text}")
}

/// With the time of the next attempt.
pub(super) fn words_at(remedy: &MountRemedy, now: Time) -> String {
    let words = words(remedy);
    let has_ended = matches!(state(remedy), "gave_up" | "ended");
    match remedy.next_attempt.filter(|_| !remedy.is_running && !has_ended) {
        None => words,
        Some(at) if at <= now => format!("{words}; the next attempt begins when it can"),
        Some(at) => format!("{words}; next attempt in {}", HumanDuration::in_seconds(at - now)),
    }
}

/// What was done about mounts that are not dead any more, the last first: the path, the words and the time.
pub(super) fn recent(snapshot: &Snapshot) -> Vec<(String, String, Time)> {
    if snapshot.remedies.mounts.is_empty() {
        return Vec::new();
    }
    let mounts = snapshot.status.mounts.iter();
    let dead: HashSet<MountKey> =
        mounts.filter(|status| status.health.failure().is_some()).map(|status| status.mount.key).collect();
    let ended = snapshot.remedies.mounts.iter().filter_map(|remedy| match &remedy.last {
        Some((RemedyReport::Remedied { .. } | RemedyReport::Failed { .. }, at))
            if !remedy.is_running
                && snapshot.at.since(*at) < SHOWN_FOR
                && !dead.contains(&remedy.mount.key) =>
        {
            Some((escape_os(&remedy.mount.mountpoint).into_owned(), words(remedy), *at))
        }
        _ => None,
    });
    let mut ended: Vec<_> = ended.collect();
    ended.sort_by_key(|(_, _, at)| std::cmp::Reverse(*at));
    ended
}

/// Lines about [`recent`] remedies.
pub(super) fn recent_lines(snapshot: &Snapshot) -> String {
    let line = |(path, words, at)| {
        format!("{path}: {words} ({} ago)\n", HumanDuration::in_seconds(snapshot.at.since(at)))
    };
    recent(snapshot).into_iter().map(line).collect()
}

/// `remedies: 2 planned; 1 remedied; 1 failed`; none before the first.
pub(super) fn totals(snapshot: &Snapshot) -> Option<String> {
    let totals = snapshot.remedies.totals;
    let counts = [
        (totals.attempts, "planned"),
        (totals.dry_runs, "dry-run"),
        (totals.remedied, "remedied"),
        (totals.failed, "failed"),
        (totals.gave_up, "given up"),
        (totals.refused, "refused"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    (!counts.is_empty()).then(|| format!("remedies: {}", counts.join("; ")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::monitor::remedy::{RemedyTotals, StepKind};
    use crate::monitor::{Health, Reason};
    use crate::render::remedy_messages::tests::{failed, planned, refused};
    use crate::render::samples::{self, at, failure, mount, status_of};
    use std::sync::Arc;

    /// A dead mount, whose remedy has this last report; at 10 s.
    pub(crate) fn dead_with(last: Option<RemedyReport>, is_running: bool) -> Snapshot {
        let nfs = mount("/mnt/a", "nfs4", "nas:/a", "rw", "rw");
        let remedy = MountRemedy {
            mount: Arc::clone(&nfs),
            mode: Mode::Act,
            is_running,
            next_attempt: (!is_running).then(|| at(250.0)),
            last: last.map(|report| (report, at(7.0))),
        };
        let totals =
            RemedyTotals { attempts: 3, refused: 1, gave_up: 1, failed: 2, ..RemedyTotals::default() };
        let status = status_of(nfs, Health::Dead(failure(Reason::Hung, None, 3.0).into()));
        Snapshot {
            remedies: Arc::new(RemedyOverview { rules: 1, mounts: vec![remedy], totals }),
            ..samples::snapshot(samples::status(vec![status]))
        }
    }

    fn step() -> RemedyReport {
        let outcome = "done".to_owned();
        RemedyReport::Step(StepResult {
            step: StepKind::Detach,
            is_done: true,
            outcome,
            took: Duration::ZERO,
        })
    }

    #[test]
    fn each_state_has_words() {
        for (last, is_running, name, expected) in [
            (
                None,
                false,
                "waiting",
                "remedy waits until the mount has been dead for long enough; next attempt in 4m",
            ),
            (None, true, "running", "remedy is being planned"),
            (Some(planned(Mode::Act)), true, "running", "remedy under way: detach, verify"),
            (Some(step()), true, "running", "remedy under way: detach: done"),
            (Some(failed(Outcome::Failed, false)), true, "running", "remedy is being planned"),
            (
                Some(refused(true)),
                false,
                "waiting",
                "remedy waits: stacked: loop0 is on it; units_active: systemd would stop job.service (allow units); next \
                 attempt in 4m",
            ),
            (
                Some(refused(false)),
                false,
                "refused",
                "remedy refused: stacked: loop0 is on it; units_active: systemd would stop job.service (allow units); next \
                 attempt in 4m",
            ),
            (
                Some(failed(Outcome::Failed, false)),
                false,
                "failed",
                "remedy failed: mount it by hand: mount /x; next attempt in 4m",
            ),
            (
                Some(failed(Outcome::Failed, true)),
                false,
                "gave_up",
                "remedy gave up: mount it by hand: mount /x",
            ),
        ] {
            let snapshot = dead_with(last, is_running);
            let remedy = of_mount(&snapshot.remedies, snapshot.status.mounts.iter().next().unwrap()).unwrap();
            assert_eq!((state(remedy), &*words_at(remedy, snapshot.at)), (name, expected));
            assert!(expected.starts_with(&words(remedy)), "{expected}");
        }
    }

    #[test]
    fn dry_run_says_that_nothing_is_done() {
        let overview = dead_with(Some(planned(Mode::DryRun)), false).remedies;
        let remedy = MountRemedy { mode: Mode::DryRun, next_attempt: None, ..overview.mounts[0].clone() };
        assert_eq!(words_at(&remedy, at(10.0)), "remedy (dry-run) would be detach, verify; nothing is done");
    }

    #[test]
    fn a_remedied_mount_is_shown_for_a_day() {
        let remedied =
            RemedyReport::Remedied { took: Duration::from_secs(12), left: vec!["bash[1]".to_owned()] };
        let mut snapshot = dead_with(Some(remedied), false);
        assert_eq!(recent_lines(&snapshot), "", "it is dead again");
        snapshot.status = Arc::default();
        let line = "/mnt/a: remedy succeeded after 12s; the dead one is still used by bash[1] (3s ago)\n";
        assert_eq!(recent_lines(&snapshot), line);
        snapshot.at = at(90_000.0);
        assert_eq!(recent_lines(&snapshot), "");
    }

    #[test]
    fn totals_have_what_has_happened() {
        let mut snapshot = dead_with(None, false);
        let expected = "remedies: 3 planned; 2 failed; 1 given up; 1 refused";
        assert_eq!(totals(&snapshot).as_deref(), Some(expected));
        snapshot.remedies = Arc::default();
        assert_eq!(totals(&snapshot), None);
    }
}
