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
        "Mounts that are dead: hung, or failing with an error of their storage.",
        &[],
        Fill::One(|facts| plain(facts.status().dead)),
    ),
    counter(
        "mountstatus_alertmanager_alerts_dropped_total",
        "Alerts that were not sent because there were too many; only with an Alertmanager.",
        &[],
        Fill::One(|facts| Some(facts.extras.hooks.alertmanager?.dropped as f64)),
    ),
    gauge(
        "mountstatus_alertmanager_alerts_firing",
        "Alerts that Alertmanager is told of; only with an Alertmanager.",
        &[],
        Fill::One(|facts| plain(facts.extras.hooks.alertmanager?.firing)),
    ),
    gauge(
        "mountstatus_alertmanager_last_success_timestamp_seconds",
        "When Alertmanager last took alerts, 0 if it never did; only with an Alertmanager.",
        &[],
        Fill::One(|facts| Some(stamp(facts.extras.hooks.alertmanager?.last_success))),
    ),
    counter(
        "mountstatus_alertmanager_requests_total",
        "Requests to Alertmanager by what came of them; only with an Alertmanager.",
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
        "Always 1; version and revision of the program are in the labels.",
        &["revision", "version"],
        Fill::Many(|_| vec![line([super::REVISION, super::VERSION], 1.0)]),
    ),
    gauge(
        "mountstatus_expected_mount_missing",
        "1 while a mount that has to be there is not; no series for other mounts.",
        &["mountpoint"],
        Fill::Many(expected),
    ),
    gauge(
        "mountstatus_hook_commands_left",
        "Commands of hooks that were killed and cannot end before the kernel lets them go; only with hooks.",
        &["hook"],
        Fill::Many(|facts| of_hooks(facts, |hook| hook.left as f64)),
    ),
    gauge(
        "mountstatus_hook_events_waiting",
        "Events that wait for a run of their hook; only with hooks.",
        &["hook"],
        Fill::Many(|facts| of_hooks(facts, |hook| hook.waiting as f64)),
    ),
    counter(
        "mountstatus_hook_runs_total",
        "Events for hooks by what came of them; only with hooks.",
        &["hook", "outcome"],
        Fill::Many(hook_runs),
    ),
    gauge(
        "mountstatus_last_run_timestamp_seconds",
        "When the last run over all mounts was complete.",
        &[],
        Fill::One(|facts| Some(facts.stamp(facts.status().last_run?.at))),
    ),
    counter(
        "mountstatus_messages_dropped_total",
        "Messages that did not reach a sink because it was blocked, full or flooded.",
        &["sink"],
        Fill::Many(|facts| facts.extras.dropped.iter().map(|(sink, n)| line([*sink], *n as f64)).collect()),
    ),
    gauge(
        "mountstatus_mount_blocked_tasks",
        "Tasks that were seen to be blocked on a dead mount; no series while that is not known.",
        MOUNT,
        Fill::Mount(|_, mount| {
            let findings = mount.health.failure()?.evidence.as_ref()?;
            Some(f64::from(findings.evidence.tasks.as_ref()?.found()?.count))
        }),
    ),
    counter(
        "mountstatus_mount_events_total",
        "Changes of the mount table that were seen since the start.",
        &["event"],
        Fill::Many(events),
    ),
    gauge(
        "mountstatus_mount_failure",
        "1 for the reason why the mount is dead right now; a mount that is not dead has no such series.",
        &["device", "fstype", "mountpoint", "reason"],
        Fill::Failure,
    ),
    gauge(
        "mountstatus_mount_last_success_timestamp_seconds",
        "When the mount last answered without an error; no series before it ever did.",
        MOUNT,
        Fill::Mount(|facts, mount| Some(facts.stamp(mount.answered.filter(|last| last.usage.is_some())?.at))),
    ),
    gauge(
        "mountstatus_mount_probe_duration_seconds",
        "How long the last answer of the mount took, errors among them; no series before the first.",
        MOUNT,
        Fill::Mount(|_, mount| Some(mount.answered?.took.as_secs_f64())),
    ),
    gauge(
        "mountstatus_mount_readonly",
        "1 while the mount refuses writing, by its options or because the kernel made its file system read-only.",
        MOUNT,
        Fill::Mount(|_, mount| {
            let by_kernel = mount.answered.and_then(|last| last.usage).is_some_and(|usage| usage.read_only);
            Some(truth(by_kernel || mount.mount.read_only()))
        }),
    ),
    gauge(
        "mountstatus_mount_slow",
        "1 while the mount answers, but late.",
        MOUNT,
        Fill::Mount(|_, mount| Some(truth(mount.health == Health::Slow))),
    ),
    gauge(
        "mountstatus_mount_state_since_timestamp_seconds",
        "Since when the mount is in its present state; for a dead mount, when it died.",
        MOUNT,
        Fill::Mount(|facts, mount| Some(facts.stamp(mount.since))),
    ),
    counter(
        "mountstatus_mount_table_reads_total",
        "Readings of the mount table.",
        &[],
        Fill::One(|facts| Some(facts.status().counters.table_reads as f64)),
    ),
    gauge(
        "mountstatus_mount_up",
        "0 while the mount is dead, else 1; one that was not judged yet or may not be asked has no last success.",
        MOUNT,
        Fill::Mount(|_, mount| Some(truth(mount.health.failure().is_none()))),
    ),
    Family {
        name: "mountstatus_probe_duration_seconds",
        help: "How long answers took, errors among them; a probe that hangs is not in here until it answers.",
        kind: Kind::Histogram,
        labels: &["fstype"],
        fill: Fill::Durations,
    },
    counter(
        "mountstatus_probe_failures_total",
        "Probes that found their mount dead.",
        &["fstype", "reason"],
        Fill::Many(failures),
    ),
    gauge(
        "mountstatus_probers_lost",
        "Prober processes that were killed and cannot end before the kernel lets them go.",
        &[],
        Fill::One(|facts| plain(facts.snapshot.probers_stranded)),
    ),
    gauge(
        "mountstatus_probes_in_flight",
        "Probes that have no answer yet.",
        &[],
        Fill::One(|facts| plain(facts.status().in_flight)),
    ),
    counter(
        "mountstatus_probes_total",
        "Probes that were started.",
        &["fstype"],
        Fill::Many(|facts| {
            let types = facts.fstypes.iter();
            types.map(|(fstype, counted)| line([fstype.clone()], counted.probes as f64)).collect()
        }),
    ),
    counter(
        "mountstatus_push_failures_total",
        "Pushes that the gateway did not take; only with a push gateway.",
        &[],
        Fill::One(|facts| Some(facts.extras.push?.failures as f64)),
    ),
    gauge(
        "mountstatus_push_last_success_timestamp_seconds",
        "When the gateway last took a push, 0 if it never did; only with a push gateway.",
        &[],
        Fill::One(|facts| Some(stamp(facts.extras.push?.last_success))),
    ),
    gauge(
        "mountstatus_run_duration_seconds",
        "How long the last complete run over all mounts took.",
        &[],
        Fill::One(|facts| Some(facts.status().last_run?.took.as_secs_f64())),
    ),
    counter(
        "process_cpu_seconds_total",
        "Time that this process spent on processors, in user and kernel mode.",
        &[],
        Fill::One(|facts| Some(facts.process?.cpu.as_secs_f64())),
    ),
    gauge(
        "process_max_fds",
        "File descriptors that this process may have open.",
        &[],
        Fill::One(|facts| Some(facts.process?.max_fds as f64)),
    ),
    gauge(
        "process_open_fds",
        "File descriptors that this process has open.",
        &[],
        Fill::One(|facts| Some(facts.process?.open_fds as f64)),
    ),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of this process.",
        &[],
        Fill::One(|facts| Some(facts.process?.resident_bytes as f64)),
    ),
    gauge(
        "process_start_time_seconds",
        "When this process started.",
        &[],
        Fill::One(|facts| Some(stamp(facts.process?.started))),
    ),
    gauge(
        "process_threads",
        "Threads of this process.",
        &[],
        Fill::One(|facts| Some(facts.process?.threads as f64)),
    ),
    gauge(
        "process_virtual_memory_bytes",
        "Addresses that this process has taken.",
        &[],
        Fill::One(|facts| Some(facts.process?.virtual_bytes as f64)),
    ),
    gauge(
        "total_mountpoints",
        "Mounts that are watched; hidden ones are not counted.",
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
