//! What an attempt to remedy a mount does, as lines: each call with its result, and each step with its outcome.

use super::HumanDuration;
use super::escape::{escape, escape_os, one_line};
use super::json;
use super::remedy_plan::{bounded, purpose};
use super::timestamp::rfc3339;
use crate::children::remedy::{
    AttemptEvent, CallError, CallRecord, ChildEnd, NotMade, NotVerified, Response, StepOutcome, StepReport,
};
use crate::monitor::remedy::{MountAgain, Outcome, Plan, StepKind, StepResult};
use platform::{Errno, MountKey};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Lines of a program's output: the first ones say what is wrong.
const MAX_OUTPUT_LINES: usize = 5;

/// With line ends; empty if there is nothing to say yet.
#[must_use]
pub fn event_lines(event: &AttemptEvent<'_>) -> String {
    match event {
        AttemptEvent::Begins(kind) => format!("{}: {}\n", kind.as_str(), purpose(*kind)),
        AttemptEvent::Call(call) if call.duration.is_none() => String::new(),
        AttemptEvent::Call(call) => format!("  {}\n", audit(call)),
        AttemptEvent::Ended(report) => ended(report),
        AttemptEvent::LeftBehind(outcome) => left_behind(outcome) + "\n",
    }
}

/// The same as one JSON object in a line, for each event.
#[must_use]
pub fn event_json(event: &AttemptEvent<'_>) -> String {
    match event {
        AttemptEvent::Call(call) if call.duration.is_none() => String::new(),
        AttemptEvent::Begins(kind) => {
            line(&EventObject { step: Some(kind.as_str()), ..EventObject::new("step_begins") })
        }
        AttemptEvent::Call(call) => line(&CallObject::new(call)),
        AttemptEvent::Ended(report) => line(&EventObject {
            text: Some(ended(report).trim().to_owned()),
            ..EventObject::of("step_ended", &report.outcome)
        }),
        AttemptEvent::LeftBehind(left) => line(&EventObject::of("left_behind", left)),
    }
}

fn line<T: Serialize>(object: &T) -> String {
    json::to_line(object) + "\n"
}

#[derive(Serialize)]
struct EventObject {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// Of the call that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Serialize)]
struct EndObject<'a> {
    event: &'static str,
    left: &'a [String],
}

impl EventObject {
    fn new(event: &'static str) -> EventObject {
        EventObject { event, step: None, outcome: None, errno: None, text: None }
    }

    fn of(event: &'static str, outcome: &StepOutcome) -> EventObject {
        EventObject {
            outcome: Some(outcome.as_str()),
            errno: outcome.errno().map(Errno::name),
            text: Some(self::outcome(outcome)),
            ..EventObject::new(event)
        }
    }
}

/// All names are escaped.
#[derive(Serialize)]
struct CallObject {
    event: &'static str,
    time: String,
    mount_id: u64,
    call: String,
    path: String,
    flags: String,
    error: Option<String>,
    duration_seconds: Option<f64>,
}

impl CallObject {
    fn new(call: &CallRecord) -> CallObject {
        CallObject {
            event: "call",
            time: rfc3339(SystemTime::UNIX_EPOCH + call.at),
            mount_id: call.mount,
            call: one_line(&call.call).into_owned(),
            path: escape(&call.path).into_owned(),
            flags: one_line(&call.flags).into_owned(),
            error: call.error.as_ref().map(error_text),
            duration_seconds: call.duration.map(|duration| duration.as_secs_f64()),
        }
    }
}

#[must_use]
pub fn left_behind(outcome: &StepOutcome) -> String {
    format!("The private place was not removed: {}", self::outcome(outcome))
}

/// A step that has ended, for reports.
#[must_use]
pub fn step_result(step: StepKind, report: &StepReport, took: Duration) -> StepResult {
    let is_done = matches!(report.outcome, StepOutcome::Done | StepOutcome::Deferred);
    let said = report.output.split(|&byte| byte == b'\n').find(|line| !line.is_empty() && !is_done);
    let said = said.map(|line| format!("; it says: {}", escape(line))).unwrap_or_default();
    let outcome = format!("{}{}{said}", outcome(&report.outcome), child_end(&report.end));
    StepResult { step, is_done, outcome: bounded(outcome), took }
}

/// What a person should do after an attempt that did not remedy the mount.
#[must_use]
pub fn advice(outcome: Outcome, plan: &Plan, last: Option<&StepResult>) -> String {
    let path = escape_os(&plan.mount().mountpoint);
    let last = match (outcome, last) {
        (Outcome::Failed, Some(StepResult { step, outcome, .. })) => {
            format!(": {}: {outcome}", step.as_str())
        }
        _ => String::new(),
    };
    let end = end_line(outcome, plan);
    bounded(format!("{}{last}; run: mount_status_monitor diagnose {path}", end.trim_end()))
}

/// How the attempt ended, and who still has the dead mount, in one line.
#[must_use]
pub fn end_json(outcome: Outcome, left: &[String]) -> String {
    line(&EndObject { event: outcome.as_str(), left })
}

/// Who still has the dead mount, a line each.
#[must_use]
pub fn left_lines(left: &[String]) -> String {
    left.iter().map(|user| format!("The dead one is still used by {user}\n")).collect()
}

/// One call for an audit: when, of which mount, what, and how it ended.
#[must_use]
pub fn audit(call: &CallRecord) -> String {
    let result = match (&call.error, call.duration) {
        (_, None) => "has not returned".to_owned(),
        (None, Some(duration)) => format!("succeeded after {}", HumanDuration(duration)),
        (Some(error), Some(duration)) => format!("{} after {}", error_text(error), HumanDuration(duration)),
    };
    let flags = if call.flags.is_empty() { String::new() } else { format!(", {}", one_line(&call.flags)) };
    format!(
        "{} mount {}: {}({}{flags}): {result}",
        rfc3339(SystemTime::UNIX_EPOCH + call.at),
        call.mount,
        one_line(&call.call),
        escape(&call.path)
    )
}

fn ended(report: &StepReport) -> String {
    let mut text = String::new();
    if report.outcome != StepOutcome::Done {
        for line in
            report.output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).take(MAX_OUTPUT_LINES)
        {
            text += &format!("  says: {}\n", escape(line));
        }
    }
    for call in report.calls.iter().filter(|call| call.duration.is_none()) {
        text += &format!("  {}\n", audit(call));
    }
    text += &format!("  {}{}\n", outcome(&report.outcome), child_end(&report.end));
    if !report.also_detached.is_empty() {
        let keys = keys(&report.also_detached);
        text += &format!("  mounts that were made below it meanwhile went with it: {keys}\n");
    }
    text
}

/// What a step has done.
#[must_use]
pub fn outcome(outcome: &StepOutcome) -> String {
    let reason = |error: &Option<CallError>| {
        error.as_ref().map_or_else(|| "the call did not return".to_owned(), error_text)
    };
    match outcome {
        StepOutcome::Done => "done".to_owned(),
        StepOutcome::Deferred => {
            "the kernel cannot do this here: the new mount moves in right after the dead one is removed"
                .to_owned()
        }
        StepOutcome::NotMade(why) => format!("not made: {}", not_made(why)),
        StepOutcome::StillMounted { error, has_failed_requests: false } => {
            format!("it is still mounted: {}", reason(error))
        }
        StepOutcome::StillMounted { error, has_failed_requests: true } => {
            format!("it is still mounted, and its pending requests were failed: {}", reason(error))
        }
        StepOutcome::WrongHit(hit) => format!(
            "ANOTHER MOUNT WAS HIT: {}. No remedy is made on this machine until remedy --reset permits it",
            keys(hit)
        ),
        StepOutcome::PathIsOpen(error) => format!(
            "the dead mount is gone, and nothing has taken its place: programs can write into the directory underneath ({})",
            reason(error)
        ),
        StepOutcome::NotVerified(why) => not_verified(why),
        StepOutcome::Failed(error) => format!("failed: {}", reason(error)),
        StepOutcome::Stranded => {
            "a process of a step cannot be ended, and may still act: no other step is made for this server"
                .to_owned()
        }
    }
}

fn not_made(why: &NotMade) -> String {
    match why {
        NotMade::Replaced => "the path leads to another mount now, or to none".to_owned(),
        NotMade::MountsBelow(_) => "there are mounts below it that the plan does not have".to_owned(),
        NotMade::NotItsServer => "the process does not serve the mount any more".to_owned(),
        NotMade::PlaceChanged => "the private place does not have the new mount".to_owned(),
        NotMade::CannotMount => "nobody knows how to mount it".to_owned(),
        NotMade::NotRecorded(why) => format!("the intent could not be recorded: {}", one_line(why)),
    }
}

fn not_verified(why: &NotVerified) -> String {
    match why {
        NotVerified::NothingMounted => "nothing is mounted there".to_owned(),
        NotVerified::SameMount => "the dead mount is still there".to_owned(),
        NotVerified::OtherSource(source) => format!("another source is mounted: {}", escape_os(source)),
        NotVerified::OtherType(fstype) => {
            format!("a file system of another type is mounted: {}", escape_os(fstype))
        }
        NotVerified::SameSuperblock => "it is a new mount of the dead superblock".to_owned(),
        NotVerified::NoResponse(responses) => {
            let failed = responses.iter().find_map(|response| match response {
                Response::Alive => None,
                Response::Failed(errno) => Some(Errno(*errno).name()),
                Response::WrongMount => Some("its path leads to another mount".to_owned()),
            });
            format!(
                "it does not respond: {}",
                failed.unwrap_or_else(|| "the probe did not return".to_owned())
            )
        }
    }
}

fn child_end(end: &ChildEnd) -> String {
    match end {
        ChildEnd::Finished | ChildEnd::NotNeeded | ChildEnd::Stranded => String::new(),
        ChildEnd::Died(status) => format!(" (its process ended early: {status})"),
        ChildEnd::Killed => " (its process was killed at the deadline)".to_owned(),
        ChildEnd::NotStarted(why) => format!(" (its process could not be started: {})", one_line(why)),
    }
}

fn error_text(error: &CallError) -> String {
    match error {
        CallError::Errno(number) => Errno(*number).name(),
        CallError::Text(text) => one_line(text).into_owned(),
    }
}

fn keys(keys: &[MountKey]) -> String {
    keys.iter().map(|key| key.0.to_string()).collect::<Vec<_>>().join(", ")
}

/// The last line.
#[must_use]
pub fn end_line(outcome: Outcome, plan: &Plan) -> String {
    let path = escape_os(&plan.mount().mountpoint);
    match outcome {
        Outcome::Remedied => format!("{path} is remedied: it responds\n"),
        Outcome::NotMountedAgain if *plan.mount_again() == MountAgain::ByAutofs => {
            format!("{path} is unmounted; autofs mounts it again at the next access\n")
        }
        Outcome::NotMountedAgain if plan.steps().iter().any(|step| step.kind == StepKind::Placeholder) => {
            format!(
                "{path} is empty and read-only now, and is not mounted again: mount it over that yourself\n"
            )
        }
        Outcome::NotMountedAgain => format!("{path} is not mounted again: that is left to its user\n"),
        Outcome::Failed => format!("{path} is not remedied\n"),
        Outcome::Stranded => {
            format!("{path} is not remedied: a process of a step cannot be ended, and may still act\n")
        }
        Outcome::WrongHit => format!("{path}: stopped, because another mount was hit\n"),
    }
}

/// What was permitted. `had_hit`: another mount was hit before.
#[must_use]
pub fn reset_lines(mountpoint: &Path, had_hit: bool, is_daemon_told: bool) -> String {
    let when = if is_daemon_told {
        "the daemon plans one now"
    } else {
        "a daemon plans one within 10 minutes, or after SIGHUP"
    };
    let mut text = format!("{}: new attempts are permitted; {when}\n", escape_os(mountpoint));
    if had_hit {
        text += "An unmount had hit another mount: remedies are permitted on this machine again\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_of_a_step_is_a_word_and_an_errno_besides_the_text() {
        let json = |outcome| {
            let report = StepReport { outcome, ..StepReport::without_child(StepOutcome::Done) };
            let text = event_json(&AttemptEvent::Ended(&report));
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let busy = || Some(CallError::Errno(Errno::EBUSY.0));
        let failed = json(StepOutcome::StillMounted { error: busy(), has_failed_requests: false });
        assert_eq!((&failed["outcome"], &failed["errno"]), (&"still_mounted".into(), &"EBUSY".into()));
        assert!(failed["text"].as_str().unwrap().contains("EBUSY"));
        let forced = json(StepOutcome::StillMounted { error: busy(), has_failed_requests: true });
        assert_eq!(forced["outcome"], "forced_still_mounted", "harm was done");
        let done = json(StepOutcome::Done);
        assert_eq!((&done["outcome"], done.get("errno")), (&"done".into(), None));
    }
}
