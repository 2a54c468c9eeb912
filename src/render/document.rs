//! The answer of `check --json`, of `status --json` and of the API: everything about all mounts, for programs.

use super::StatusSummary;
use super::evidence_json;
use super::json_values::{name, seconds};
use super::messages::{cause, meanwhile};
use super::table::use_percent;
use super::timestamp::rfc3339;
use crate::monitor::{ExpectedStatus, Health, MountStatus, ProbeSettings, Status, Time};
use serde::Serialize;
use std::time::SystemTime;

/// What only a running daemon can say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Running {
    /// The serial number of its snapshot.
    pub serial: u64,
    /// The number of its last event.
    pub last_event: u64,
    /// How it watches.
    pub settings: ProbeSettings,
    /// Its probers.
    pub probers: usize,
    /// Those of them that cannot be killed.
    pub probers_stranded: usize,
}

/// The JSON document, on one line. `wall` is the time of day at `now`.
#[must_use]
pub fn document(status: &Status, now: Time, wall: SystemTime, running: Option<Running>) -> String {
    let verdict = StatusSummary::of(status);
    let document = Document {
        time: rfc3339(wall),
        total: verdict.total,
        dead: verdict.dead,
        slow: verdict.slow,
        denied: verdict.denied,
        pending: verdict.pending,
        hidden: verdict.hidden,
        missing: verdict.missing,
        last_run: status
            .last_run
            .map(|run| Run { time: rfc3339(wall_at(run.at, now, wall)), took_seconds: seconds(run.took) }),
        daemon: running.map(|running| Daemon::new(&running, status, now, wall)),
        mounts: status.mounts.iter().map(|mount| Entry::new(mount, now, wall)).collect(),
        expected: status.expected.iter().map(|it| Expected::new(it, now, wall)).collect(),
    };
    serde_json::to_string(&document).expect("strings and finite numbers make JSON")
}

/// The time of day at another moment, if it is `wall` at `now`.
fn wall_at(moment: Time, now: Time, wall: SystemTime) -> SystemTime {
    wall.checked_sub(now.since(moment)).unwrap_or(wall)
}

#[derive(Serialize)]
struct Document<'a> {
    time: String,
    total: usize,
    dead: usize,
    slow: usize,
    denied: usize,
    pending: usize,
    hidden: usize,
    missing: usize,
    last_run: Option<Run>,
    daemon: Option<Daemon>,
    mounts: Vec<Entry<'a>>,
    expected: Vec<Expected<'a>>,
}

/// A mount that has to be there.
#[derive(Serialize)]
struct Expected<'a> {
    mountpoint: String,
    what: &'a str,
    origin: &'a str,
    missing: bool,
    since: Option<String>,
    why: Option<String>,
}

impl<'a> Expected<'a> {
    fn new(status: &'a ExpectedStatus, now: Time, wall: SystemTime) -> Expected<'a> {
        let expected = &status.expected;
        let since = status.missing_since;
        Expected {
            mountpoint: name(expected.mountpoint.as_os_str()),
            what: &expected.what,
            origin: &expected.origin,
            missing: since.is_some(),
            since: since.map(|since| rfc3339(wall_at(since, now, wall))),
            why: since.map(|_| meanwhile(expected, status.containing_mount.as_deref())),
        }
    }
}

#[derive(Serialize)]
struct Run {
    time: String,
    took_seconds: f64,
}

#[derive(Serialize)]
struct Daemon {
    version: &'static str,
    started: String,
    serial: u64,
    last_event: u64,
    probes_in_flight: usize,
    probers: usize,
    #[serde(rename = "probers_lost")] // the name in the API
    probers_stranded: usize,
    poll_interval_seconds: f64,
    timeout_seconds: f64,
    slow_after_seconds: f64,
}

impl Daemon {
    fn new(running: &Running, status: &Status, now: Time, wall: SystemTime) -> Daemon {
        Daemon {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(wall_at(Time::default(), now, wall)),
            serial: running.serial,
            last_event: running.last_event,
            probes_in_flight: status.in_flight,
            probers: running.probers,
            probers_stranded: running.probers_stranded,
            poll_interval_seconds: seconds(running.settings.poll_interval),
            timeout_seconds: seconds(running.settings.timeout),
            slow_after_seconds: seconds(running.settings.slow_after),
        }
    }
}

/// Every field is always there, so that programs need no second way: what is not known is null.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    mountpoint: String,
    fstype: String,
    device: String,
    device_number: String,
    state: &'a str,
    since: String,
    reason: Option<&'a str>,
    errno: Option<String>,
    behind: Option<String>,
    why: Option<String>,
    evidence: Option<evidence_json::Object>,
    last_answer: Option<String>,
    latency_seconds: Option<f64>,
    waiting_seconds: Option<f64>,
    use_percent: Option<f64>,
    size_bytes: Option<u64>,
    available_bytes: Option<u64>,
    read_only: bool,
}

impl<'a> Entry<'a> {
    pub(super) fn new(status: &'a MountStatus, now: Time, wall: SystemTime) -> Entry<'a> {
        let (mount, failure) = (&status.mount, status.health.failure());
        let errno = match &status.health {
            Health::Denied(errno) => Some(*errno),
            health => health.failure().and_then(|failure| failure.errno),
        };
        let alive = matches!(status.health, Health::Ok | Health::Slow);
        let answer = status.last_response.filter(|_| alive);
        let usage = answer.and_then(|answer| answer.usage);
        Entry {
            mountpoint: name(mount.mountpoint.as_os_str()),
            fstype: name(&mount.fstype),
            device: name(&mount.device),
            device_number: mount.device_number.to_string(),
            state: status.health.as_str(),
            since: rfc3339(wall_at(status.since, now, wall)),
            reason: failure.map(|failure| failure.reason.as_str()),
            errno: errno.map(platform::Errno::name),
            behind: failure.and_then(|f| f.blocked_by.as_ref()).map(|outer| name(outer.as_os_str())),
            why: failure.map(cause),
            evidence: failure.and_then(|failure| {
                let time = failure.evidence.as_ref().map(|findings| wall_at(findings.at, now, wall));
                evidence_json::Object::of(failure, time)
            }),
            last_answer: status.last_response.map(|answer| rfc3339(wall_at(answer.at, now, wall))),
            latency_seconds: answer.map(|answer| seconds(answer.took)),
            waiting_seconds: status.waiting_since.map(|since| seconds(now.since(since))),
            use_percent: use_percent(status).map(|percent| (percent * 10.0).round() / 10.0),
            size_bytes: usage.map(|usage| usage.blocks.saturating_mul(usage.block_size)),
            available_bytes: usage.map(|usage| usage.available.saturating_mul(usage.block_size)),
            read_only: mount.read_only() || usage.is_some_and(|usage| usage.read_only),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::at;
    use crate::render::table::tests::sample;
    use std::time::Duration;

    #[test]
    fn a_document() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let parsed: serde_json::Value =
            serde_json::from_str(&document(&sample(), at(12.0), wall, None)).unwrap();
        assert_eq!((&parsed["total"], &parsed["dead"]), (&6.into(), &2.into()));
        assert_eq!(parsed["time"], "1970-01-01T00:01:40.000Z");
        let expected = serde_json::json!({
            "mountpoint": "/", "fstype": "ext4", "device": "/dev/sda1", "device_number": "0:42", "state": "ok",
            "since": "1970-01-01T00:01:36.000Z", "reason": null, "errno": null, "behind": null,
            "why": null, "evidence": null, "last_answer": "1970-01-01T00:01:38.000Z",
            "latency_seconds": 0.003, "waiting_seconds": null, "use_percent": 50.0, "size_bytes": 4_096_000,
            "available_bytes": 2_048_000, "read_only": false,
        });
        assert_eq!(parsed["mounts"][0], expected);
        let hung = &parsed["mounts"][1];
        assert_eq!(hung["evidence"]["says"][0], "NFS server 10.0.0.5:2049 refuses connections");
        assert_eq!(hung["evidence"]["time"], "1970-01-01T00:01:28.000Z");
        assert_eq!((&hung["state"], &hung["reason"]), (&"hung".into(), &"hung".into()));
        assert_eq!(
            (&hung["waiting_seconds"], &hung["latency_seconds"]),
            (&4.0.into(), &serde_json::Value::Null)
        );
        assert_eq!(
            (&parsed["mounts"][3]["state"], &parsed["mounts"][3]["errno"]),
            (&"failed".into(), &"ESTALE".into())
        );
        assert_eq!(
            (&parsed["mounts"][4]["state"], &parsed["mounts"][4]["errno"]),
            (&"denied".into(), &"EACCES".into())
        );
    }
}
