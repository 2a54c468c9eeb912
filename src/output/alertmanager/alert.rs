//! Alerts: which problems of a snapshot they are for, and their form in Alertmanager's API version 2.

use super::settings::AlertmanagerSettings;
use crate::monitor::{Event, Health, MountStatus, Reason};
use crate::render::escape::escape_os;
use crate::render::timestamp::rfc3339;
use crate::render::{Severity, Snapshot, messages};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The label `job`, as in pushed metrics.
const JOB: &str = "mount_status_monitor";
/// The memory of an alert besides its strings.
const FIXED_COST: usize = 512;

/// What is wrong. A mount that changes from slow to dead ends one alert and begins another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum AlertKind {
    Dead,
    Slow,
    Missing,
}

/// What identifies an alert of this machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct AlertLabels {
    kind: AlertKind,
    mountpoint: String,
    /// Empty for a missing mount.
    device: String,
    fstype: String,
}

#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) labels: Arc<AlertLabels>,
    /// As in the rules for Prometheus in `contrib/`.
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    /// Of a dead mount.
    pub(super) reason: Option<Reason>,
    /// The log line of the problem.
    pub(super) description: String,
    pub(super) started: SystemTime,
    pub(super) ended: Option<SystemTime>,
}

/// A problem in a snapshot.
pub(super) struct Problem {
    /// The event that reports it.
    pub(super) event: Event,
    labels: AlertLabels,
    reason: Option<Reason>,
    since: SystemTime,
    /// False for a mount that cannot be reached because an ancestor is hung: the ancestor has an alert. This one does
    /// not begin, but goes on if it fires already.
    pub(super) can_begin: bool,
}

pub(super) fn problems(snapshot: &Snapshot) -> impl Iterator<Item = Problem> {
    let of_mount = |status: &MountStatus| {
        let mount = Arc::clone(&status.mount);
        let (kind, reason, can_begin, event) = match &status.health {
            Health::Dead(failure) => {
                let event = Event::Failed { mount, failure: failure.clone() };
                (AlertKind::Dead, Some(failure.reason), failure.blocked_by.is_none(), event)
            }
            Health::Slow => {
                let took = status.last_response.map_or(Duration::ZERO, |response| response.took);
                let event = Event::Slow { mount, took, slow_after: status.settings.slow_after };
                (AlertKind::Slow, None, true, event)
            }
            Health::Pending | Health::Ok | Health::Denied(_) | Health::Hidden => return None,
        };
        let name = |name: &OsStr| escape_os(name).into_owned();
        let (device, fstype) = (name(&status.mount.device), name(&status.mount.fstype));
        let mountpoint = name(status.mount.mountpoint.as_os_str());
        let labels = AlertLabels { kind, mountpoint, device, fstype };
        Some(Problem { event, labels, reason, since: snapshot.wall_at(status.since), can_begin })
    };
    let missing = snapshot.status.expected.iter().filter_map(|status| {
        let since = snapshot.wall_at(status.missing_since?);
        let (expected, containing_mount) = (Arc::clone(&status.expected), status.containing_mount.clone());
        let mountpoint = escape_os(&expected.mountpoint).into_owned();
        let (device, fstype) = (String::new(), String::new());
        let labels = AlertLabels { kind: AlertKind::Missing, mountpoint, device, fstype };
        let event = Event::Missing { expected, containing_mount };
        Some(Problem { event, labels, reason: None, since, can_begin: true })
    });
    snapshot.status.mounts.iter().filter_map(of_mount).chain(missing)
}

impl Alert {
    pub(super) fn new(problem: Problem, severity: Severity) -> Alert {
        let Problem { event, labels, reason, since, can_begin: _ } = problem;
        let (name, severity) = match (labels.kind, reason) {
            (AlertKind::Dead, Some(Reason::Hung)) => ("MountHung", severity),
            (AlertKind::Dead, _) => ("MountFailed", severity),
            (AlertKind::Slow, _) => ("MountSlow", severity.max(Severity::Warning)), // less serious than dead
            (AlertKind::Missing, _) => ("ExpectedMountMissing", severity),
        };
        let (labels, (_, description)) = (Arc::new(labels), messages::line(&event));
        Alert { labels, name, severity, reason, description, started: since, ended: None }
    }

    pub(super) const fn is_firing(&self) -> bool {
        self.ended.is_none()
    }

    /// The memory that it takes, in bytes.
    pub(super) fn cost(&self) -> usize {
        let AlertLabels { kind: _, mountpoint, device, fstype } = &*self.labels;
        FIXED_COST + mountpoint.len() + device.len() + fstype.len() + self.description.len()
    }

    fn summary(&self, host: &str) -> String {
        let mountpoint = &self.labels.mountpoint;
        match (self.labels.kind, self.reason) {
            (AlertKind::Missing, _) => format!("{mountpoint} on {host} is not mounted"),
            (AlertKind::Slow, _) => format!("{mountpoint} on {host} is slow"),
            (AlertKind::Dead, Some(Reason::Hung) | None) => format!("{mountpoint} on {host} hangs"),
            (AlertKind::Dead, Some(reason)) => format!("{mountpoint} on {host} fails: {}", reason.as_str()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertPayload<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'static str, &'a str>,
    starts_at: String,
    ends_at: String,
}

/// The body of a request. Alerts that fire end at `expires_at` unless they are sent again before.
pub(super) fn payload(
    alerts: &[Alert],
    settings: &AlertmanagerSettings,
    host: &str,
    expires_at: SystemTime,
) -> Vec<u8> {
    let summaries: Vec<String> = alerts.iter().map(|alert| alert.summary(host)).collect();
    let mut payloads = Vec::with_capacity(alerts.len());
    for (alert, summary) in alerts.iter().zip(&summaries) {
        let mut labels = BTreeMap::from([
            ("instance", host),
            ("job", JOB),
            ("alertname", alert.name),
            ("severity", alert.severity.as_str()),
            ("mountpoint", &alert.labels.mountpoint),
            ("device", &alert.labels.device),
            ("fstype", &alert.labels.fstype),
        ]);
        labels.extend(settings.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        labels.retain(|_, value| !value.is_empty()); // an empty label is the same as none
        let mut annotations =
            BTreeMap::from([("summary", summary.as_str()), ("description", &alert.description)]);
        annotations.extend(alert.reason.map(|reason| ("reason", reason.as_str())));
        payloads.push(AlertPayload {
            labels,
            annotations,
            starts_at: rfc3339(alert.started),
            ends_at: rfc3339(alert.ended.unwrap_or(expires_at)),
        });
    }
    serde_json::to_vec(&payloads).expect("strings make JSON")
}
