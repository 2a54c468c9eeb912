//! Converts the problems of a snapshot to alerts, in the format of Alertmanager's API version 2.

use super::settings::AlertmanagerSettings;
use crate::monitor::Severity;
use crate::monitor::remedy::RemedyOverview;
use crate::monitor::{Event, Flapping, Health, MountStatus, Reason, Time};
use crate::render::escape::{escape, escape_os};
use crate::render::metrics::server;
use crate::render::timestamp::rfc3339;
use crate::render::{PROCESS_NAME, Snapshot, messages, remedy_state};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Approximate memory of an alert without its strings, in bytes.
const FIXED_COST: usize = 512;

/// The problem. A mount that changes from slow to dead ends one alert and begins another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum AlertKind {
    Dead,
    Slow,
    Missing,
    Unknown,
    Flapping,
    Options,
    Drill,
}

/// The labels that identify an alert of this machine.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct AlertLabels {
    kind: AlertKind,
    mountpoint: String,
    /// Empty for a missing mount.
    device: String,
    fstype: String,
    /// As in the metrics; empty for a mount without one.
    server: String,
}

#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) labels: Arc<AlertLabels>,
    /// The name, as in the Prometheus rules in `contrib/`.
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    /// The reason, for a dead mount.
    pub(super) reason: Option<Reason>,
    /// The log line of the problem.
    pub(super) description: String,
    /// What is done about a dead mount, in words without times; empty without a remedy.
    pub(super) remedy: String,
    pub(super) started: SystemTime,
    pub(super) ended: Option<SystemTime>,
    /// False if an ancestor of the mount is hung, because the ancestor has an alert, for slowness that is not reported,
    /// and while the mount flaps, which is an alert of its own. Such an alert does not begin, but continues if it is already firing.
    pub(super) can_begin: bool,
}

/// The problems in a snapshot: the event that reports each, its time, and whether an alert can begin.
pub(super) fn problems(snapshot: &Snapshot) -> impl Iterator<Item = (Event, Time, bool)> {
    let of_mount = |status: &MountStatus| {
        let mount = Arc::clone(&status.mount);
        let (event, can_begin) = match &status.health {
            Health::Dead(failure) => {
                (Event::Failed { mount, failure: (**failure).clone() }, failure.blocked_by.is_none())
            }
            Health::Slow => {
                let took = status.last_response.map_or(Duration::ZERO, |response| response.took);
                let slow_after = status.settings.slow_after;
                (Event::Slow { mount, took, slow_after }, status.is_reported_slow)
            }
            Health::Unknown { was } => {
                (Event::Unknown { mount, was, unjudged: status.unjudged_at(status.since) }, true)
            }
            Health::Pending | Health::Ok | Health::Denied(_) | Health::Hidden => return None,
        };
        Some((event, status.since, can_begin && status.flapping.is_none()))
    };
    let flapping = |status: &MountStatus| {
        let Flapping { since, changes, .. } = **status.flapping.as_ref()?;
        let (mount, health) = (Arc::clone(&status.mount), status.health.as_str());
        Some((Event::Flapping { mount, health, changes, within: snapshot.at - since }, since, true))
    };
    let missing = snapshot.status.expected.iter().filter_map(|status| {
        let (expected, containing_mount) = (Arc::clone(&status.expected), status.containing_mount.clone());
        Some((Event::Missing { expected, containing_mount }, status.missing_since?, true))
    });
    let options = snapshot.status.unexpected_options.iter().map(|found| {
        let (mount, differences) = (Arc::clone(&found.mount), found.differences.clone());
        (Event::UnexpectedOptions { mount, differences }, found.since, true)
    });
    let mounts = &snapshot.status.mounts;
    mounts.iter().filter_map(of_mount).chain(mounts.iter().filter_map(flapping)).chain(options).chain(missing)
}

impl Alert {
    pub(super) fn new(problem: &Event, severity: Severity, started: SystemTime, can_begin: bool) -> Alert {
        let (kind, failure, name, severity) = match problem {
            Event::Failed { failure, .. } => (AlertKind::Dead, Some(failure), "MountDead", severity),
            Event::Flapping { .. } => {
                (AlertKind::Flapping, None, "MountFlapping", severity.max(Severity::Warning))
            }
            Event::UnexpectedOptions { .. } => {
                (AlertKind::Options, None, "MountUnexpectedOptions", severity.max(Severity::Warning))
            }
            // Less serious than dead.
            Event::Slow { .. } => (AlertKind::Slow, None, "MountSlow", severity.max(Severity::Warning)),
            Event::Unknown { .. } => {
                (AlertKind::Unknown, None, "MountUnknown", severity.max(Severity::Warning))
            }
            // Under the name of a dead mount, so that Alertmanager routes it like one.
            Event::Drill { .. } => (AlertKind::Drill, None, "MountDead", severity),
            _ => (AlertKind::Missing, None, "ExpectedMountMissing", severity),
        };
        let label = |value| escape_os(value).into_owned();
        let mount = problem.mount();
        // A drill says nothing about a server, and would have to wait for other alerts of its group.
        let of_server = mount.filter(|_| kind != AlertKind::Drill);
        let labels = AlertLabels {
            kind,
            mountpoint: problem.mountpoint().map(|path| label(path.as_os_str())).unwrap_or_default(),
            device: mount.map(|mount| label(&mount.device)).unwrap_or_default(),
            fstype: mount.map(|mount| label(&mount.fstype)).unwrap_or_default(),
            server: of_server.and_then(|mount| server(mount)).map(escape).unwrap_or_default().into_owned(),
        };
        Alert {
            labels: Arc::new(labels),
            name,
            severity,
            reason: failure.map(|failure| failure.reason),
            description: messages::line(problem).1,
            remedy: String::new(),
            started,
            ended: None,
            can_begin,
        }
    }

    /// With what is done about the problem.
    pub(super) fn with_remedy(self, problem: &Event, remedies: &RemedyOverview) -> Alert {
        let remedy = match problem {
            Event::Failed { mount, .. } => remedies.of(mount.key).map(remedy_state::words),
            _ => None,
        };
        Alert { remedy: remedy.unwrap_or_default(), ..self }
    }

    pub(super) const fn is_firing(&self) -> bool {
        self.ended.is_none()
    }

    /// The memory that it takes, in bytes.
    pub(super) fn cost(&self) -> usize {
        let AlertLabels { kind: _, mountpoint, device, fstype, server } = &*self.labels;
        FIXED_COST
            + mountpoint.len()
            + device.len()
            + fstype.len()
            + server.len()
            + self.description.len()
            + self.remedy.len()
    }

    /// A firing alert ends at `expires_at` unless it is sent again before.
    fn payload(&self, settings: &AlertmanagerSettings, host: &str, expires_at: SystemTime) -> Value {
        let AlertLabels { kind, mountpoint, device, fstype, server } = &*self.labels;
        let mut labels = BTreeMap::from([
            ("instance", host),
            ("job", PROCESS_NAME),
            ("alertname", self.name),
            ("severity", self.severity.as_str()),
            ("mountpoint", mountpoint),
            ("device", device),
            ("fstype", fstype),
            ("server", server),
        ]);
        let configured = settings.labels.iter().filter(|(_, value)| !value.is_empty());
        labels.extend(configured.map(|(name, value)| (name.as_str(), value.as_str())));
        if *kind == AlertKind::Drill {
            labels.insert("drill", "true");
        }
        labels.retain(|_, value| !value.is_empty()); // an empty label is the same as none
        let problem = match (kind, self.reason) {
            (AlertKind::Missing, _) => "is not mounted".to_owned(),
            (AlertKind::Slow, _) => "is slow".to_owned(),
            (AlertKind::Flapping, _) => "is flapping".to_owned(),
            (AlertKind::Options, _) => "has unexpected options".to_owned(),
            (AlertKind::Unknown, _) => "cannot be judged".to_owned(),
            (AlertKind::Drill, _) => "has a drill: nothing is wrong".to_owned(),
            (AlertKind::Dead, Some(Reason::Hung) | None) => "hangs".to_owned(),
            (AlertKind::Dead, Some(reason)) => format!("fails: {}", reason.as_str()),
        };
        let summary = format!("{mountpoint} on {host} {problem}");
        let mut annotations = json!({"summary": summary, "description": self.description});
        if let Some(reason) = self.reason {
            annotations["reason"] = reason.as_str().into();
        }
        if !self.remedy.is_empty() {
            annotations["remedy"] = self.remedy.as_str().into();
        }
        let (starts_at, ends_at) = (rfc3339(self.started), rfc3339(self.ended.unwrap_or(expires_at)));
        json!({"labels": labels, "annotations": annotations, "startsAt": starts_at, "endsAt": ends_at})
    }
}

/// The body of a request.
pub(super) fn payload(
    alerts: &[Alert],
    settings: &AlertmanagerSettings,
    host: &str,
    expires_at: SystemTime,
) -> Vec<u8> {
    let alerts: Value = alerts.iter().map(|alert| alert.payload(settings, host, expires_at)).collect();
    alerts.to_string().into_bytes()
}
