//! The data that a hook receives: one JSON object, and for commands its most used fields as environment variables.

use crate::monitor::Event;
use crate::output::drill::Receipt;
use crate::output::http_client::host_name;
use crate::render::Message;
use crate::render::escape::escape_os;
use crate::render::json::{self, EventRecord};
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

/// The search path of commands, which do not inherit that of the daemon.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Maximum length of a value, which is truncated to it: the kernel accepts 128 KiB for one string. The object has the
/// full value.
const MAX_VALUE: usize = 32 << 10;

/// An event that waits for its run.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) message: Arc<Message>,
    pub(super) severity: &'static str,
    /// Of a drill.
    pub(super) receipt: Option<Arc<Receipt>>,
}

impl Payload {
    /// The object, on one line without a line end.
    pub(super) fn object(&self) -> String {
        json::host_event(&self.message, &host_name(), self.severity)
    }

    /// The complete environment of a command. All variables are always set, so that a script may treat unset variables as
    /// errors.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let record = EventRecord::new(&self.message);
        let text = |field: &str| -> OsString {
            match record.get(field) {
                Some(Value::String(text)) => cut(text, MAX_VALUE).into(),
                Some(other) => other.to_string().into(),
                None => OsString::new(),
            }
        };
        // The bytes of the kernel, for commands that act on the mount.
        let mountpoint = self.mountpoint().map(|path| path.as_os_str().to_owned());
        let device =
            self.message.event.as_ref().and_then(Event::mount).map(|mount| mount.device.to_os_string());
        vec![
            ("PATH", PATH.into()),
            ("LANG", "C.UTF-8".into()),
            ("MSM_VERSION", json::HOOK_VERSION.to_string().into()),
            ("MSM_EVENT", text("event")),
            ("MSM_TIME", text("time")),
            ("MSM_PRIORITY", text("priority")),
            ("MSM_SEVERITY", self.severity.into()),
            ("MSM_HOST", host_name().into()),
            ("MSM_MESSAGE", text("message")),
            ("MSM_MOUNTPOINT", mountpoint.unwrap_or_default()),
            ("MSM_DEVICE", device.unwrap_or_default()),
            ("MSM_FSTYPE", text("fstype")),
            ("MSM_STATE", text("state")),
            ("MSM_REASON", text("reason")),
            ("MSM_ERRNO", text("errno")),
            ("MSM_BEHIND", text("behind")),
            ("MSM_WAS", text("was")),
            ("MSM_LASTED_SECONDS", text("lasted_seconds")),
            ("MSM_OUTCOME", text("outcome")),
            ("MSM_GAVE_UP", text("gave_up")),
            ("MSM_DRILL", if record.get("drill").is_some() { "1".into() } else { OsString::new() }),
        ]
    }

    pub(super) fn is_of_drill(&self) -> bool {
        self.receipt.is_some()
    }

    /// A drill that is over before its run.
    pub(super) fn has_expired(&self) -> bool {
        self.receipt.as_ref().is_some_and(|receipt| receipt.has_expired())
    }

    /// The mount point, or the name of the event, for log lines.
    pub(super) fn subject(&self) -> String {
        match self.mountpoint() {
            Some(path) => escape_os(path).into_owned(),
            None => self.message.event.as_ref().map_or("", Event::name).to_owned(),
        }
    }

    pub(super) fn mountpoint(&self) -> Option<&Path> {
        self.message.event.as_ref()?.mountpoint()
    }
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|index| text.is_char_boundary(*index));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::monitor::remedy::{Outcome, RemedyReport};
    use crate::render::{messages, samples};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::time::{Duration, SystemTime};

    #[test]
    fn each_variable_is_documented() {
        let message = Message {
            time: SystemTime::UNIX_EPOCH,
            priority: crate::render::Priority::Info,
            text: "x".to_owned(),
            event: None,
        };
        let payload = Payload { message: Arc::new(message), severity: "critical", receipt: None };
        let documents = include_str!("../../../docs/operations.md");
        for (name, _) in payload.environment().iter().filter(|(name, _)| name.starts_with("MSM_")) {
            assert!(documents.contains(&format!("| `{name}` |")), "{name}");
        }
        let object: Value = serde_json::from_str(&payload.object()).unwrap();
        assert_eq!(object["version"], 1);
    }

    #[test]
    fn event_becomes_an_object_and_variables() {
        let mount = platform::Mount {
            mountpoint: OsStr::from_bytes(b"/mnt/a\nb\xff").into(),
            ..(*samples::mount("/", "nfs4", "host:/dir", "rw", "rw")).clone()
        };
        let failure = samples::failure(Reason::Hung, None, 3.0);
        let lasted = Duration::from_secs(451);
        let event = Event::StillFailing { mount: Arc::new(mount), failure, lasted };
        let (priority, text) = messages::line(&event);
        let message = Message { time: SystemTime::UNIX_EPOCH, priority, text, event: Some(event) };
        let payload = Payload { message: Arc::new(message), severity: "warning", receipt: None };
        let object: Value = serde_json::from_str(&payload.object()).unwrap();
        assert_eq!(object["severity"], "warning");
        assert_eq!(object["host"], host_name());
        assert_eq!(object["mountpoint"], "/mnt/a\\012b\\377");
        let plain: Value = serde_json::from_str(&json::event(&payload.message)).unwrap();
        for (field, value) in plain.as_object().unwrap() {
            assert_eq!(&object[field], value, "{field}");
        }

        let environment = payload.environment();
        for (name, expected) in [
            ("LANG", &b"C.UTF-8"[..]),
            ("MSM_EVENT", b"still_failing"),
            ("MSM_MOUNTPOINT", b"/mnt/a\nb\xff"),
            ("MSM_DEVICE", b"host:/dir"),
            ("MSM_FSTYPE", b"nfs4"),
            ("MSM_STATE", b"hung"),
            ("MSM_REASON", b"hung"),
            ("MSM_ERRNO", b""),
            ("MSM_TIME", b"1970-01-01T00:00:00.000Z"),
            ("MSM_SEVERITY", b"warning"),
            ("MSM_LASTED_SECONDS", object["lasted_seconds"].to_string().as_bytes()),
            ("MSM_MESSAGE", payload.message.text.as_bytes()),
        ] {
            let (_, value) = environment.iter().find(|(known, _)| *known == name).unwrap();
            assert_eq!(value.as_bytes(), expected, "{name}");
        }
    }

    #[test]
    fn a_failed_remedy_says_whether_it_gave_up() {
        let (outcome, advice) = (Outcome::Stranded, "restart the server".to_owned());
        let report = Box::new(RemedyReport::Failed { outcome, gave_up: true, advice });
        let event = Event::Remedy { mount: samples::sshfs(), report };
        let (priority, text) = messages::line(&event);
        let message = Message { time: SystemTime::UNIX_EPOCH, priority, text, event: Some(event) };
        let payload = Payload { message: Arc::new(message), severity: "critical", receipt: None };
        let object: Value = serde_json::from_str(&payload.object()).unwrap();
        assert_eq!(object["advice"], "restart the server");
        let environment = payload.environment();
        for expected in [("MSM_EVENT", "remedy_failed"), ("MSM_OUTCOME", "stranded"), ("MSM_GAVE_UP", "true")]
        {
            assert!(
                environment
                    .iter()
                    .any(|(name, value)| (*name, &**value) == (expected.0, OsStr::new(expected.1)))
            );
        }
    }

    #[test]
    fn value_is_cut_between_characters() {
        assert_eq!((cut("aüb", 2), cut("aüb", 99)), ("a", "aüb"));
    }
}
