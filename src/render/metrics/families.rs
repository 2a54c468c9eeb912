//! Every metric family, defined once: name, HELP, type, labels and the source of its values. Tests compare alert rules,
//! dashboards and documentation with this table.

use super::encode::push_more_label;
use super::inputs::{FstypeTotals, HookStats, MetricData, Sample, rounded_seconds, sample};
use super::mount_info;
use crate::monitor::{ExpectedStatus, Health, MountStatus, Reason};
use crate::render::escape::escape_os;
use crate::render::remedy_state;
use crate::render::rows::is_read_only;
use platform::Usage;

/// A metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name in the exposition.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// The label names, sorted.
    pub labels: &'static [&'static str],
    pub(super) fill: Fill,
}

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The value of a family without labels; `None` means no series.
type SingleValue = fn(&MetricData) -> Option<f64>;
/// The value for a mount; `None` means no series for this mount.
pub(super) type MountValue = fn(&MetricData, &MountStatus) -> Option<f64>;
/// Writes the labels of a mount besides device, type and mount point, each behind a comma.
pub(super) type MoreLabels = fn(&MountStatus, &mut Vec<u8>);
/// All series, with label values in the order of [`Family::labels`].
type Samples = fn(&MetricData) -> Vec<Sample>;

/// The source of a family's values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill {
    Single(SingleValue),
    /// One series for each mount that is not hidden.
    Mount(MountValue),
    /// The same with further labels.
    MountWith(MountValue, MoreLabels),
    Many(Samples),
    /// One histogram for each file system type.
    Durations,
}

const fn gauge(name: &'static str, help: &'static str, value: SingleValue) -> Family {
    Family { name, help, kind: Kind::Gauge, labels: &[], fill: Fill::Single(value) }
}

const fn counter(name: &'static str, help: &'static str, value: SingleValue) -> Family {
    Family { name, help, kind: Kind::Counter, labels: &[], fill: Fill::Single(value) }
}

const fn per_mount(name: &'static str, help: &'static str, value: MountValue) -> Family {
    let labels = &["device", "fstype", "mountpoint"];
    Family { name, help, kind: Kind::Gauge, labels, fill: Fill::Mount(value) }
}

const fn series(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: Samples,
) -> Family {
    Family { name, help, kind, labels, fill: Fill::Many(samples) }
}

/// All families, in the order of their names.
pub const FAMILIES: &[Family] = &[
    gauge("dead_mountpoints", "Number of dead mounts (hung or failed).", |data| {
        Some(data.status().dead as f64)
    }),
    counter(
        "mountstatus_alertmanager_alerts_dropped_total",
        "Alerts not sent because there were too many; only with an Alertmanager.",
        |data| Some(data.inputs.alertmanager?.dropped as f64),
    ),
    gauge(
        "mountstatus_alertmanager_alerts_firing",
        "Alerts currently firing in Alertmanager; only with an Alertmanager.",
        |data| Some(data.inputs.alertmanager?.firing as f64),
    ),
    gauge(
        "mountstatus_alertmanager_last_success_timestamp_seconds",
        "Unix time of the last accepted request to Alertmanager, 0 before the first; only with an Alertmanager.",
        |data| Some(rounded_seconds(data.inputs.alertmanager?.last_success)),
    ),
    series(
        Kind::Counter,
        "mountstatus_alertmanager_requests_total",
        "Requests to Alertmanager by outcome; only with an Alertmanager.",
        &["outcome"],
        alertmanager_requests,
    ),
    series(
        Kind::Gauge,
        "mountstatus_build_info",
        "Always 1; the labels carry version and revision of the program.",
        &["revision", "version"],
        |_| vec![sample([super::REVISION, super::VERSION], 1.0)],
    ),
    gauge(
        "mountstatus_config_last_reload_success_timestamp_seconds",
        "Unix time when the configuration in force was loaded.",
        |data| Some(data.unix_time(data.snapshot.config.loaded_at)),
    ),
    gauge(
        "mountstatus_config_last_reload_successful",
        "1 if the configuration was accepted when it was last read, 0 if it was rejected.",
        |data| Some(bool_value(data.snapshot.config.rejected_at.is_none())),
    ),
    counter(
        "mountstatus_events_not_reported_total",
        "Events about mounts of users that were not reported, because there were too many.",
        |data| Some(data.status().counters.not_reported as f64),
    ),
    series(
        Kind::Gauge,
        "mountstatus_expected_mount_missing",
        "1 while an expected mount is missing, else 0; no series for other mounts.",
        &["mount_severity", "mountpoint"],
        expected_mounts,
    ),
    gauge(
        "mountstatus_files_left_behind",
        "Processes that wait for the storage of the daemon's own files, and that cannot be killed.",
        |data| Some(data.inputs.files_left_behind as f64),
    ),
    series(
        Kind::Gauge,
        "mountstatus_hook_commands_stranded",
        "Stranded hook commands: killed, but still blocked in the kernel; only with hooks.",
        &["hook"],
        |data| per_hook(data, |hook| hook.stranded as f64),
    ),
    series(
        Kind::Gauge,
        "mountstatus_hook_events_waiting",
        "Events queued for a hook; only with hooks.",
        &["hook"],
        |data| per_hook(data, |hook| hook.waiting as f64),
    ),
    series(
        Kind::Counter,
        "mountstatus_hook_runs_total",
        "Events handled by a hook, by outcome; only with hooks.",
        &["hook", "outcome"],
        hook_runs,
    ),
    gauge(
        "mountstatus_last_run_timestamp_seconds",
        "Unix time when the last run over all mounts completed.",
        |data| Some(data.unix_time(data.status().last_run?.at)),
    ),
    series(
        Kind::Counter,
        "mountstatus_messages_dropped_total",
        "Messages not delivered to a sink that was blocked, full or flooded.",
        &["sink"],
        |data| data.inputs.dropped_messages.iter().map(|(sink, n)| sample([*sink], *n as f64)).collect(),
    ),
    per_mount(
        "mountstatus_mount_avail_bytes",
        "Bytes that ordinary users can still write; no series while the mount does not respond.",
        |_, mount| usage(mount).map(|usage| bytes(usage.available, usage)),
    ),
    per_mount(
        "mountstatus_mount_blocked_tasks",
        "Tasks blocked on a dead mount; no series while unknown.",
        |_, mount| {
            let record = mount.health.failure()?.evidence.as_ref()?;
            Some(f64::from(record.evidence.tasks.as_ref()?.found()?.count))
        },
    ),
    Family {
        name: "mountstatus_mount_data_probe_last_success_timestamp_seconds",
        help: "Unix time of the last good data-path probe, 0 before the first; no series without a rule with one.",
        kind: Kind::Gauge,
        labels: &["device", "fstype", "kind", "mountpoint"],
        fill: Fill::MountWith(
            |data, mount| {
                let last = mount.data_path.as_ref()?.last_good;
                Some(last.map_or(0.0, |(at, _)| data.unix_time(at)))
            },
            |mount, text| {
                let kind = mount.data_path.as_ref().map_or("", |data| data.settings.kind.as_str());
                push_more_label("kind", kind, text);
            },
        ),
    },
    series(
        Kind::Counter,
        "mountstatus_mount_events_total",
        "Changes of the mount table, and mounts that began or ceased to flap, since the start of the daemon, by kind.",
        &["event"],
        table_changes,
    ),
    Family {
        name: "mountstatus_mount_failure",
        help: "1 for the current failure reason of a dead mount; no series for other mounts.",
        kind: Kind::Gauge,
        labels: &["device", "fstype", "mountpoint", "reason"],
        fill: Fill::MountWith(
            |_, mount| mount.health.failure().map(|_| 1.0),
            |mount, text| {
                if let Some(failure) = mount.health.failure() {
                    push_more_label("reason", failure.reason.as_str(), text);
                }
            },
        ),
    },
    per_mount(
        "mountstatus_mount_files",
        "Files (inodes) that fit, where there is a limit; no series while the mount does not respond.",
        |_, mount| usage(mount).filter(|usage| usage.files > 0).map(|usage| usage.files as f64),
    ),
    per_mount(
        "mountstatus_mount_files_free",
        "Files (inodes) that still fit, where there is a limit; no series while the mount does not respond.",
        |_, mount| usage(mount).filter(|usage| usage.files > 0).map(|usage| usage.files_free as f64),
    ),
    per_mount(
        "mountstatus_mount_flapping",
        "1 while the mount flaps, so that its changes are not reported, else 0.",
        |_, mount| Some(bool_value(mount.flapping.is_some())),
    ),
    Family {
        name: "mountstatus_mount_info",
        help: "Always 1; the labels tell more about a mount: where it comes from, and the severity of its rule.",
        kind: Kind::Gauge,
        labels: mount_info::LABELS,
        fill: Fill::MountWith(|_, _| Some(1.0), mount_info::push_labels),
    },
    per_mount(
        "mountstatus_mount_last_success_timestamp_seconds",
        "Unix time of the last response without an error; no series before the first.",
        |data, mount| Some(data.unix_time(mount.last_response.filter(|last| last.usage.is_some())?.at)),
    ),
    per_mount(
        "mountstatus_mount_probe_duration_seconds",
        "Duration of the last probe with a response, errors included; no series before the first.",
        |_, mount| Some(mount.last_response?.took.as_secs_f64()),
    ),
    per_mount(
        "mountstatus_mount_readonly",
        "1 if the mount or its superblock is read-only, else 0.",
        |_, mount| Some(bool_value(is_read_only(mount))),
    ),
    per_mount(
        "mountstatus_mount_remedy_gave_up",
        "1 if nothing more is tried about a dead mount, else 0; only for dead mounts with a remedy in their rule.",
        |data, mount| {
            Some(bool_value(remedy_state::of_mount(&data.snapshot.remedies, mount)?.has_given_up()))
        },
    ),
    per_mount(
        "mountstatus_mount_size_bytes",
        "Size of the file system; no series while the mount does not respond.",
        |_, mount| usage(mount).map(|usage| bytes(usage.blocks, usage)),
    ),
    per_mount(
        "mountstatus_mount_slow",
        "1 while responses take longer than slow_after, else 0.",
        |_, mount| Some(bool_value(mount.health == Health::Slow)),
    ),
    per_mount(
        "mountstatus_mount_state_since_timestamp_seconds",
        "Unix time when the mount entered its current state; for a dead mount, when it died.",
        |data, mount| Some(data.unix_time(mount.since)),
    ),
    counter("mountstatus_mount_table_reads_total", "Reads of the mount table, or of its changes.", |data| {
        Some(data.status().counters.table_reads as f64)
    }),
    per_mount(
        "mountstatus_mount_unexpected_options",
        "1 while the options of a mount are other than a rule expects, else 0; no series without such a rule.",
        |_, mount| mount.has_unexpected_options.map(bool_value),
    ),
    per_mount(
        "mountstatus_mount_up",
        "0 while the mount is dead, NaN while it is unknown, else 1, also while it is pending or denied.",
        |_, mount| {
            let is_unknown = matches!(mount.health, Health::Unknown { .. });
            Some(if is_unknown { f64::NAN } else { bool_value(mount.health.failure().is_none()) })
        },
    ),
    series(
        Kind::Gauge,
        "mountstatus_mounts",
        "Watched mounts by state, hidden ones excluded; the sum is total_mountpoints.",
        &["state"],
        mounts_by_state,
    ),
    counter(
        "mountstatus_mounts_missed_total",
        "Mounts that were unmounted before the daemon could read them, as far as the kernel reports it.",
        |data| Some(data.status().counters.mounts_missed as f64),
    ),
    gauge(
        "mountstatus_mounts_not_watched",
        "Mounts that are not watched, because their user has too many.",
        |data| Some(data.status().not_watched as f64),
    ),
    gauge(
        "mountstatus_poll_interval_seconds",
        "The configured time between two runs; rules may set another for some mounts.",
        |data| Some(data.snapshot.settings.poll_interval.as_secs_f64()),
    ),
    Family {
        name: "mountstatus_probe_duration_seconds",
        help: "Duration of probes, errors included; a hung probe is counted when it returns.",
        kind: Kind::Histogram,
        labels: &["fstype"],
        fill: Fill::Durations,
    },
    series(
        Kind::Counter,
        "mountstatus_probe_failures_total",
        "Probes that found their mount dead, by reason.",
        &["fstype", "reason"],
        probe_failures,
    ),
    gauge(
        "mountstatus_probers_stranded",
        "Stranded prober processes: killed, but still blocked in the kernel.",
        |data| Some(data.snapshot.probers_stranded as f64),
    ),
    gauge("mountstatus_probes_in_flight", "Probes without a response yet.", |data| {
        Some(data.status().in_flight as f64)
    }),
    series(Kind::Counter, "mountstatus_probes_total", "Probes started.", &["fstype"], |data| {
        let fstypes = data.fstypes.iter();
        fstypes.map(|(fstype, totals)| sample([fstype.as_str()], totals.probes as f64)).collect()
    }),
    counter(
        "mountstatus_push_failures_total",
        "Failed pushes to the push gateway; only with a push gateway.",
        |data| Some(data.inputs.push?.failures as f64),
    ),
    gauge(
        "mountstatus_push_last_success_timestamp_seconds",
        "Unix time of the last successful push, 0 before the first; only with a push gateway.",
        |data| Some(rounded_seconds(data.inputs.push?.last_success)),
    ),
    series(
        Kind::Counter,
        "mountstatus_remedies_total",
        "Attempts to remedy a dead mount, by outcome; only with remedies in rules.",
        &["outcome"],
        remedies,
    ),
    counter(
        "mountstatus_remedy_steps_total",
        "Steps of remedies that were made or tried; only with remedies in rules.",
        |data| Some(data.remedies()?.steps as f64),
    ),
    gauge("mountstatus_run_duration_seconds", "Duration of the last complete run over all mounts.", |data| {
        Some(data.status().last_run?.took.as_secs_f64())
    }),
    gauge(
        "mountstatus_runs_from_memory",
        "1 if the daemon needs no file of its program any more; if 0, it hangs when the storage of the program hangs.",
        |data| Some(bool_value(data.snapshot.runs_from_memory)),
    ),
    counter(
        "mountstatus_sign_probes_total",
        "Probes started at once because tasks seemed to wait for a mount.",
        |data| Some(data.status().counters.signs as f64),
    ),
    counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", |data| {
        Some(data.inputs.process?.cpu.as_secs_f64())
    }),
    gauge("process_max_fds", "Maximum number of open file descriptors.", |data| {
        Some(data.inputs.process?.max_fds as f64)
    }),
    gauge("process_open_fds", "Number of open file descriptors.", |data| {
        Some(data.inputs.process?.open_fds as f64)
    }),
    gauge("process_resident_memory_bytes", "Resident memory size in bytes.", |data| {
        Some(data.inputs.process?.resident_bytes as f64)
    }),
    gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", |data| {
        Some(rounded_seconds(data.inputs.process?.started))
    }),
    gauge("process_threads", "Number of threads in the process.", |data| {
        Some(data.inputs.process?.threads as f64)
    }),
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", |data| {
        Some(data.inputs.process?.virtual_bytes as f64)
    }),
    gauge("total_mountpoints", "Number of watched mounts, hidden ones excluded.", |data| {
        Some(data.status().total as f64)
    }),
];

/// The sizes of a mount that responds. Pseudo file systems have none.
fn usage(mount: &MountStatus) -> Option<&Usage> {
    let responds = matches!(mount.health, Health::Ok | Health::Slow);
    mount.last_response.as_ref().filter(|_| responds)?.usage.as_ref().filter(|usage| usage.blocks > 0)
}

fn bytes(blocks: u64, usage: &Usage) -> f64 {
    blocks as f64 * usage.block_size as f64
}

fn bool_value(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}

fn alertmanager_requests(data: &MetricData) -> Vec<Sample> {
    let Some(stats) = data.inputs.alertmanager else { return Vec::new() };
    vec![sample(["ok"], stats.accepted as f64), sample(["failed"], stats.failed as f64)]
}

fn expected_mounts(data: &MetricData) -> Vec<Sample> {
    let missing = |status: &ExpectedStatus| {
        let path = escape_os(&status.expected.mountpoint);
        sample([status.expected.severity.as_str(), &path], bool_value(status.missing_since.is_some()))
    };
    data.status().expected.iter().map(missing).collect()
}

fn mounts_by_state(data: &MetricData) -> Vec<Sample> {
    // Every state has a series at all times: an alert on a state that appears would miss its beginning.
    let mut counts = ["pending", "ok", "slow", "hung", "failed", "denied", "unknown"].map(|state| (state, 0));
    for mount in data.status().mounts.iter() {
        let state = mount.health.as_str();
        counts.iter_mut().filter(|(name, _)| *name == state).for_each(|(_, count)| *count += 1);
    }
    counts.into_iter().map(|(state, count)| sample([state], f64::from(count))).collect()
}

fn table_changes(data: &MetricData) -> Vec<Sample> {
    let counters = &data.status().counters;
    let counts = [
        ("flapping", counters.flapping),
        ("mounted", counters.mounted),
        ("moved", counters.moved),
        ("remounted", counters.remounted),
        ("steady", counters.steady),
        ("unmounted", counters.unmounted),
    ];
    counts.into_iter().map(|(event, n)| sample([event], n as f64)).collect()
}

fn per_hook(data: &MetricData, value: fn(&HookStats) -> f64) -> Vec<Sample> {
    data.inputs.hooks.iter().map(|hook| sample([hook.name.clone()], value(hook))).collect()
}

// Below, every outcome and reason has a series from the start: rate() misses the first increment of a new one.

fn hook_runs(data: &MetricData) -> Vec<Sample> {
    let of_hook = |hook: &HookStats| -> Vec<Sample> {
        hook.runs.iter().map(|(outcome, n)| sample([hook.name.as_str(), outcome], *n as f64)).collect()
    };
    data.inputs.hooks.iter().flat_map(of_hook).collect()
}

fn remedies(data: &MetricData) -> Vec<Sample> {
    let Some(totals) = data.remedies() else { return Vec::new() };
    let counts = [
        ("dry_run", totals.dry_runs),
        ("failed", totals.failed),
        ("refused", totals.refused),
        ("remedied", totals.remedied),
    ];
    counts.into_iter().map(|(outcome, n)| sample([outcome], n as f64)).collect()
}

fn probe_failures(data: &MetricData) -> Vec<Sample> {
    let of_type = |(fstype, totals): (&String, &FstypeTotals)| -> Vec<Sample> {
        let failures = Reason::ALL.into_iter().zip(totals.failures);
        failures.map(|(reason, n)| sample([fstype.as_str(), reason.as_str()], n as f64)).collect()
    };
    data.fstypes.iter().flat_map(of_type).collect()
}
