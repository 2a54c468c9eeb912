//! An event as one JSON object: the content of its log line in fields.

use super::evidence::EvidenceObject;
use super::{name, seconds, to_line};
use crate::monitor::remedy::{RemedyReport, StepResult};
use crate::monitor::{Event, Expected, Failure, Health, OptionDifference, Reason};
use crate::render::Message;
use crate::render::messages::{option_differences, requirement};
use crate::render::timestamp::rfc3339;
use platform::{Call, Errno, Mount};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::time::Duration;

/// The JSON object of a message, on one line without a line end.
#[must_use]
pub fn event(message: &Message) -> String {
    to_line(&EventRecord::new(message))
}

/// The version of the object that hooks get, and of their variables. It changes when a field changes its meaning or goes
/// away, not when one is added.
pub const HOOK_VERSION: u32 = 1;

/// The same object with version, host and severity, for receivers that collect the events of many hosts.
#[must_use]
pub fn host_event(message: &Message, host: &str, severity: &str) -> String {
    let mut record = EventRecord::new(message);
    record.add("version", HOOK_VERSION);
    record.add("host", host);
    record.add("severity", severity);
    to_line(&record)
}

/// An object with only the fields that the event has, in a fixed order.
#[derive(Debug)]
pub(crate) struct EventRecord(Vec<(&'static str, Value)>);

impl Serialize for EventRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl EventRecord {
    pub(crate) fn new(message: &Message) -> EventRecord {
        let mut record = EventRecord(Vec::with_capacity(24));
        record.add("event", message.event.as_ref().map_or("notice", Event::name));
        record.add("time", rfc3339(message.time));
        record.add("priority", message.priority.as_str());
        if let Some(event) = &message.event {
            if let Some(mount) = event.mount() {
                record.add_mount(mount);
            }
            record.add_event(event);
        }
        if message.is_perhaps_repeated() {
            record.add("perhaps_repeated", true);
        }
        record.add("message", message.text.as_str());
        record
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }

    fn add_mount(&mut self, mount: &Mount) {
        self.add("mountpoint", name(&mount.mountpoint));
        self.add("fstype", name(&mount.fstype));
        self.add("device", name(&mount.device));
        self.add("device_number", mount.device_number.to_string());
    }

    fn add_event(&mut self, event: &Event) {
        match event {
            Event::Mounted { mount } => self.add_options(mount),
            Event::Unmounted { mount: _, health, lasted } => {
                match health.failure() {
                    Some(failure) => self.add_failure(failure),
                    None => self.add("state", health.as_str()),
                }
                self.add("lasted_seconds", seconds(*lasted));
            }
            Event::Remounted { mount, before } => {
                self.add_options(mount);
                self.add("before_options", name(&before.options));
                self.add("before_super_options", name(&before.super_options));
            }
            Event::Moved { mount: _, from } => self.add("from", name(from)),
            Event::Failed { mount: _, failure } => self.add_failure(failure),
            Event::StillFailing { mount: _, failure, lasted } => {
                self.add_failure(failure);
                self.add("lasted_seconds", seconds(*lasted));
            }
            Event::Recovered { mount: _, lasted, took, was } => self.add_recovery(was, *lasted, *took),
            Event::Slow { mount: _, took, slow_after } => {
                self.add("state", "slow");
                self.add("took_seconds", seconds(*took));
                self.add("slow_after_seconds", seconds(*slow_after));
            }
            Event::Flapping { mount: _, health, changes, within } => {
                self.add_flapping(health, *changes, ("within_seconds", *within));
            }
            Event::Steady { mount: _, health, changes, lasted } => {
                self.add_flapping(health, *changes, ("lasted_seconds", *lasted));
            }
            Event::UnexpectedOptions { mount, differences } => self.add_unexpected(mount, differences),
            Event::ExpectedOptions { mount, lasted } => {
                self.add_options(mount);
                self.add("lasted_seconds", seconds(*lasted));
            }
            Event::Denied { mount: _, errno, call } => self.add_refusal(*errno, *call),
            Event::Unknown { mount: _, was, unjudged } => {
                self.add("state", "unknown");
                self.add("was", *was);
                self.add("unjudged_seconds", seconds(*unjudged));
            }
            Event::Missing { expected, containing_mount } => {
                self.add_missing(expected, containing_mount.as_deref());
            }
            Event::Found { expected, mount: _, lasted } => {
                self.add("was", "missing");
                self.add("expected", requirement(expected));
                self.add("lasted_seconds", seconds(*lasted));
            }
            Event::Remedy { mount: _, report } => self.add_remedy(report),
            Event::Run { mounts, dead, unjudged, took } => self.add_run([*mounts, *dead, *unjudged], *took),
            Event::Drill { mount: _ } => self.add("drill", true),
        }
    }

    fn add_remedy(&mut self, report: &RemedyReport) {
        match report {
            RemedyReport::Planned { mode, steps } => {
                self.add("mode", mode.as_str());
                self.add("steps", steps.iter().map(|step| step.step.as_str()).collect::<Vec<_>>());
                self.add("calls", steps.iter().map(|step| &*step.call).collect::<Vec<_>>());
            }
            RemedyReport::Refused { reasons, waits } => {
                self.add("guards", reasons.iter().map(|reason| &*reason.guard).collect::<Vec<_>>());
                self.add("reasons", reasons.iter().map(|reason| &*reason.why).collect::<Vec<_>>());
                self.add("waits", *waits);
            }
            RemedyReport::Step(StepResult { step, is_done, outcome, took }) => {
                self.add("step", step.as_str());
                self.add("done", *is_done);
                self.add("outcome", &**outcome);
                self.add("took_seconds", seconds(*took));
            }
            RemedyReport::Remedied { took, left } => {
                self.add("took_seconds", seconds(*took));
                self.add("left", left.clone());
            }
            RemedyReport::Failed { outcome, gave_up, advice } => {
                self.add("outcome", outcome.as_str());
                self.add("gave_up", *gave_up);
                self.add("advice", &**advice);
            }
        }
    }

    fn add_unexpected(&mut self, mount: &Mount, differences: &[OptionDifference]) {
        self.add_options(mount);
        self.add("differences", option_differences(differences));
    }

    fn add_refusal(&mut self, errno: Errno, call: Call) {
        self.add("state", "denied");
        self.add("errno", errno.name());
        self.add("call", call.name());
        if let Some(reason) = Health::Denied(errno).refusal() {
            self.add("reason", reason);
        }
    }

    fn add_recovery(&mut self, was: &'static str, lasted: Duration, took: Duration) {
        self.add("state", "ok");
        self.add("was", was);
        self.add("lasted_seconds", seconds(lasted));
        self.add("took_seconds", seconds(took));
    }

    fn add_missing(&mut self, expected: &Expected, containing_mount: Option<&Mount>) {
        self.add("state", "missing");
        self.add("mountpoint", name(&expected.mountpoint));
        self.add("expected", requirement(expected));
        if let Some(mount) = containing_mount {
            self.add("lies_in", name(&mount.mountpoint));
        }
    }

    fn add_flapping(&mut self, state: &'static str, changes: u32, (name, time): (&'static str, Duration)) {
        self.add("state", state);
        self.add("changes", changes);
        self.add(name, seconds(time));
    }

    fn add_run(&mut self, [mounts, dead, unjudged]: [usize; 3], took: Duration) {
        self.add("mounts", mounts);
        self.add("dead", dead);
        self.add("unjudged", unjudged);
        self.add("took_seconds", seconds(took));
    }

    fn add_failure(&mut self, failure: &Failure) {
        self.add("state", if failure.reason == Reason::Hung { "hung" } else { "failed" });
        self.add("reason", failure.reason.as_str());
        if let Some(errno) = failure.errno {
            self.add("errno", errno.name());
        }
        if let Some(call) = failure.call {
            self.add("call", call.name());
        }
        if let Some(ancestor) = &failure.blocked_by {
            self.add("behind", name(ancestor));
        }
        self.add("waited_seconds", seconds(failure.waited));
        if let Some(evidence) = EvidenceObject::of(failure, None) {
            self.add("evidence", json!(evidence));
        }
    }

    fn add_options(&mut self, mount: &Mount) {
        self.add("read_only", mount.read_only());
        self.add("options", name(&mount.options));
        self.add("super_options", name(&mount.super_options));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Health;
    use crate::monitor::remedy::{Mode, Outcome, StepKind};
    use crate::render::remedy_messages::tests::{failed, planned, refused};
    use crate::render::samples::{failure, mount, sshfs};
    use crate::render::{Priority, messages};
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    const HALF: Duration = Duration::from_millis(500);

    /// The event has at least these fields.
    fn assert_fields(event: Event, fields: &Value) {
        let (priority, text) = messages::line(&event);
        let message =
            Message { time: SystemTime::UNIX_EPOCH, priority, text: text.clone(), event: Some(event) };
        let parsed = parse(&message);
        assert_eq!((&parsed["message"], &parsed["time"]), (&json!(text), &json!("1970-01-01T00:00:00.000Z")));
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(&parsed[field], value, "{field} in {parsed}");
        }
    }

    #[test]
    fn events_of_the_mount_table_have_the_mount() {
        let mounted = json!({"event": "mounted", "mountpoint": "/x", "fstype": "fuse.sshfs", "device": "host:/dir",
            "device_number": "0:42", "options": "rw", "super_options": "rw", "read_only": false});
        assert_fields(Event::Mounted { mount: sshfs() }, &mounted);
        let unmounted =
            json!({"event": "unmounted", "state": "hung", "reason": "hung", "lasted_seconds": 0.5});
        let health = Health::Dead(failure(Reason::Hung, None, 3.0).into());
        assert_fields(Event::Unmounted { mount: sshfs(), health, lasted: HALF }, &unmounted);
        let before = mount("/x", "fuse.sshfs", "host:/dir", "rw,noatime", "rw");
        let remounted = json!({"event": "remounted", "options": "rw", "before_options": "rw,noatime"});
        assert_fields(Event::Remounted { mount: sshfs(), before }, &remounted);
        let moved = json!({"event": "moved", "from": "/old"});
        assert_fields(Event::Moved { mount: sshfs(), from: "/old".into() }, &moved);
    }

    #[test]
    fn events_of_health_have_its_details() {
        let stale = failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        let failed = json!({"event": "failed", "state": "failed", "reason": "stale", "errno": "ESTALE",
            "call": "statfs", "priority": "error"});
        assert_fields(Event::Failed { mount: sshfs(), failure: stale }, &failed);
        let hung = failure(Reason::Hung, None, 3.0);
        let failing =
            json!({"event": "still_failing", "state": "hung", "waited_seconds": 3.0, "lasted_seconds": 0.5});
        assert_fields(Event::StillFailing { mount: sshfs(), failure: hung, lasted: HALF }, &failing);
        let recovered = json!({"event": "recovered", "state": "ok", "was": "hung", "took_seconds": 0.5});
        assert_fields(Event::Recovered { mount: sshfs(), lasted: HALF, took: HALF, was: "hung" }, &recovered);
        let slow = json!({"event": "slow", "state": "slow", "slow_after_seconds": 0.5});
        assert_fields(Event::Slow { mount: sshfs(), took: HALF, slow_after: HALF }, &slow);
        let flapping = json!({"event": "flapping", "state": "hung", "changes": 6, "within_seconds": 0.5, "priority": "warning"});
        assert_fields(
            Event::Flapping { mount: sshfs(), health: "hung", changes: 6, within: HALF },
            &flapping,
        );
        let steady = json!({"event": "steady", "state": "ok", "changes": 9, "lasted_seconds": 0.5, "priority": "notice"});
        assert_fields(Event::Steady { mount: sshfs(), health: "ok", changes: 9, lasted: HALF }, &steady);
        let denied = json!({"event": "denied", "state": "denied", "errno": "EACCES", "call": "statx"});
        assert_fields(Event::Denied { mount: sshfs(), errno: Errno::EACCES, call: Call::Statx }, &denied);
        let drill = json!({"event": "drill", "drill": true, "mountpoint": "/x", "priority": "error"});
        assert_fields(Event::Drill { mount: sshfs() }, &drill);
        let run = json!({"event": "run", "mounts": 5, "dead": 1, "unjudged": 2, "took_seconds": 0.5});
        assert_fields(Event::Run { mounts: 5, dead: 1, unjudged: 2, took: HALF }, &run);
    }

    #[test]
    fn events_of_expected_options_have_the_differences() {
        let differences = vec![OptionDifference { expected: "rw".to_owned(), found: Some("ro".into()) }];
        let unexpected = json!({"event": "unexpected_options", "differences": "ro instead of rw",
            "options": "rw", "read_only": false, "priority": "warning"});
        assert_fields(Event::UnexpectedOptions { mount: sshfs(), differences }, &unexpected);
        let ended = json!({"event": "expected_options", "lasted_seconds": 0.5, "options": "rw"});
        assert_fields(Event::ExpectedOptions { mount: sshfs(), lasted: HALF }, &ended);
    }

    #[test]
    fn events_of_remedies_have_their_steps_and_outcome() {
        let event = |report| Event::Remedy { mount: sshfs(), report: Box::new(report) };
        let plan = json!({"event": "remedy_planned", "mountpoint": "/x", "mode": "dry-run", "steps": ["detach", "verify"],
            "calls": ["umount2(/x, MNT_DETACH)", "statfs of the new mount, twice"], "priority": "notice"});
        assert_fields(event(planned(Mode::DryRun)), &plan);
        let refusal = json!({"event": "remedy_refused", "guards": ["stacked", "units_active"], "waits": false,
            "reasons": ["loop0 is on it", "systemd would stop job.service (allow units)"], "priority": "warning"});
        assert_fields(event(refused(false)), &refusal);
        let outcome = "EBUSY".to_owned();
        let step = StepResult { step: StepKind::Unmount, is_done: false, outcome, took: HALF };
        let stepped = json!({"event": "remedy_step", "step": "unmount", "done": false, "outcome": "EBUSY",
            "took_seconds": 0.5});
        assert_fields(event(RemedyReport::Step(step)), &stepped);
        let left = vec!["bash[311]".to_owned()];
        let remedied = json!({"event": "remedied", "took_seconds": 0.5, "left": ["bash[311]"]});
        assert_fields(event(RemedyReport::Remedied { took: HALF, left }), &remedied);
        let given_up = json!({"event": "remedy_failed", "outcome": "failed", "gave_up": true,
            "advice": "mount it by hand: mount /x", "priority": "error"});
        assert_fields(event(failed(Outcome::Failed, true)), &given_up);
    }

    #[test]
    fn events_of_expected_mounts_have_the_requirement() {
        let what = "nfs4 from nas:/x".to_owned();
        let expected = Arc::new(Expected::new("/m".into(), what, "fstab:4".into(), |_| false));
        let missing = json!({"event": "missing", "state": "missing", "mountpoint": "/m", "lies_in": "/x",
            "expected": "nfs4 from nas:/x, required by fstab:4"});
        let containing_mount = Some(sshfs());
        assert_fields(Event::Missing { expected: Arc::clone(&expected), containing_mount }, &missing);
        let found = json!({"event": "found", "was": "missing", "device": "host:/dir", "lasted_seconds": 0.5});
        assert_fields(Event::Found { expected, mount: sshfs(), lasted: HALF }, &found);
    }

    #[test]
    fn notice_has_no_fields_of_a_mount() {
        let text = "\"quoted\"".to_owned();
        let message =
            Message { time: SystemTime::UNIX_EPOCH, priority: Priority::Warning, text, event: None };
        let expected = json!({"event": "notice", "time": "1970-01-01T00:00:00.000Z", "priority": "warning",
                              "message": "\"quoted\""});
        assert_eq!(parse(&message), expected);
    }

    fn parse(message: &Message) -> Value {
        let line = event(message);
        assert!(!line.contains('\n'));
        serde_json::from_str(&line).unwrap()
    }
}
