//! What families are filled from: a snapshot, and the little that is not in one, read once for each rendering.

use super::MetricSources;
use crate::monitor::{FsCounters, Health, MountStatus, Reason, Status, Time};
use crate::output::hooks::Counts;
use crate::output::hooks::Hooks;
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use platform::ProcessStats;
use prometheus::proto::{LabelPair, Metric};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Sums of one file system type.
pub(super) type Many = FsCounters;

/// Label values and the value.
pub(super) type Line = (Vec<String>, f64);

pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) extras: Read,
    pub(super) process: Option<ProcessStats>,
    /// By the type as it is written.
    pub(super) fstypes: BTreeMap<String, Many>,
}

/// [`MetricSources`] at one moment.
pub(super) struct Read {
    pub(super) dropped: BTreeMap<&'static str, u64>,
    pub(super) push: Option<Pushed>,
    pub(super) hooks: Counts,
}

#[derive(Clone, Copy)]
pub(super) struct Pushed {
    pub(super) failures: u64,
    pub(super) last_success: Duration,
}

impl<'a> Facts<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        extras: &MetricSources,
        process: Option<ProcessStats>,
    ) -> Facts<'a> {
        let dropped = extras.sinks.iter().map(|sink| (sink.name(), sink.dropped_total())).collect();
        let push = extras.push.as_ref().map(|push| push.read());
        let push = push.map(|(failures, last_success)| Pushed { failures, last_success });
        let hooks = extras.hooks.as_ref().map(Hooks::counters).unwrap_or_default();
        let mut fstypes: BTreeMap<String, Many> = BTreeMap::new();
        for counted in &snapshot.status.counters.by_fstype {
            // A type may really be called what the rest is called: one series for both.
            let sum = fstypes.entry(escape_os(&counted.fstype).into_owned()).or_default();
            add(sum, counted);
        }
        Facts { snapshot, extras: Read { dropped, push, hooks }, process, fstypes }
    }

    pub(super) fn status(&self) -> &'a Status {
        &self.snapshot.status
    }

    /// A moment of the monitor's clock as Prometheus has it.
    pub(super) fn stamp(&self, time: Time) -> f64 {
        let wall = self.snapshot.wall_at(time).duration_since(SystemTime::UNIX_EPOCH);
        stamp(wall.unwrap_or_default())
    }

    /// The mounts that are exported, ordered by their labels, each with its labels. Two that cannot be told apart by
    /// them would spoil the whole answer: the one that is worse stays.
    pub(super) fn mounts(&self) -> Vec<(&'a MountStatus, Metric)> {
        let visible = self.status().mounts.iter().filter(|mount| mount.health != Health::Hidden);
        let mut mounts: Vec<([String; 3], &MountStatus)> =
            visible.map(|mount| (names(mount), mount)).collect();
        mounts.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| badness(y).cmp(&badness(x))));
        mounts.dedup_by(|(later, _), (kept, _)| later == kept);
        let labelled = |(values, mount): ([String; 3], &'a MountStatus)| {
            let pairs = ["device", "fstype", "mountpoint"].into_iter().zip(values);
            (mount, Metric::from_label(pairs.map(|(name, value)| pair(name, value)).collect()))
        };
        mounts.into_iter().map(labelled).collect()
    }
}

fn names(status: &MountStatus) -> [String; 3] {
    let mount = &status.mount;
    [
        escape_os(&mount.device).into_owned(),
        escape_os(&mount.fstype).into_owned(),
        escape_os(&mount.mountpoint).into_owned(),
    ]
}

fn badness(mount: &MountStatus) -> u8 {
    match mount.health {
        Health::Hidden => 0,
        Health::Ok => 1,
        Health::Pending => 2,
        Health::Denied(_) => 3,
        Health::Slow => 4,
        Health::Dead(_) => 5,
    }
}

fn add(sum: &mut Many, counted: &FsCounters) {
    sum.probes += counted.probes;
    for place in 0..Reason::ALL.len() {
        sum.failures[place] += counted.failures[place];
    }
    for (sum, n) in sum.durations.buckets.iter_mut().zip(counted.durations.buckets) {
        *sum += n;
    }
    sum.durations.sum = sum.durations.sum.saturating_add(counted.durations.sum);
}

pub(super) fn pair(name: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}

pub(super) fn line<const N: usize, S: Into<String>>(labels: [S; N], value: f64) -> Line {
    (labels.into_iter().map(Into::into).collect(), value)
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a family's value")]
pub(super) fn plain(n: usize) -> Option<f64> {
    Some(n as f64)
}

/// Seconds since the epoch, to the millisecond: more would be noise of the two clocks.
pub(super) fn stamp(since_epoch: Duration) -> f64 {
    (since_epoch.as_secs_f64() * 1000.0).round() / 1000.0
}
