//! Reports about remedies as log lines, and the words that these share with the status. The texts in a report are escaped.

use super::escape::escape_os;
use super::messages::source;
use super::{HumanDuration, Priority};
use crate::monitor::remedy::{Mode, Outcome, PlannedStep, RefusalReason, RemedyReport, StepResult};
use platform::Mount;
use std::borrow::Cow;

/// Maximum number of reasons or users in a line; more are counted.
const MAX_LISTED: usize = 6;
/// Maximum length of one text in a line, in bytes: enough for a command with a usual path. A person reads the line, and
/// syslog truncates long ones.
const MAX_TEXT: usize = 500;

pub(super) const fn priority(report: &RemedyReport) -> Priority {
    match report {
        RemedyReport::Planned { .. }
        | RemedyReport::Step(StepResult { is_done: true, .. })
        | RemedyReport::Remedied { .. }
        | RemedyReport::Refused { waits: true, .. } => Priority::Notice,
        RemedyReport::Refused { .. } | RemedyReport::Step(_) => Priority::Warning,
        RemedyReport::Failed { gave_up: true, .. }
        | RemedyReport::Failed { outcome: Outcome::WrongHit, .. } => Priority::Error,
        RemedyReport::Failed { .. } => Priority::Warning,
    }
}

pub(super) fn text(mount: &Mount, report: &RemedyReport) -> String {
    let (path, source) = (escape_os(&mount.mountpoint), source(mount));
    match report {
        RemedyReport::Planned { mode: Mode::Act, steps } => {
            format!("Remedy begins: {path} ({}; {source})", step_names(steps))
        }
        RemedyReport::Planned { steps, .. } => {
            let calls: Vec<String> = steps
                .iter()
                .map(|PlannedStep { step, call }| format!("{}: {}", step.as_str(), cut(call)))
                .collect();
            format!("Remedy would begin: {path} (dry-run, nothing is done; {}; {source})", calls.join("; "))
        }
        RemedyReport::Refused { reasons, waits } => {
            let word = if *waits { "waits" } else { "refused" };
            format!("Remedy {word}: {path} ({}; {source})", self::reasons(reasons))
        }
        RemedyReport::Step(StepResult { step, is_done, outcome, took }) => {
            let (step, outcome, took) = (step.as_str(), cut(outcome), HumanDuration(*took));
            let word = if *is_done { "step" } else { "step failed" };
            format!("Remedy {word}: {path} ({step}: {outcome}; took {took}; {source})")
        }
        RemedyReport::Remedied { took, left } => {
            format!("Mount remedied: {path} (after {}{}; {source})", HumanDuration(*took), left_words(left))
        }
        RemedyReport::Failed { outcome, gave_up, advice } => {
            let word = failure_word(*outcome, *gave_up);
            let what = match outcome {
                Outcome::WrongHit => {
                    "an unmount hit another mount, and no remedy acts on this machine any more; "
                }
                _ => "",
            };
            format!("Remedy {word}: {path} ({}: {what}{}; {source})", outcome.as_str(), cut(advice))
        }
    }
}

/// How an attempt without a new mount that responds has ended.
pub(super) fn failure_word(outcome: Outcome, gave_up: bool) -> &'static str {
    match (outcome, gave_up) {
        (_, true) => "gave up",
        (Outcome::NotMountedAgain, false) => "ended",
        (_, false) => "failed",
    }
}

/// The memory of a report's texts, in bytes.
pub(super) fn cost(report: &RemedyReport) -> usize {
    match report {
        RemedyReport::Planned { steps, .. } => {
            steps.iter().map(|step| size_of::<PlannedStep>() + step.call.len()).sum()
        }
        RemedyReport::Refused { reasons, .. } => reasons
            .iter()
            .map(|RefusalReason { guard, why }| size_of::<RefusalReason>() + guard.len() + why.len())
            .sum(),
        RemedyReport::Step(StepResult { outcome, .. }) => outcome.len(),
        RemedyReport::Remedied { left, .. } => left.iter().map(|text| size_of::<String>() + text.len()).sum(),
        RemedyReport::Failed { advice, .. } => advice.len(),
    }
}

/// `detach, move_in, verify`
pub(super) fn step_names(steps: &[PlannedStep]) -> String {
    steps.iter().map(|step| step.step.as_str()).collect::<Vec<_>>().join(", ")
}

/// `kept_path: it may hold the home of root; stacked: …`
pub(super) fn reasons(reasons: &[RefusalReason]) -> String {
    listed(reasons, "; ", |RefusalReason { guard, why }| format!("{guard}: {}", cut(why)))
}

/// Nothing, if nobody has the dead mount any more.
pub(super) fn left_words(left: &[String]) -> String {
    if left.is_empty() {
        return String::new();
    }
    format!("; the dead one is still used by {}", listed(left, ", ", |user| cut(user).into_owned()))
}

fn listed<T>(items: &[T], separator: &str, text: impl Fn(&T) -> String) -> String {
    let texts: Vec<String> = items.iter().take(MAX_LISTED).map(text).collect();
    match items.len().saturating_sub(MAX_LISTED) {
        0 => texts.join(separator),
        more => format!("{} and {more} more", texts.join(separator)),
    }
}

/// The beginning of a long text.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT {
        return Cow::Borrowed(text);
    }
    let end = (0..=MAX_TEXT).rev().find(|&index| text.is_char_boundary(index)).unwrap_or_default();
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::monitor::Event;
    use crate::monitor::remedy::StepKind;
    use crate::render::messages::line;
    use crate::render::samples::sshfs;
    use std::time::Duration;

    pub(crate) fn planned(mode: Mode) -> RemedyReport {
        let step = |step, call: &str| PlannedStep { step, call: call.to_owned() };
        let steps = vec![
            step(StepKind::Detach, "umount2(/x, MNT_DETACH)"),
            step(StepKind::Verify, "statfs of the new mount, twice"),
        ];
        RemedyReport::Planned { mode, steps }
    }

    pub(crate) fn refused(waits: bool) -> RemedyReport {
        let reason = |guard: &str, why: &str| RefusalReason { guard: guard.to_owned(), why: why.to_owned() };
        let reasons = vec![
            reason("stacked", "loop0 is on it"),
            reason("units_active", "systemd would stop job.service (allow units)"),
        ];
        RemedyReport::Refused { reasons, waits }
    }

    pub(crate) fn failed(outcome: Outcome, gave_up: bool) -> RemedyReport {
        RemedyReport::Failed { outcome, gave_up, advice: "mount it by hand: mount /x".to_owned() }
    }

    fn step(is_done: bool, outcome: &str) -> RemedyReport {
        let took = Duration::from_millis(3);
        RemedyReport::Step(StepResult { step: StepKind::Detach, is_done, outcome: outcome.to_owned(), took })
    }

    #[test]
    fn lines_say_what_happens_and_what_to_do() {
        let left = vec!["bash[311]".to_owned(), "the namespace mnt:[4026532881]".to_owned()];
        let remedied = |left| RemedyReport::Remedied { took: Duration::from_secs(12), left };
        for (report, priority, text) in [
            (planned(Mode::Act), Priority::Notice, "Remedy begins: /x (detach, verify;"),
            (
                planned(Mode::DryRun),
                Priority::Notice,
                "Remedy would begin: /x (dry-run, nothing is done; detach: umount2(/x, MNT_DETACH); verify: statfs of the \
                 new mount, twice;",
            ),
            (
                refused(false),
                Priority::Warning,
                "Remedy refused: /x (stacked: loop0 is on it; units_active: systemd would stop job.service (allow units);",
            ),
            (
                refused(true),
                Priority::Notice,
                "Remedy waits: /x (stacked: loop0 is on it; units_active: systemd would \
                 stop job.service (allow units);",
            ),
            (step(true, "done"), Priority::Notice, "Remedy step: /x (detach: done; took 3ms;"),
            (step(false, "EBUSY"), Priority::Warning, "Remedy step failed: /x (detach: EBUSY; took 3ms;"),
            (remedied(vec![]), Priority::Notice, "Mount remedied: /x (after 12s;"),
            (
                remedied(left),
                Priority::Notice,
                "Mount remedied: /x (after 12s; the dead one is still used by bash[311], the namespace \
                 mnt:[4026532881];",
            ),
            (
                failed(Outcome::Failed, false),
                Priority::Warning,
                "Remedy failed: /x (failed: mount it by hand: mount /x;",
            ),
            (
                failed(Outcome::Stranded, true),
                Priority::Error,
                "Remedy gave up: /x (stranded: mount it by hand: mount /x;",
            ),
            (
                failed(Outcome::WrongHit, false),
                Priority::Error,
                "Remedy failed: /x (wrong_hit: an unmount hit another mount, and no remedy acts on this machine any more; \
                 mount it by hand: mount /x;",
            ),
            (
                failed(Outcome::NotMountedAgain, false),
                Priority::Warning,
                "Remedy ended: /x (not_mounted_again: mount it by hand: mount /x;",
            ),
        ] {
            let event = Event::Remedy { mount: sshfs(), report: Box::new(report) };
            assert_eq!(line(&event), (priority, format!("{text} fuse.sshfs from host:/dir)")));
        }
    }

    #[test]
    fn lines_are_bounded() {
        let long = "ü".repeat(10_000);
        let reason = || RefusalReason { guard: "stacked".to_owned(), why: long.clone() };
        let step = || PlannedStep { step: StepKind::Detach, call: long.clone() };
        let took = Duration::ZERO;
        for report in [
            RemedyReport::Refused { reasons: (0..100).map(|_| reason()).collect(), waits: false },
            RemedyReport::Planned { mode: Mode::DryRun, steps: (0..13).map(|_| step()).collect() },
            RemedyReport::Remedied { took, left: vec![long.clone(); 100] },
            RemedyReport::Failed { outcome: Outcome::Failed, gave_up: true, advice: long.clone() },
            RemedyReport::Step(StepResult {
                step: StepKind::Detach,
                is_done: false,
                outcome: long.clone(),
                took,
            }),
        ] {
            let text = text(&sshfs(), &report);
            assert!(text.len() < 8_000 && text.contains("ü…"), "{} bytes", text.len());
            assert_eq!(text.contains("and 94 more"), cost(&report) > 1_500_000, "{text}");
        }
    }
}
