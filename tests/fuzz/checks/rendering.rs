//! Checks the text of events and of the status, whatever names and numbers they contain.

use super::SETTINGS;
use mount_status_monitor::monitor::{Event, Status, Time};
use mount_status_monitor::render::metrics::{MetricInputs, render};
use mount_status_monitor::render::{Message, Priority, Snapshot, diagnosis, json, messages, nagios, table};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A line with the longest names, all escaped, and with evidence.
const MAX_LINE: usize = 128 * 1024;

pub(super) fn check_event(event: Event) {
    let (priority, text) = messages::line(&event);
    check_line(&text);
    let message = Message { time: SystemTime::UNIX_EPOCH, priority, text, event: Some(event) };
    let object = json::event(&message);
    let parsed: Value = serde_json::from_str(&object).expect("an event is JSON");
    assert_eq!(parsed["message"], message.text.as_str());
    assert!(!object.contains('\n'), "an event is one line: {object:?}");
}

pub(super) fn check_notice((_, text): &(Priority, String)) {
    check_line(text);
}

fn check_line(text: &str) {
    assert!(!text.is_empty() && text.len() <= MAX_LINE, "{} bytes: {text:?}", text.len());
    assert!(!text.contains(|c: char| c.is_control()), "a line has no control characters: {text:?}");
}

pub(super) fn check_status(status: Status, at: Time) {
    let (total, dead) = (status.total, status.dead);
    assert!(dead <= total && total <= status.mounts.len(), "{dead} dead of {total}");
    let shown = table::table(&status, at, table::Style::default());
    assert!(shown.lines().count() >= status.mounts.len(), "each mount has a row");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "a table is text: {shown:?}");
    check_line(&nagios::line(&status, at, &nagios::PluginRequest::default()).1);
    let snapshot = Snapshot {
        serial: 1,
        status: Arc::new(status),
        at,
        wall: SystemTime::UNIX_EPOCH,
        taken: Instant::now(),
        settings: SETTINGS,
        probers: 1,
        probers_stranded: 0,
        runs_from_memory: true,
        mount_source: platform::MountSource::Events,
        remedies: Default::default(),
        config: Default::default(),
    };
    let object: Value = serde_json::from_str(&json::status(&snapshot, None)).expect("a status is JSON");
    assert_eq!(object["mounts"].as_array().map(Vec::len), Some(snapshot.status.mounts.len()));
    let metrics = String::from_utf8(render(&snapshot, MetricInputs::default())).expect("metrics are UTF-8");
    assert!(
        metrics.lines().all(|line| line.starts_with('#') || line.rsplit_once(' ').is_some()),
        "{metrics}"
    );
    for mount in snapshot.status.mounts.iter().filter(|mount| mount.health.failure().is_some()).take(4) {
        let text = diagnosis::text(mount, &snapshot);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "a diagnosis is text: {text:?}");
        serde_json::from_str::<Value>(&diagnosis::json(mount, &snapshot)).expect("a diagnosis is JSON");
    }
}
