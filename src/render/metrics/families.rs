//! Every family of metrics, once: its name, its sentence, its type, its labels, and where its values come from.
//! Alert rules, dashboards and documentation are held against this table.

use super::inputs::{Facts, Line, Many, line, plain, stamp};
use crate::monitor::{ExpectedStatus, Health, MountStatus, Reason};
use crate::output::hooks::AlertCount;
use crate::output::hooks::HookCount;
use crate::output::hooks::HookOutcome;
use crate::render::escape::escape_os;
use prometheus::proto::MetricType;

/// A family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, as Prometheus sees it.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    pub(super) fill: Fill,
}

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    pub(super) const fn proto(self) -> MetricType {
        match self {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        }
    }
}

/// Where the values come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill {
    /// One series for each mount that is not hidden; none where there is no value.
    Mount(fn(&Facts<'_>, &MountStatus) -> Option<f64>),
    /// One series for each dead mount, with its reason.
    Failure,
    /// One series without labels; none where there is no value.
    One(fn(&Facts<'_>) -> Option<f64>),
    /// Some series, the values of their labels in the order of [`Family::labels`].
    Many(fn(&Facts<'_>) -> Vec<Line>),
    /// A histogram for each file system type.
    Durations,
}

const MOUNT: &[&str] = &["device", "fstype", "mountpoint"];

const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    fill: Fill,
) -> Family {
    Family { name, help, kind: Kind::Gauge, labels, fill }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    fill: Fill,
) -> Family {
    Family { name, help, kind: Kind::Counter, labels, fill }
}

/// All of them, ordered by name, which is the order in which they are rendered.
pub const FAMILIES: &[Family] = &[
    gauge(
        "dead_mountpoints",
        "Number of dead mounts (hung or failed).",
        &[],
        Fill::One(|facts| plain(facts.status().dead)),
    ),
    counter(
        "mountstatus_alertmanager_alerts_dropped_total",
        "Alerts not sent because there were too many; only with an Alertmanager.",
        &[],
        Fill::One(|facts| Some(facts.extras.hooks.alertmanager?.dropped as f64)),
    ),
    gauge(
        "mountstatus_alertmanager_alerts_firing",
        "Alerts currently firing in Alertmanager; only with an Alertmanager.",
        &[],
        Fill::One(|facts| plain(facts.extras.hooks.alertmanager?.firing)),
    ),
    gauge(
        "mountstatus_alertmanager_last_success_timestamp_seconds",
        "Unix time of the last accepted request to Alertmanager, 0 before the first; only with an Alertmanager.",
        &[],
        Fill::One(|facts| Some(stamp(facts.extras.hooks.alertmanager?.last_success))),
    ),
    counter(
        "mountstatus_alertmanager_requests_total",
        "Requests to Alertmanager by outcome; only with an Alertmanager.",
        &["outcome"],
        Fill::Many(|facts| {
            let counted = facts.extras.hooks.alertmanager;
            let outcomes =
                |n: AlertCount| [line(["ok"], n.accepted as f64), line(["failed"], n.failed as f64)];
            counted.map(outcomes).into_iter().flatten().collect()
        }),
    ),
    gauge(
        "mountstatus_build_info",
        "Always 1; the labels carry version and revision of the program.",
        &["revision", "version"],
        Fill::Many(|_| vec![line([super::REVISION, super::VERSION], 1.0)]),
    ),
    gauge(
        "mountstatus_expected_mount_missing",
        "1 while an expected mount is missing, else 0; no series for other mounts.",
        &["mountpoint"],
        Fill::Many(expected),
    ),
    gauge(
        "mountstatus_hook_commands_left",
        "Hook commands that were killed but have not exited; only with hooks.",
        &["hook"],
        Fill::Many(|facts| of_hooks(facts, |hook| hook.left as f64)),
    ),
    gauge(
        "mountstatus_hook_events_waiting",
        "Events queued for a hook; only with hooks.",
        &["hook"],
        Fill::Many(|facts| of_hooks(facts, |hook| hook.waiting as f64)),
    ),
    counter(
        "mountstatus_hook_runs_total",
        "Events handled by a hook, by outcome; only with hooks.",
        &["hook", "outcome"],
        Fill::Many(hook_runs),
    ),
    gauge(
        "mountstatus_last_run_timestamp_seconds",
        "Unix time when the last run over all mounts completed.",
        &[],
        Fill::One(|facts| Some(facts.stamp(facts.status().last_run?.at))),
    ),
    counter(
        "mountstatus_messages_dropped_total",
        "Messages not delivered to a sink that was blocked, full or flooded.",
        &["sink"],
        Fill::Many(|facts| facts.extras.dropped.iter().map(|(sink, n)| line([*sink], *n as f64)).collect()),
    ),
    gauge(
        "mountstatus_mount_blocked_tasks",
        "Tasks blocked on a dead mount; no series while unknown.",
        MOUNT,
        Fill::Mount(|_, mount| {
            let findings = mount.health.failure()?.evidence.as_ref()?;
            Some(f64::from(findings.evidence.tasks.as_ref()?.found()?.count))
        }),
    ),
    counter(
        "mountstatus_mount_events_total",
        "Changes of the mount table since the start of the daemon, by kind.",
        &["event"],
        Fill::Many(events),
    ),
    gauge(
        "mountstatus_mount_failure",
        "1 for the current failure reason of a dead mount; no series for other mounts.",
        &["device", "fstype", "mountpoint", "reason"],
        Fill::Failure,
    ),
    gauge(
        "mountstatus_mount_last_success_timestamp_seconds",
        "Unix time of the last response without an error; no series before the first.",
        MOUNT,
        Fill::Mount(|facts, mount| {
            Some(facts.stamp(mount.last_response.filter(|last| last.usage.is_some())?.at))
        }),
    ),
    gauge(
        "mountstatus_mount_probe_duration_seconds",
        "Duration of the last probe with a response, errors included; no series before the first.",
        MOUNT,
        Fill::Mount(|_, mount| Some(mount.last_response?.took.as_secs_f64())),
    ),
    gauge(
        "mountstatus_mount_readonly",
        "1 if the mount or its superblock is read-only, else 0.",
        MOUNT,
        Fill::Mount(|_, mount| {
            let by_kernel =
                mount.last_response.and_then(|last| last.usage).is_some_and(|usage| usage.read_only);
            Some(truth(by_kernel || mount.mount.read_only()))
        }),
    ),
    gauge(
        "mountstatus_mount_slow",
        "1 while responses take longer than slow_after, else 0.",
        MOUNT,
        Fill::Mount(|_, mount| Some(truth(mount.health == Health::Slow))),
    ),
    gauge(
        "mountstatus_mount_state_since_timestamp_seconds",
        "Unix time when the mount entered its current state; for a dead mount, when it died.",
        MOUNT,
        Fill::Mount(|facts, mount| Some(facts.stamp(mount.since))),
    ),
    counter(
        "mountstatus_mount_table_reads_total",
        "Reads of the mount table.",
        &[],
        Fill::One(|facts| Some(facts.status().counters.table_reads as f64)),
    ),
    gauge(
        "mountstatus_mount_up",
        "0 while the mount is dead, else 1, also for mounts that are pending or denied.",
        MOUNT,
        Fill::Mount(|_, mount| Some(truth(mount.health.failure().is_none()))),
    ),
    Family {
        name: "mountstatus_probe_duration_seconds",
        help: "Duration of probes, errors included; a hung probe is counted when it returns.",
        kind: Kind::Histogram,
        labels: &["fstype"],
        fill: Fill::Durations,
    },
    counter(
        "mountstatus_probe_failures_total",
        "Probes that found their mount dead, by reason.",
        &["fstype", "reason"],
        Fill::Many(failures),
    ),
    gauge(
        "mountstatus_probers_lost",
        "Stranded prober processes: killed, but still blocked in the kernel.",
        &[],
        Fill::One(|facts| plain(facts.snapshot.probers_stranded)),
    ),
    gauge(
        "mountstatus_probes_in_flight",
        "Probes without a response yet.",
        &[],
        Fill::One(|facts| plain(facts.status().in_flight)),
    ),
    counter(
        "mountstatus_probes_total",
        "Probes started.",
        &["fstype"],
        Fill::Many(|facts| {
            let types = facts.fstypes.iter();
            types.map(|(fstype, counted)| line([fstype.clone()], counted.probes as f64)).collect()
        }),
    ),
    counter(
        "mountstatus_push_failures_total",
        "Failed pushes to the push gateway; only with a push gateway.",
        &[],
        Fill::One(|facts| Some(facts.extras.push?.failures as f64)),
    ),
    gauge(
        "mountstatus_push_last_success_timestamp_seconds",
        "Unix time of the last successful push, 0 before the first; only with a push gateway.",
        &[],
        Fill::One(|facts| Some(stamp(facts.extras.push?.last_success))),
    ),
    gauge(
        "mountstatus_run_duration_seconds",
        "Duration of the last complete run over all mounts.",
        &[],
        Fill::One(|facts| Some(facts.status().last_run?.took.as_secs_f64())),
    ),
    counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        &[],
        Fill::One(|facts| Some(facts.process?.cpu.as_secs_f64())),
    ),
    gauge(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        &[],
        Fill::One(|facts| Some(facts.process?.max_fds as f64)),
    ),
    gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        &[],
        Fill::One(|facts| Some(facts.process?.open_fds as f64)),
    ),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        &[],
        Fill::One(|facts| Some(facts.process?.resident_bytes as f64)),
    ),
    gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        &[],
        Fill::One(|facts| Some(stamp(facts.process?.started))),
    ),
    gauge(
        "process_threads",
        "Number of threads in the process.",
        &[],
        Fill::One(|facts| Some(facts.process?.threads as f64)),
    ),
    gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        &[],
        Fill::One(|facts| Some(facts.process?.virtual_bytes as f64)),
    ),
    gauge(
        "total_mountpoints",
        "Number of watched mounts, hidden ones excluded.",
        &[],
        Fill::One(|facts| plain(facts.status().total)),
    ),
];

/// Families about the process that serves and not about mounts: they are not pushed, because whoever reads a gateway
/// cannot ask the process.
pub(super) fn is_of_process(family: &Family) -> bool {
    family.name.starts_with("process_")
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn expected(facts: &Facts<'_>) -> Vec<Line> {
    let missing = |status: &ExpectedStatus| {
        let path = escape_os(&status.expected.mountpoint).into_owned();
        line([path], f64::from(u8::from(status.missing_since.is_some())))
    };
    facts.status().expected.iter().map(missing).collect()
}

fn events(facts: &Facts<'_>) -> Vec<Line> {
    let counters = &facts.status().counters;
    let counted = [
        ("mounted", counters.mounted),
        ("moved", counters.moved),
        ("remounted", counters.remounted),
        ("unmounted", counters.unmounted),
    ];
    counted.into_iter().map(|(event, n)| line([event], n as f64)).collect()
}

fn of_hooks(facts: &Facts<'_>, value: fn(&HookCount) -> f64) -> Vec<Line> {
    facts.extras.hooks.hooks.iter().map(|hook| line([hook.name.clone()], value(hook))).collect()
}

/// All outcomes of each hook, for the same reason as below.
fn hook_runs(facts: &Facts<'_>) -> Vec<Line> {
    let of_hook = |hook: &HookCount| {
        let (name, hook) = (hook.name.clone(), hook.clone());
        HookOutcome::ALL
            .map(move |outcome| line([name.as_str(), outcome.as_str()], hook.runs(outcome) as f64))
    };
    facts.extras.hooks.hooks.iter().flat_map(of_hook).collect()
}

/// All reasons for each type: a counter that begins at 1 has no rate.
fn failures(facts: &Facts<'_>) -> Vec<Line> {
    let of_type = |(fstype, counted): (&String, &Many)| {
        let fstype = fstype.clone();
        let failures = counted.failures;
        Reason::ALL
            .into_iter()
            .zip(failures)
            .map(move |(reason, n)| line([fstype.clone(), reason.as_str().to_owned()], n as f64))
    };
    facts.fstypes.iter().flat_map(of_type).collect()
}
