//! A message as one JSON object: the same that the line tells, in fields.

use super::Message;
use super::evidence_json;
use super::json_values::{name, seconds};
use super::messages;
use super::timestamp::rfc3339;
use crate::monitor::{Event, Failure};
use platform::Mount;
use serde::Serialize;

/// The object of this message, on one line, without a line end.
#[must_use]
pub fn object(message: &Message) -> String {
    text(&EventRecord::new(message))
}

/// The same object with what those need who get messages of many machines.
#[must_use]
pub fn object_from(message: &Message, host: &str, severity: &str) -> String {
    text(&HostRecord { record: EventRecord::new(message), host, severity })
}

fn text(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("strings and finite numbers make JSON")
}

/// All fields of all events; those that an event does not have are left out.
#[derive(Default, Serialize)]
pub(crate) struct EventRecord<'a> {
    pub(crate) event: &'a str,
    pub(crate) time: String,
    pub(crate) priority: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mountpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fstype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) was: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lasted_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_after_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    super_options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before_options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before_super_options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lies_in: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mounts: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unjudged: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<evidence_json::Object>,
    pub(crate) message: &'a str,
}

/// A message for another machine.
#[derive(Serialize)]
struct HostRecord<'a> {
    #[serde(flatten)]
    record: EventRecord<'a>,
    host: &'a str,
    severity: &'a str,
}

impl<'a> EventRecord<'a> {
    pub(crate) fn new(message: &'a Message) -> EventRecord<'a> {
        let mut record = EventRecord {
            event: message.event.as_ref().map_or("notice", Event::name),
            time: rfc3339(message.time),
            priority: message.priority.as_str(),
            message: &message.text,
            ..EventRecord::default()
        };
        if let Some(event) = &message.event {
            record.fill(event);
        }
        record
    }

    fn fill(&mut self, event: &'a Event) {
        if let Some(mount) = event.mount() {
            self.mountpoint = Some(name(mount.mountpoint.as_os_str()));
            self.fstype = Some(name(&mount.fstype));
            self.device = Some(name(&mount.device));
            self.device_number = Some(mount.device_number.to_string());
        }
        match event {
            Event::Mounted { mount } => self.options_of(mount),
            Event::Unmounted { mount: _, health, lasted } => {
                if let Some(failure) = health.failure() {
                    self.failure(failure);
                }
                self.state = Some(health.as_str());
                self.lasted_seconds = Some(seconds(*lasted));
            }
            Event::Remounted { mount, before } => {
                self.options_of(mount);
                self.before_options = Some(name(&before.options));
                self.before_super_options = Some(name(&before.super_options));
            }
            Event::Moved { mount: _, from } => self.from = Some(name(from.as_os_str())),
            Event::Failed { mount: _, failure } => self.failure(failure),
            Event::StillFailing { mount: _, failure, lasted } => {
                self.failure(failure);
                self.lasted_seconds = Some(seconds(*lasted));
            }
            Event::Recovered { mount: _, lasted, took, was } => {
                self.state = Some("ok");
                self.was = Some(was);
                self.lasted_seconds = Some(seconds(*lasted));
                self.took_seconds = Some(seconds(*took));
            }
            Event::Slow { mount: _, took, slow_after } => {
                self.state = Some("slow");
                self.took_seconds = Some(seconds(*took));
                self.slow_after_seconds = Some(seconds(*slow_after));
            }
            Event::Denied { mount: _, errno, call } => {
                self.state = Some("denied");
                self.errno = Some(errno.name());
                self.call = Some(call.name());
            }
            Event::Missing { expected, containing_mount } => {
                self.state = Some("missing");
                self.mountpoint = Some(name(expected.mountpoint.as_os_str()));
                self.expected = Some(messages::wanted(expected));
                self.lies_in = containing_mount.as_ref().map(|mount| name(mount.mountpoint.as_os_str()));
            }
            Event::Found { expected, mount: _, lasted } => {
                self.was = Some("missing");
                self.expected = Some(messages::wanted(expected));
                self.lasted_seconds = Some(seconds(*lasted));
            }
            Event::Run { mounts, dead, unjudged, took } => {
                (self.mounts, self.dead, self.unjudged) = (Some(*mounts), Some(*dead), Some(*unjudged));
                self.took_seconds = Some(seconds(*took));
            }
        }
    }

    fn failure(&mut self, failure: &Failure) {
        self.state = Some(if failure.reason == crate::monitor::Reason::Hung { "hung" } else { "failed" });
        self.reason = Some(failure.reason.as_str());
        self.errno = failure.errno.map(platform::Errno::name);
        self.call = failure.call.map(platform::Call::name);
        self.behind = failure.blocked_by.as_ref().map(|outer| name(outer.as_os_str()));
        self.waited_seconds = Some(seconds(failure.waited));
        self.evidence = evidence_json::Object::of(failure, None);
    }

    fn options_of(&mut self, mount: &Mount) {
        self.read_only = Some(mount.read_only());
        self.options = Some(name(&mount.options));
        self.super_options = Some(name(&mount.super_options));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Health, Reason};
    use crate::render::Priority;
    use crate::render::messages;
    use crate::render::samples::{failure, mount, sshfs};
    use platform::{Call, Errno};
    use serde_json::{Value, json};
    use std::time::Duration;
    use std::time::SystemTime;

    const HALF: Duration = Duration::from_millis(500);

    #[test]
    fn every_event_has_its_fields() {
        let hung = failure(Reason::Hung, None, 3.0);
        let stale = failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        let before = mount("/x", "fuse.sshfs", "host:/dir", "rw,noatime", "rw");
        for (event, fields) in [
            (
                Event::Mounted { mount: sshfs() },
                json!({"event": "mounted", "mountpoint": "/x", "fstype": "fuse.sshfs", "device": "host:/dir",
                       "device_number": "0:42", "options": "rw", "super_options": "rw", "read_only": false}),
            ),
            (
                Event::Unmounted { mount: sshfs(), health: Health::Dead(hung.clone()), lasted: HALF },
                json!({"event": "unmounted", "state": "hung", "reason": "hung", "lasted_seconds": 0.5}),
            ),
            (
                Event::Remounted { mount: sshfs(), before },
                json!({"event": "remounted", "options": "rw", "before_options": "rw,noatime"}),
            ),
            (Event::Moved { mount: sshfs(), from: "/old".into() }, json!({"event": "moved", "from": "/old"})),
            (
                Event::Failed { mount: sshfs(), failure: stale },
                json!({"event": "failed", "state": "failed", "reason": "stale", "errno": "ESTALE",
                       "call": "statfs", "priority": "error"}),
            ),
            (
                Event::StillFailing { mount: sshfs(), failure: hung, lasted: HALF },
                json!({"event": "still_failing", "state": "hung", "waited_seconds": 3.0, "lasted_seconds": 0.5}),
            ),
            (
                Event::Recovered { mount: sshfs(), lasted: HALF, took: HALF, was: "hung" },
                json!({"event": "recovered", "state": "ok", "was": "hung", "took_seconds": 0.5}),
            ),
            (
                Event::Slow { mount: sshfs(), took: HALF, slow_after: HALF },
                json!({"event": "slow", "state": "slow", "slow_after_seconds": 0.5}),
            ),
            (
                Event::Denied { mount: sshfs(), errno: Errno::EACCES, call: Call::Statx },
                json!({"event": "denied", "state": "denied", "errno": "EACCES", "call": "statx"}),
            ),
            (
                Event::Run { mounts: 5, dead: 1, unjudged: 2, took: HALF },
                json!({"event": "run", "mounts": 5, "dead": 1, "unjudged": 2, "took_seconds": 0.5}),
            ),
        ] {
            let (priority, text) = messages::line(&event);
            let message =
                Message { time: SystemTime::UNIX_EPOCH, priority, text: text.clone(), event: Some(event) };
            let parsed = parse(&message);
            assert_eq!(parsed["message"], text);
            assert_eq!(parsed["time"], "1970-01-01T00:00:00.000Z");
            for (field, value) in fields.as_object().unwrap() {
                assert_eq!(&parsed[field], value, "{field} in {parsed}");
            }
        }
    }

    #[test]
    fn a_notice_has_no_fields_of_a_mount() {
        let text = "\"quoted\"".to_owned();
        let message =
            Message { time: SystemTime::UNIX_EPOCH, priority: Priority::Warning, text, event: None };
        let expected = json!({"event": "notice", "time": "1970-01-01T00:00:00.000Z", "priority": "warning",
                              "message": "\"quoted\""});
        assert_eq!(parse(&message), expected);
    }

    fn parse(message: &Message) -> Value {
        let line = object(message);
        assert!(!line.contains('\n'));
        serde_json::from_str(&line).unwrap()
    }
}
