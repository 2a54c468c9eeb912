//! The document of `check --json`, `status --json` and the API: all mounts in fields.

use super::evidence::EvidenceObject;
use super::remedy::{RemediesObject, RemedyObject};
use super::{name, seconds, to_line};
use crate::monitor::{DataPathStatus, ExpectedStatus, Health, MountStatus, Time};
use crate::render::messages::{cause, consequence};
use crate::render::parts::Parts;
use crate::render::timestamp::rfc3339;
use crate::render::{Snapshot, StatusSummary, remedy_state, rows};
use serde::Serialize;
use std::mem::take;

/// The document on one line. A daemon sets `last_event` to the number of its last event; a single run has none.
#[must_use]
pub fn status(snapshot: &Snapshot, last_event: Option<u64>) -> String {
    let text = StatusText::new(snapshot, last_event).whole();
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// The document in parts.
pub struct StatusText {
    snapshot: Snapshot,
    /// What is before the mounts and behind them. Written parts are empty.
    head: String,
    tail: String,
    /// The next mount: its chunk, and its index in that.
    chunk: usize,
    index: usize,
}

impl StatusText {
    #[must_use]
    pub fn new(snapshot: &Snapshot, last_event: Option<u64>) -> StatusText {
        let document = to_line(&Document::without_mounts(snapshot, last_event));
        let (head, tail) = document.split_once(NO_MOUNTS).expect("the field is always present");
        let (head, tail) = (format!("{head}{}", &NO_MOUNTS[..NO_MOUNTS.len() - 1]), format!("]{tail}"));
        StatusText { snapshot: snapshot.clone(), head, tail, chunk: 0, index: 0 }
    }
}

impl Parts for StatusText {
    fn write(&mut self, text: &mut Vec<u8>, size: usize) -> bool {
        text.append(&mut take(&mut self.head).into_bytes());
        while let Some(mounts) = self.snapshot.status.mounts.chunk(self.chunk) {
            for mount in &mounts[self.index..] {
                if text.len() >= size {
                    return true;
                }
                if (self.chunk, self.index) != (0, 0) {
                    text.push(b',');
                }
                self.index += 1;
                serde_json::to_writer(&mut *text, &MountObject::new(mount, &self.snapshot))
                    .expect("strings and finite numbers are valid JSON");
            }
            (self.chunk, self.index) = (self.chunk + 1, 0);
        }
        text.append(&mut take(&mut self.tail).into_bytes());
        false
    }
}

/// The first field of its kind: what is before it has fixed names, and values without quotes in them.
const NO_MOUNTS: &str = "\"mounts\":[]";

#[derive(Serialize)]
struct Document<'a> {
    time: String,
    total: usize,
    dead: usize,
    slow: usize,
    denied: usize,
    pending: usize,
    unknown: usize,
    hidden: usize,
    missing: usize,
    not_watched: usize,
    last_run: Option<Run>,
    daemon: Option<DaemonObject>,
    mounts: [(); 0],
    expected: Vec<ExpectedObject<'a>>,
    remedies: Option<RemediesObject>,
}

impl<'a> Document<'a> {
    fn without_mounts(snapshot: &'a Snapshot, last_event: Option<u64>) -> Document<'a> {
        let (status, summary) = (&snapshot.status, StatusSummary::of(&snapshot.status));
        Document {
            time: rfc3339(snapshot.wall),
            total: summary.total,
            dead: summary.dead,
            slow: summary.slow,
            denied: summary.denied,
            pending: summary.pending,
            unknown: summary.unknown,
            hidden: summary.hidden,
            missing: summary.missing,
            not_watched: summary.not_watched,
            last_run: status
                .last_run
                .map(|run| Run { time: rfc3339(snapshot.wall_at(run.at)), took_seconds: seconds(run.took) }),
            daemon: last_event.map(|last_event| DaemonObject::new(snapshot, last_event)),
            mounts: [],
            expected: status.expected.iter().map(|mount| ExpectedObject::new(mount, snapshot)).collect(),
            remedies: (snapshot.remedies.rules > 0).then(|| RemediesObject::new(snapshot)),
        }
    }
}

#[derive(Serialize)]
struct ExpectedObject<'a> {
    mountpoint: String,
    what: &'a str,
    origin: &'a str,
    missing: bool,
    since: Option<String>,
    why: Option<String>,
}

impl<'a> ExpectedObject<'a> {
    fn new(status: &'a ExpectedStatus, snapshot: &Snapshot) -> ExpectedObject<'a> {
        let expected = &status.expected;
        let since = status.missing_since;
        ExpectedObject {
            mountpoint: name(&expected.mountpoint),
            what: &expected.what,
            origin: &expected.origin,
            missing: since.is_some(),
            since: since.map(|since| rfc3339(snapshot.wall_at(since))),
            why: since.map(|_| consequence(expected, status.containing_mount.as_deref())),
        }
    }
}

#[derive(Serialize)]
struct Run {
    time: String,
    took_seconds: f64,
}

#[derive(Serialize)]
struct DaemonObject {
    version: &'static str,
    started: String,
    serial: u64,
    last_event: u64,
    probes_in_flight: usize,
    probers: usize,
    probers_stranded: usize,
    runs_from_memory: bool,
    mount_source: &'static str,
    config_loaded: String,
    config_rejected: Option<String>,
    temporary_rules: Vec<String>,
    poll_interval_seconds: f64,
    timeout_seconds: f64,
    slow_after_seconds: f64,
}

impl DaemonObject {
    fn new(snapshot: &Snapshot, last_event: u64) -> DaemonObject {
        DaemonObject {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(snapshot.wall_at(Time::default())),
            serial: snapshot.serial,
            last_event,
            probes_in_flight: snapshot.status.in_flight,
            probers: snapshot.probers,
            probers_stranded: snapshot.probers_stranded,
            runs_from_memory: snapshot.runs_from_memory,
            mount_source: snapshot.mount_source.name(),
            config_loaded: rfc3339(snapshot.wall_at(snapshot.config.loaded_at)),
            temporary_rules: snapshot.config.temporary_rules.to_vec(),
            config_rejected: snapshot.config.rejected_at.map(|at| rfc3339(snapshot.wall_at(at))),
            poll_interval_seconds: seconds(snapshot.settings.poll_interval),
            timeout_seconds: seconds(snapshot.settings.timeout),
            slow_after_seconds: seconds(snapshot.settings.slow_after),
        }
    }
}

/// Every field is always present; an unknown value is null.
#[derive(Serialize)]
pub(in crate::render) struct MountObject<'a> {
    mountpoint: String,
    fstype: String,
    device: String,
    device_number: String,
    state: &'a str,
    since: String,
    judged: Option<String>,
    flapping_since: Option<String>,
    unexpected_options: Option<bool>,
    was: Option<&'a str>,
    reason: Option<&'a str>,
    errno: Option<String>,
    behind: Option<String>,
    why: Option<String>,
    evidence: Option<EvidenceObject>,
    last_answer: Option<String>,
    latency_seconds: Option<f64>,
    waiting_seconds: Option<f64>,
    use_percent: Option<f64>,
    size_bytes: Option<u64>,
    available_bytes: Option<u64>,
    read_only: bool,
    poll_interval_seconds: f64,
    timeout_seconds: f64,
    severity: &'static str,
    remedy: Option<RemedyObject>,
    data_probe: Option<DataProbeObject>,
}

/// The data-path probe of a mount.
#[derive(Serialize)]
struct DataProbeObject {
    kind: &'static str,
    path: String,
    interval_seconds: f64,
    last_success: Option<String>,
    past_cache: Option<bool>,
}

impl DataProbeObject {
    fn new(status: &DataPathStatus, snapshot: &Snapshot) -> DataProbeObject {
        let DataPathStatus { settings, last_good } = status;
        DataProbeObject {
            kind: settings.kind.as_str(),
            path: name(&settings.path),
            interval_seconds: seconds(settings.interval),
            last_success: last_good.map(|(at, _)| rfc3339(snapshot.wall_at(at))),
            past_cache: last_good.map(|(_, past_cache)| past_cache),
        }
    }
}

impl<'a> MountObject<'a> {
    pub(in crate::render) fn new(status: &'a MountStatus, snapshot: &Snapshot) -> MountObject<'a> {
        let (mount, failure) = (&status.mount, status.health.failure());
        let errno = match &status.health {
            Health::Denied(errno) => Some(*errno),
            health => health.failure().and_then(|failure| failure.errno),
        };
        let responds = matches!(status.health, Health::Ok | Health::Slow);
        let response = status.last_response.filter(|_| responds);
        let usage = response.and_then(|response| response.usage);
        MountObject {
            mountpoint: name(&mount.mountpoint),
            fstype: name(&mount.fstype),
            device: name(&mount.device),
            device_number: mount.device_number.to_string(),
            state: status.health.as_str(),
            since: rfc3339(snapshot.wall_at(status.since)),
            judged: status.judged_by(snapshot.status.at).map(|at| rfc3339(snapshot.wall_at(at))),
            flapping_since: status
                .flapping
                .as_ref()
                .map(|flapping| rfc3339(snapshot.wall_at(flapping.since))),
            unexpected_options: status.has_unexpected_options,
            was: match status.health {
                Health::Unknown { was } => Some(was),
                _ => None,
            },
            reason: failure.map(|failure| failure.reason.as_str()).or(status.health.refusal()),
            errno: errno.map(platform::Errno::name),
            behind: failure.and_then(|failure| failure.blocked_by.as_ref()).map(name),
            why: failure.map(cause),
            evidence: failure.and_then(|failure| {
                let time = failure.evidence.as_ref().map(|record| snapshot.wall_at(record.at));
                EvidenceObject::of(failure, time)
            }),
            last_answer: status.last_response.map(|response| rfc3339(snapshot.wall_at(response.at))),
            latency_seconds: response.map(|response| seconds(response.took)),
            waiting_seconds: status.waiting_since.map(|since| seconds(snapshot.at.since(since))),
            use_percent: rows::use_percent(status).map(|percent| (percent * 10.0).round() / 10.0),
            size_bytes: usage.map(|usage| usage.blocks.saturating_mul(usage.block_size)),
            available_bytes: usage.map(|usage| usage.available.saturating_mul(usage.block_size)),
            read_only: rows::is_read_only(status),
            poll_interval_seconds: seconds(status.settings.probe_interval),
            timeout_seconds: seconds(status.settings.timeout),
            severity: status.settings.severity.as_str(),
            remedy: remedy_state::of_mount(&snapshot.remedies, status)
                .map(|remedy| RemedyObject::new(remedy, snapshot)),
            data_probe: status.data_path.as_deref().map(|data| DataProbeObject::new(data, snapshot)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{self, at};
    use crate::render::table::tests::sample;

    #[test]
    fn document_has_counts_and_mounts() {
        let snapshot = Snapshot { at: at(12.0), ..samples::snapshot(sample()) };
        let parsed: serde_json::Value = serde_json::from_str(&status(&snapshot, None)).unwrap();
        assert_eq!(parsed["daemon"], serde_json::Value::Null);
        assert_eq!((&parsed["total"], &parsed["dead"]), (&6.into(), &2.into()));
        assert_eq!(parsed["time"], "1970-01-01T00:01:40.000Z");
        let expected = serde_json::json!({
            "mountpoint": "/", "fstype": "ext4", "device": "/dev/sda1", "device_number": "0:42", "state": "ok",
            "flapping_since": null, "unexpected_options": null,
            "since": "1970-01-01T00:01:36.000Z", "judged": "1970-01-01T00:01:38.000Z", "was": null, "reason": null, "errno": null, "behind": null,
            "why": null, "evidence": null, "last_answer": "1970-01-01T00:01:38.000Z",
            "latency_seconds": 0.003, "waiting_seconds": null, "use_percent": 50.0, "size_bytes": 4_096_000,
            "available_bytes": 2_048_000, "read_only": false, "poll_interval_seconds": 60.0, "timeout_seconds": 3.0, "severity": "critical",
            "remedy": null, "data_probe": null,
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
