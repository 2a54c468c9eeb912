//! Alerts: which problems of a snapshot they are for, and their form in Alertmanager's API version 2.

use super::settings::AlertmanagerSettings;
use crate::monitor::{Event, Health, MountStatus, Reason};
use crate::render::escape::escape_os;
use crate::render::timestamp::rfc3339;
use crate::render::{Severity, Snapshot, messages};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The label `job`, as in pushed metrics.
const JOB: &str = "mount_status_monitor";
/// The memory of an alert besides its strings.
const FIXED_COST: usize = 512;

/// What is wrong. A mount that gets slow while it is dead, or dead while it is slow, ends one alert and begins another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum AlertKind {
    Dead,
    Slow,
    Missing,
}

/// What identifies an alert of this machine. A missing mount has no device and type.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct AlertLabels {
    kind: AlertKind,
    pub(super) mountpoint: String,
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
    pub(super) since: SystemTime,
    /// False for a mount that cannot be reached because an ancestor is hung, and the ancestor has an alert: this one
    /// does not begin, but goes on if it fires already.
    pub(super) can_begin: bool,
}

/// The problems of a snapshot.
pub(super) fn problems(snapshot: &Snapshot) -> impl Iterator<Item = Problem> {
    let of_mount = |status: &MountStatus| {
        let mount = Arc::clone(&status.mount);
        let (event, can_begin) = match &status.health {
            Health::Dead(failure) => {
                (Event::Failed { mount, failure: failure.clone() }, failure.blocked_by.is_none())
            }
            Health::Slow => {
                let took = status.last_response.map_or(Duration::ZERO, |response| response.took);
                (Event::Slow { mount, took, slow_after: status.settings.slow_after }, true)
            }
            Health::Pending | Health::Ok | Health::Denied(_) | Health::Hidden => return None,
        };
        Some(Problem { event, since: snapshot.wall_at(status.since), can_begin })
    };
    let missing = snapshot.status.expected.iter().filter_map(|status| {
        let since = snapshot.wall_at(status.missing_since?);
        let (expected, containing_mount) = (Arc::clone(&status.expected), status.containing_mount.clone());
        Some(Problem { event: Event::Missing { expected, containing_mount }, since, can_begin: true })
    });
    snapshot.status.mounts.iter().filter_map(of_mount).chain(missing)
}

impl Alert {
    /// The alert for a problem; none if the event is not one.
    pub(super) fn new(problem: &Problem, severity: Severity) -> Option<Alert> {
        let mut severity = severity;
        let (kind, name, reason, mountpoint) = match &problem.event {
            Event::Failed { mount, failure } => {
                let name = if failure.reason == Reason::Hung { "MountHung" } else { "MountFailed" };
                (AlertKind::Dead, name, Some(failure.reason), &mount.mountpoint)
            }
            Event::Slow { mount, .. } => {
                // Slow is less serious than dead.
                severity = severity.max(Severity::Warning);
                (AlertKind::Slow, "MountSlow", None, &mount.mountpoint)
            }
            Event::Missing { expected, .. } => {
                (AlertKind::Missing, "ExpectedMountMissing", None, &expected.mountpoint)
            }
            _ => return None,
        };
        let mount = problem.event.mount();
        let labels = AlertLabels {
            kind,
            mountpoint: escape_os(mountpoint).into_owned(),
            device: mount.map_or_else(String::new, |mount| escape_os(&mount.device).into_owned()),
            fstype: mount.map_or_else(String::new, |mount| escape_os(&mount.fstype).into_owned()),
        };
        let (_, description) = messages::line(&problem.event);
        let (labels, started) = (Arc::new(labels), problem.since);
        Some(Alert { labels, name, severity, reason, description, started, ended: None })
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
        let what = match (self.labels.kind, self.reason) {
            (AlertKind::Missing, _) => "is not mounted".to_owned(),
            (AlertKind::Slow, _) => "is slow".to_owned(),
            (AlertKind::Dead, Some(Reason::Hung)) => "hangs".to_owned(),
            (AlertKind::Dead, Some(reason)) => format!("fails: {}", reason.as_str()),
            (AlertKind::Dead, None) => "fails".to_owned(),
        };
        format!("{} on {host} {what}", self.labels.mountpoint)
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
