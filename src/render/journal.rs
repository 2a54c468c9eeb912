//! Messages as entries of systemd's journal (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): the fields of an event can be
//! searched for, and `journalctl --catalog` explains it.

use super::json::EventRecord;
use super::{Message, PROCESS_NAME};
use crate::monitor::Event;
use crate::monitor::remedy::RemedyReport;
use platform::Errno;
use serde_json::Value;

/// The facility `daemon`, for a journal that forwards its entries to syslog.
const FACILITY: u8 = 3;

/// The fields of an entry. No value has a line end: names are escaped.
#[must_use]
pub fn entry(message: &Message) -> Vec<u8> {
    let mut fields = format!(
        "MESSAGE={}\nPRIORITY={}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER={PROCESS_NAME}\n",
        message.text,
        message.priority.number()
    );
    if let Some(event) = &message.event {
        fields += &format!("MESSAGE_ID={}\n", message_id(event));
        if let Some(errno) = errno(event) {
            fields += &format!("ERRNO={}\n", errno.0);
        }
        for (name, value) in EventRecord::new(message).fields() {
            if !matches!(name, "time" | "priority" | "message") {
                push_field(name, value, &mut fields);
            }
        }
    }
    fields.into_bytes()
}

fn push_field(name: &str, value: &Value, fields: &mut String) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Object(_) => return,
    };
    *fields += &format!("MOUNTSTATUS_{}={text}\n", name.to_ascii_uppercase());
}

fn errno(event: &Event) -> Option<Errno> {
    match event {
        Event::Failed { failure, .. } | Event::StillFailing { failure, .. } => failure.errno,
        Event::Denied { errno, .. } => Some(*errno),
        _ => None,
    }
}

/// The id of this kind of event; contrib/systemd/mount_status_monitor.catalog explains each. They never change.
fn message_id(event: &Event) -> &'static str {
    match event {
        Event::Mounted { .. } => "a52267c4b46e41f49ad06e3a32134a5e",
        Event::Unmounted { .. } => "ffc9c88af66f42d08aef3b264d88097c",
        Event::Remounted { .. } => "d31a1787afe240ab830a4953e105dd53",
        Event::Moved { .. } => "50c43a59ce454e789640fbad29548638",
        Event::Failed { .. } => "81f345d616fa424db34383eeedc05b2e",
        Event::StillFailing { .. } => "b24bc27bf7b04de18bde63b4511b6628",
        Event::Recovered { .. } => "0b37b19c9075481b894b958704afd7c5",
        Event::Slow { .. } => "fde96e72a0e24ebe8b1215ee6d7fbf1c",
        Event::Flapping { .. } => "ba2478f125ed4e08b6a957f0e7107475",
        Event::Steady { .. } => "4f4117223c3741d4998ad3ea79d9624c",
        Event::UnexpectedOptions { .. } => "be01ce8a478a45b8abf5c238f2b8a6c5",
        Event::ExpectedOptions { .. } => "86f1b28d2ddf4acbba2cb9ce2d87d79c",
        Event::Denied { .. } => "f500bed83ae240fbae56cccfde8600c4",
        Event::Unknown { .. } => "07209bb27fb642b1bbbee8715c8d9173",
        Event::Missing { .. } => "77ce3a0316424aff999f085e738636ac",
        Event::Found { .. } => "8f8233af47c340dc882befff9b2c3149",
        Event::Remedy { report, .. } => match &**report {
            RemedyReport::Planned { .. } => "5b3c81f5b4d84e82a4a9430a92a78980",
            RemedyReport::Refused { .. } => "d0e1f9e61db642c79648471085044103",
            RemedyReport::Step(_) => "babe824ede0a4bcb858bef9a11d66166",
            RemedyReport::Remedied { .. } => "991250537d0f40fb857c7faea7ade8e6",
            RemedyReport::Failed { .. } => "7bc2c2a37f5847cbbe1d313d7424ecf3",
        },
        Event::Run { .. } => "b5f0175ee8684efbb0c4176f657f9216",
        Event::Drill { .. } => "2bd6d9374b424667abebf79dae5dac70",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::monitor::remedy::RefusalReason;
    use crate::render::samples::{failure, mount, sshfs};
    use crate::render::{Priority, messages};
    use std::time::SystemTime;

    const CATALOG: &str = include_str!("../../contrib/systemd/mount_status_monitor.catalog");

    fn text(event: Option<Event>) -> String {
        let (priority, text) = event.as_ref().map_or((Priority::Info, "a notice".into()), messages::line);
        let message = Message { time: SystemTime::UNIX_EPOCH, priority, text, event };
        String::from_utf8(entry(&message)).unwrap()
    }

    #[test]
    fn the_entry_of_a_failure_has_its_fields() {
        let failure = failure(Reason::Stale, Some(Errno::ESTALE), 0.5);
        let text = text(Some(Event::Failed {
            mount: mount("/a b", "fuse.sshfs", "host:/dir", "rw", "rw"),
            failure,
        }));
        let fields: Vec<_> = text.lines().map(|line| line.split_once('=').unwrap()).collect();
        for field in [
            ("PRIORITY", "3"),
            ("SYSLOG_IDENTIFIER", "mount_status_monitor"),
            ("ERRNO", "116"),
            ("MOUNTSTATUS_EVENT", "failed"),
            ("MOUNTSTATUS_MOUNTPOINT", "/a b"),
            ("MOUNTSTATUS_DEVICE", "host:/dir"),
            ("MOUNTSTATUS_REASON", "stale"),
            ("MOUNTSTATUS_STATE", "failed"),
        ] {
            assert!(fields.contains(&field), "{field:?} in {text}");
        }
        assert!(fields[0].1.starts_with("Mount failed health-check: /a b (stale: "), "{text}");
        let is_known = |(name, _): &(&str, &str)| {
            name.starts_with("MOUNTSTATUS_")
                || ["MESSAGE", "MESSAGE_ID", "PRIORITY", "ERRNO", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER"]
                    .contains(name)
        };
        assert!(fields.iter().all(is_known), "{text}");
    }

    #[test]
    fn the_entry_of_a_remedy_has_its_lists() {
        let reason = |guard: &str| RefusalReason { guard: guard.to_owned(), why: "why".to_owned() };
        let report =
            RemedyReport::Refused { reasons: vec![reason("stacked"), reason("too_soon")], waits: true };
        let text = text(Some(Event::Remedy { mount: sshfs(), report: Box::new(report) }));
        for line in [
            "PRIORITY=5",
            "MESSAGE_ID=d0e1f9e61db642c79648471085044103",
            "MOUNTSTATUS_EVENT=remedy_refused",
            "MOUNTSTATUS_MOUNTPOINT=/x",
            "MOUNTSTATUS_GUARDS=stacked, too_soon",
            "MOUNTSTATUS_WAITS=true",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_notice_has_no_fields_of_its_own() {
        let start =
            "MESSAGE=a notice\nPRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=mount_status_monitor\n";
        assert_eq!(text(None), start);
    }

    #[test]
    fn names_cannot_add_fields() {
        let failure = failure(Reason::Hung, None, 3.0);
        let text =
            text(Some(Event::Failed { mount: mount("/a\nPRIORITY=0", "nfs", "h:/", "rw", "rw"), failure }));
        assert_eq!(text.lines().filter(|line| line.starts_with("PRIORITY=")).count(), 1, "{text}");
        assert!(text.contains("MOUNTSTATUS_MOUNTPOINT=/a\\012PRIORITY=0\n"), "{text}");
    }

    #[test]
    fn the_catalog_explains_each_event() {
        let ids: Vec<&str> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let source = include_str!("journal.rs");
        let known: Vec<&str> = source
            .split('"')
            .filter(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .collect();
        assert_eq!(known.len(), 23);
        assert_eq!(ids, known, "the catalog and the program have the same ids in the same order");
        for part in CATALOG.split("\n-- ").skip(1) {
            let (_, text) = part.split_once('\n').unwrap();
            assert!(text.starts_with("Subject: ") && text.contains("\n\n"), "{text}");
        }
    }
}
