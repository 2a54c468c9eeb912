//! What a hook is told of an event: one JSON object, and for commands the most used of it as variables.

use crate::monitor::Event;
use crate::output::http_client::host_name;
use crate::render::Message;
use crate::render::escape::escape_os;
use crate::render::json;
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

/// The variables that every command has.
pub(super) const FIXED: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];

/// The variables that tell the event, and the fields of the object that they are. Those without a value are empty,
/// so that a script may be strict about variables that are not set.
pub(super) const VARIABLES: [(&str, &str); 15] = [
    ("MSM_EVENT", "event"),
    ("MSM_TIME", "time"),
    ("MSM_PRIORITY", "priority"),
    ("MSM_SEVERITY", "severity"),
    ("MSM_HOST", "host"),
    ("MSM_MESSAGE", "message"),
    ("MSM_MOUNTPOINT", "mountpoint"),
    ("MSM_DEVICE", "device"),
    ("MSM_FSTYPE", "fstype"),
    ("MSM_STATE", "state"),
    ("MSM_REASON", "reason"),
    ("MSM_ERRNO", "errno"),
    ("MSM_BEHIND", "behind"),
    ("MSM_WAS", "was"),
    ("MSM_LASTED_SECONDS", "lasted_seconds"),
];

/// A longer value is cut: the kernel takes 128 KiB for one string, and the object has it whole.
const MAX_VALUE: usize = 32 << 10;

/// An event as it waits for its run.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) message: Arc<Message>,
    pub(super) severity: &'static str,
}

impl Payload {
    /// The object, on one line without a line end.
    pub(super) fn object(&self) -> String {
        json::object_from(&self.message, &host_name(), self.severity)
    }

    /// All variables of a command. Names are escaped as in messages, but for the mount point and the device, which
    /// are what they are, byte for byte, for commands that do something with them.
    pub(super) fn environment(&self, object: &str) -> Vec<(&'static str, OsString)> {
        let fields: Value = serde_json::from_str(object).unwrap_or_default();
        let event = self.message.event.as_ref();
        let value = |field: &str| match (field, event.and_then(mountpoint), event.and_then(Event::mount)) {
            ("mountpoint", Some(path), _) => path.as_os_str().to_owned(),
            ("device", _, Some(mount)) => mount.device.clone(),
            _ => match &fields[field] {
                Value::Null => OsString::new(),
                Value::String(text) => cut(text, MAX_VALUE).into(),
                other => other.to_string().into(),
            },
        };
        let fixed = FIXED.iter().map(|(name, value)| (*name, OsString::from(value)));
        fixed.chain(VARIABLES.iter().map(|(name, field)| (*name, value(field)))).collect()
    }

    /// What it is about, as a message names it.
    pub(super) fn subject(&self) -> String {
        let Some(event) = &self.message.event else { return String::new() };
        mountpoint(event).map_or_else(|| event.name().to_owned(), |path| escape_os(path).into_owned())
    }
}

/// The place that an event is about, where a mount is or should be.
pub(super) fn mountpoint(event: &Event) -> Option<&Path> {
    match event {
        Event::Missing { expected, .. } | Event::Found { expected, .. } => Some(&expected.mountpoint),
        event => event.mount().map(|mount| mount.mountpoint.as_path()),
    }
}

/// The beginning of a text, whole characters of it.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Failure, Reason};
    use crate::render::Priority;
    use crate::render::messages;
    use crate::render::samples::mount;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::time::{Duration, SystemTime};

    #[test]
    fn an_event_as_an_object_and_as_variables() {
        let odd = platform::Mount {
            mountpoint: OsStr::from_bytes(b"/mnt/a\nb\xff").into(),
            ..(*mount("/", "nfs4", "host:/dir", "rw", "rw")).clone()
        };
        let failure = Failure {
            reason: Reason::Hung,
            errno: None,
            call: None,
            waited: Duration::from_secs(3),
            blocked_by: None,
            evidence: None,
        };
        let event = Event::Failed { mount: Arc::new(odd), failure };
        let (priority, text) = messages::line(&event);
        let message = Message { time: SystemTime::UNIX_EPOCH, priority, text, event: Some(event) };
        assert_eq!(message.priority, Priority::Error);
        let payload = Payload { message: Arc::new(message), severity: "warning" };
        let object = payload.object();
        let fields: Value = serde_json::from_str(&object).unwrap();
        assert_eq!(fields["severity"], "warning");
        assert_eq!(fields["host"], host_name());
        assert_eq!(fields["mountpoint"], "/mnt/a\\012b\\377");
        let plain: Value = serde_json::from_str(&json::object(&payload.message)).unwrap();
        for (field, value) in plain.as_object().unwrap() {
            assert_eq!(&fields[field], value, "{field}");
        }

        let environment = payload.environment(&object);
        let value = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.unwrap_or_else(|| panic!("{name}")).1.as_bytes()
        };
        for (name, expected) in [
            ("LANG", &b"C.UTF-8"[..]),
            ("MSM_EVENT", b"failed"),
            ("MSM_MOUNTPOINT", b"/mnt/a\nb\xff"),
            ("MSM_DEVICE", b"host:/dir"),
            ("MSM_FSTYPE", b"nfs4"),
            ("MSM_STATE", b"hung"),
            ("MSM_REASON", b"hung"),
            ("MSM_ERRNO", b""),
            ("MSM_TIME", b"1970-01-01T00:00:00.000Z"),
            ("MSM_SEVERITY", b"warning"),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        assert_eq!(environment.len(), FIXED.len() + VARIABLES.len());
    }

    #[test]
    fn a_value_is_cut_between_characters() {
        assert_eq!((cut("aüb", 2), cut("aüb", 99)), ("a", "aüb"));
    }
}
