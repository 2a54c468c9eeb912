//! The input of the metrics: a snapshot and plain statistics of the outputs.

use crate::monitor::remedy::RemedyTotals;
use crate::monitor::{FsCounters, Health, MountStatus, Reason, Status, Time};
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use crate::render::rows::health_rank;
use platform::{Mount, ProcessStats};
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::hash::{BuildHasher as _, DefaultHasher, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime};

/// Statistics that a snapshot does not contain. A part that is `None` or empty has no series.
#[derive(Clone, Debug, Default)]
pub struct MetricInputs {
    /// Sinks by name, with the number of messages that they dropped.
    pub dropped_messages: BTreeMap<&'static str, u64>,
    /// The push gateway.
    pub push: Option<PushStats>,
    /// Hooks, in the order of the configuration.
    pub hooks: Vec<HookStats>,
    /// Alertmanager.
    pub alertmanager: Option<AlertmanagerStats>,
    /// Processes that wait for the storage of the daemon's own files.
    pub files_left_behind: usize,
    /// The process that renders. `None` in a push, because a gateway outlives the process.
    pub process: Option<ProcessStats>,
}

/// Statistics of the push gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PushStats {
    /// Failed pushes.
    pub failures: u64,
    /// The last successful push, since the Unix epoch; zero before the first.
    pub last_success: Duration,
}

/// Statistics of one hook.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookStats {
    pub name: String,
    /// Events by outcome; every outcome is present.
    pub runs: Vec<(&'static str, u64)>,
    /// Queued events.
    pub waiting: usize,
    /// Commands that were killed and have not exited.
    pub stranded: u64,
}

/// Statistics of Alertmanager.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AlertmanagerStats {
    /// Accepted requests.
    pub accepted: u64,
    /// Failed requests.
    pub failed: u64,
    /// Alerts that exceeded the limit.
    pub dropped: u64,
    /// Firing alerts.
    pub firing: usize,
    /// The last accepted request, since the Unix epoch; zero before the first.
    pub last_success: Duration,
}

/// Counters of one file system type.
pub(super) type FstypeTotals = FsCounters;

/// Label values and the value.
pub(super) type Sample = (Vec<String>, f64);

/// The data that one rendering reads.
pub(super) struct MetricData {
    pub(super) snapshot: Snapshot,
    pub(super) inputs: MetricInputs,
    /// By escaped file system type.
    pub(super) fstypes: BTreeMap<String, FstypeTotals>,
}

impl MetricData {
    pub(super) fn new(snapshot: &Snapshot, inputs: MetricInputs) -> MetricData {
        let mut fstypes: BTreeMap<String, FstypeTotals> = BTreeMap::new();
        for counters in &snapshot.status.counters.by_fstype {
            // The collective name `other` may also be the name of a real type: both share one series.
            add(fstypes.entry(escape_os(&counters.fstype).into_owned()).or_default(), counters);
        }
        MetricData { snapshot: snapshot.clone(), inputs, fstypes }
    }

    pub(super) fn status(&self) -> &Status {
        &self.snapshot.status
    }

    /// None without rules that have remedies.
    pub(super) fn remedies(&self) -> Option<RemedyTotals> {
        let remedies = &self.snapshot.remedies;
        (remedies.rules > 0).then_some(remedies.totals)
    }

    /// Unix time in seconds.
    pub(super) fn unix_time(&self, time: Time) -> f64 {
        let wall = self.snapshot.wall_at(time).duration_since(SystemTime::UNIX_EPOCH);
        rounded_seconds(wall.unwrap_or_default())
    }

    /// How the labels of each mount are written.
    pub(super) fn labels(&self) -> Vec<Labels> {
        let mounts = &self.status().mounts;
        let mut all: Vec<Labels> = mounts.iter().map(Labels::of).collect();
        let mut paths = FxHashSet::with_capacity_and_hasher(all.len(), FxBuildHasher);
        let is_new = |(status, labels): (&MountStatus, &Labels)| {
            *labels == Labels::None || paths.insert(FxBuildHasher.hash_one(&status.mount.mountpoint))
        };
        // Usually the paths tell all of them apart.
        if !mounts.iter().zip(&all).all(is_new) {
            self.leave_out_duplicates(&mut all);
        }
        all
    }

    /// Duplicate label sets would make the exposition invalid: of mounts with the same labels, the one in the worst state is
    /// exported.
    fn leave_out_duplicates(&self, all: &mut [Labels]) {
        let mut text = Vec::new();
        let mut hashes: Vec<(u64, u8, usize)> = Vec::with_capacity(all.len());
        for (n, (status, labels)) in self.status().mounts.iter().zip(&*all).enumerate() {
            if *labels != Labels::None {
                text.clear();
                labels.push(&status.mount, &mut text);
                hashes.push((hash(&text), health_rank(&status.health), n));
            }
        }
        hashes.sort_unstable();
        for pair in hashes.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            all[pair[1].2] = Labels::None;
        }
    }
}

/// With many mounts, most of the text is their labels, which each family repeats: usual names are copied as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Labels {
    /// The mount is not exported.
    None,
    Plain,
    Escaped,
}

impl Labels {
    fn of(status: &MountStatus) -> Labels {
        let is_plain = |name: &OsStr| {
            let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'"');
            // Without an early end, several bytes are compared at once.
            name.len() <= MAX_LABEL && name.as_bytes().iter().fold(true, |all, byte| all & is_plain(byte))
        };
        match status.health {
            Health::Hidden => Labels::None,
            _ if names(&status.mount).into_iter().all(is_plain) => Labels::Plain,
            _ => Labels::Escaped,
        }
    }

    pub(super) fn push(self, mount: &Mount, text: &mut Vec<u8>) {
        let starts = [&b"device=\""[..], b"\",fstype=\"", b"\",mountpoint=\""];
        for (start, name) in starts.into_iter().zip(names(mount)) {
            text.extend_from_slice(start);
            match self {
                Labels::Escaped => push_escaped(&label_value(name), text),
                Labels::Plain | Labels::None => text.extend_from_slice(name.as_bytes()),
            }
        }
        text.push(b'"');
    }
}

fn names(mount: &Mount) -> [&OsStr; 3] {
    [mount.device.as_os_str(), mount.fstype.as_os_str(), mount.mountpoint.as_os_str()]
}

/// A label value as the format wants it.
pub(super) fn push_escaped(value: &str, text: &mut Vec<u8>) {
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'\n');
    if !value.as_bytes().iter().any(is_special) {
        return text.extend_from_slice(value.as_bytes());
    }
    for &byte in value.as_bytes() {
        match byte {
            b'\\' => text.extend_from_slice(br"\\"),
            b'"' => text.extend_from_slice(br#"\""#),
            b'\n' => text.extend_from_slice(br"\n"),
            _ => text.push(byte),
        }
    }
}

/// Each family repeats the labels of each mount, and a user can make thousands of mounts with paths of 4,095 bytes.
const MAX_LABEL: usize = 512;
/// What is kept of a longer value, besides its hash.
const KEPT_START: usize = 384;
const KEPT_END: usize = 96;

fn label_value(name: &OsStr) -> Cow<'_, str> {
    let text = escape_os(name);
    if text.len() <= MAX_LABEL {
        return text;
    }
    let boundary = |at: usize| (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let (start, end) = (boundary(KEPT_START), boundary(text.len() - KEPT_END));
    format!("{}…{:016x}…{}", &text[..start], hash(text.as_bytes()), &text[end..]).into()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn add(sum: &mut FstypeTotals, counters: &FsCounters) {
    sum.probes += counters.probes;
    for index in 0..Reason::ALL.len() {
        sum.failures[index] += counters.failures[index];
    }
    for (sum, n) in sum.durations.buckets.iter_mut().zip(counters.durations.buckets) {
        *sum += n;
    }
    sum.durations.sum = sum.durations.sum.saturating_add(counters.durations.sum);
}

pub(super) fn sample<const N: usize, S: Into<String>>(labels: [S; N], value: f64) -> Sample {
    (labels.into_iter().map(Into::into).collect(), value)
}

/// Rounded to milliseconds: monitor time and wall clock do not agree more precisely.
pub(super) fn rounded_seconds(since_epoch: Duration) -> f64 {
    (since_epoch.as_secs_f64() * 1000.0).round() / 1000.0
}
