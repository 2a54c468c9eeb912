//! An alert, and how Alertmanager's API version 2 wants it.

use crate::monitor::Event;
use crate::output::hooks::settings::Alertmanager;
use crate::render::escape::escape_os;
use crate::render::timestamp::rfc3339;
use platform::Mount;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// As in what is pushed and scraped.
const JOB: &str = "mount_status_monitor";
/// What an alert occupies besides its texts, which are kept twice: in its key too.
const FIXED_COST: usize = 512;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Dead,
    Slow,
    Missing,
}

impl Kind {
    pub(super) const OF_MOUNTS: [Kind; 2] = [Kind::Dead, Kind::Slow];
}

/// The mount that it is about, by the labels that say so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Subject {
    mountpoint: String,
    device: String,
    fstype: String,
}

impl Subject {
    pub(super) fn of(event: &Event) -> Option<Subject> {
        match event {
            // What is missing has neither device nor type, and once it is found it is still the same alert.
            Event::Missing { expected, .. } | Event::Found { expected, .. } => {
                Some(Subject::missing(&expected.mountpoint))
            }
            event => event.mount().map(|mount| Subject::of_mount(mount)),
        }
    }

    pub(super) fn missing(place: &Path) -> Subject {
        let mountpoint = escape_os(place).into_owned();
        Subject { mountpoint, device: String::new(), fstype: String::new() }
    }

    pub(super) fn of_mount(mount: &Mount) -> Subject {
        Subject {
            mountpoint: escape_os(&mount.mountpoint).into_owned(),
            device: escape_os(&mount.device).into_owned(),
            fstype: escape_os(&mount.fstype).into_owned(),
        }
    }

    /// The same mount at another place.
    pub(super) fn at(&self, place: &Path) -> Subject {
        Subject { mountpoint: escape_os(place).into_owned(), ..self.clone() }
    }
}

/// An alert.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Alert {
    /// As in the rules for Prometheus in `contrib/`.
    pub(super) name: &'static str,
    pub(super) severity: &'static str,
    pub(super) subject: Subject,
    /// Of a dead mount.
    pub(super) reason: Option<&'static str>,
    /// The sentence of the message.
    pub(super) text: String,
    pub(super) started: SystemTime,
    pub(super) ended: Option<SystemTime>,
}

impl Alert {
    pub(super) fn cost(&self) -> usize {
        let subject = &self.subject;
        FIXED_COST
            + 2 * (subject.mountpoint.len() + subject.device.len() + subject.fstype.len())
            + self.text.len()
    }

    fn summary(&self, host: &str) -> String {
        let what = match (self.name, self.reason) {
            (MISSING, _) => "is not mounted".to_owned(),
            (SLOW, _) => "is slow".to_owned(),
            (_, Some("hung")) => "hangs".to_owned(),
            (_, Some(reason)) => format!("fails: {reason}"),
            (_, None) => "fails".to_owned(),
        };
        format!("{} on {host} {what}", self.subject.mountpoint)
    }
}

pub(super) const HUNG: &str = "MountHung";
pub(super) const FAILED: &str = "MountFailed";
pub(super) const SLOW: &str = "MountSlow";
pub(super) const MISSING: &str = "ExpectedMountMissing";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'static str, &'a str>,
    starts_at: String,
    ends_at: String,
}

/// The body of a request. What fires ends `lasts` after `now`, unless it is refreshed.
pub(super) fn body(
    alerts: &[Alert],
    to: &Alertmanager,
    host: &str,
    now: SystemTime,
    lasts: Duration,
) -> Vec<u8> {
    let summaries: Vec<String> = alerts.iter().map(|alert| alert.summary(host)).collect();
    let posted = alerts.iter().zip(&summaries).map(|(alert, summary)| {
        let own = [
            ("instance", host),
            ("job", JOB),
            ("alertname", alert.name),
            ("severity", alert.severity),
            ("mountpoint", &alert.subject.mountpoint),
            ("device", &alert.subject.device),
            ("fstype", &alert.subject.fstype),
        ];
        let configured = to.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // A label without a value is no label.
        let labels = own.into_iter().chain(configured).filter(|(_, value)| !value.is_empty()).collect();
        let annotations = [
            ("summary", summary.as_str()),
            ("description", alert.text.as_str()),
            ("reason", alert.reason.unwrap_or_default()),
        ];
        Posted {
            labels,
            annotations: annotations.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            starts_at: rfc3339(alert.started),
            ends_at: rfc3339(alert.ended.unwrap_or(now + lasts)),
        }
    });
    let posted: Vec<Posted<'_>> = posted.collect();
    serde_json::to_vec(&posted).expect("strings make JSON")
}
