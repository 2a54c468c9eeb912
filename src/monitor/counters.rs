//! Counters since the start of the daemon.

use super::{Event, Reason};
use platform::{FsKind, Mount, ProbeOutcome};
use rustc_hash::FxHashMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// Upper bounds of the buckets of [`Durations`] in seconds: from a cached local response to a severely overloaded
/// server.
pub const DURATION_BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Maximum number of file system types counted separately; the rest is counted as `other`. A kernel has fewer.
const MAX_FSTYPES: usize = 128;
/// Maximum number of FUSE subtypes among them; the rest is counted as `fuse`. Users invent subtypes, also in user
/// namespaces where they look like root, so these must not use up the room for the other types.
const MAX_SUBTYPES: usize = 32;

#[derive(Clone, Default, PartialEq, Debug)]
pub struct Counters {
    /// By file system type, in the order in which they were first seen.
    pub by_fstype: Vec<FsCounters>,
    /// Mounts that appeared after the start.
    pub mounted: u64,
    pub unmounted: u64,
    /// Mounts whose options changed.
    pub remounted: u64,
    pub moved: u64,
    /// Mounts that began to flap.
    pub flapping: u64,
    /// Mounts that were reported to be steady after flapping.
    pub steady: u64,
    /// Events about mounts of users that their budgets did not permit to report.
    pub not_reported: u64,
    /// Probes that early signs caused.
    pub signs: u64,
    /// Readings of the mount table.
    pub table_reads: u64,
    /// Mounts that were unmounted before they could be read.
    pub mounts_missed: u64,
}

#[derive(Clone, Default, PartialEq, Debug)]
pub struct FsCounters {
    pub fstype: OsString,
    pub probes: u64,
    /// Probes that found their mount dead, in the order of [`Reason::ALL`].
    pub failures: [u64; Reason::ALL.len()],
    /// How long the responses took, errors included.
    pub durations: Durations,
}

#[derive(Clone, Default, PartialEq, Debug)]
pub struct Durations {
    /// Responses in each bucket, not accumulated; the last is for those above all bounds.
    pub buckets: [u64; DURATION_BOUNDS.len() + 1],
    pub sum: Duration,
}

impl Durations {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = DURATION_BOUNDS.iter().position(|&bound| seconds <= bound);
        self.buckets[bucket.unwrap_or(DURATION_BOUNDS.len())] += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

/// The counters, and the index of each file system type in them.
#[derive(Default)]
pub(super) struct CounterTable {
    pub(super) totals: Counters,
    indices: FxHashMap<OsString, usize>,
    subtypes: usize,
}

impl CounterTable {
    /// The index of the counters of a mount's type, kept for each mount. The subtype of a mount that a user made is not
    /// counted separately.
    pub(super) fn index_for(&mut self, mount: &Mount) -> usize {
        if mount.kind() != FsKind::Fuse {
            return self.index_of(&mount.fstype);
        }
        let is_known = self.indices.contains_key(&*mount.fstype);
        if mount.user().is_foreign() || !is_known && self.subtypes >= MAX_SUBTYPES {
            return self.index_of(mount.main_type());
        }
        self.subtypes += usize::from(!is_known);
        self.index_of(&mount.fstype)
    }

    fn index_of(&mut self, fstype: &OsStr) -> usize {
        if let Some(&index) = self.indices.get(fstype) {
            return index;
        }
        let by_fstype = &mut self.totals.by_fstype;
        if by_fstype.len() >= MAX_FSTYPES {
            return MAX_FSTYPES - 1;
        }
        let is_last = by_fstype.len() == MAX_FSTYPES - 1;
        let name = if is_last { "other".into() } else { fstype.to_owned() };
        by_fstype.push(FsCounters { fstype: name.clone(), ..FsCounters::default() });
        self.indices.insert(name, by_fstype.len() - 1);
        by_fstype.len() - 1
    }

    pub(super) fn on_probe_started(&mut self, fstype_index: usize) {
        self.totals.by_fstype[fstype_index].probes += 1;
    }

    pub(super) fn on_response(&mut self, fstype_index: usize, outcome: &ProbeOutcome, took: Duration) {
        if *outcome != ProbeOutcome::WrongMount {
            self.totals.by_fstype[fstype_index].durations.add(took);
        }
    }

    pub(super) fn on_failure(&mut self, fstype_index: usize, reason: Reason) {
        self.totals.by_fstype[fstype_index].failures[reason as usize] += 1;
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        match event {
            Event::Mounted { .. } => self.totals.mounted += 1,
            Event::Unmounted { .. } => self.totals.unmounted += 1,
            Event::Remounted { .. } => self.totals.remounted += 1,
            Event::Moved { .. } => self.totals.moved += 1,
            Event::Flapping { .. } => self.totals.flapping += 1,
            Event::Steady { .. } => self.totals.steady += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;

    fn of_type(fstype: &str, options: &str) -> Mount {
        Mount { fstype: fstype.into(), super_options: options.into(), ..mount(1, "/a") }
    }

    #[test]
    fn invented_subtypes_leave_room_for_later_types() {
        let mut table = CounterTable::default();
        for n in 0..140 {
            table.index_for(&of_type(&format!("fuse.user-{n}"), "rw,user_id=1000,group_id=1000"));
        }
        for n in 0..140 {
            table.index_for(&of_type(&format!("fuse.root-{n}"), "rw,user_id=0,group_id=0"));
        }
        table.index_for(&of_type("nfs4", "rw"));
        let names: Vec<_> = table.totals.by_fstype.iter().map(|it| it.fstype.to_str().unwrap()).collect();
        assert_eq!((names.len(), names[0], names[1]), (2 + MAX_SUBTYPES, "fuse", "fuse.root-0"));
        assert_eq!(names.last(), Some(&"nfs4"));
        assert_eq!(table.index_for(&of_type("fuse.root-1", "rw,user_id=0")), 2);
    }

    #[test]
    fn types_above_the_limit_are_counted_as_other() {
        let mut table = CounterTable::default();
        let indices: Vec<usize> =
            (0..300).map(|n| table.index_for(&of_type(&format!("t{n}"), "rw"))).collect();
        assert_eq!(indices[..3], [0, 1, 2]);
        assert_eq!(table.index_for(&of_type("t1", "rw")), 1);
        assert!(indices[MAX_FSTYPES - 1..].iter().all(|&index| index == MAX_FSTYPES - 1));
        assert_eq!(table.totals.by_fstype.len(), MAX_FSTYPES);
        assert_eq!(table.totals.by_fstype[MAX_FSTYPES - 1].fstype, "other");
    }

    #[test]
    fn response_is_counted_in_the_bucket_that_bounds_it() {
        let mut durations = Durations::default();
        for ms in [0, 1, 2, 5_000, 60_000] {
            durations.add(Duration::from_millis(ms));
        }
        assert_eq!(durations.buckets, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        assert_eq!((durations.count(), durations.sum), (5, Duration::from_millis(65_003)));
    }

    #[test]
    fn reasons_are_listed_in_the_order_of_their_counters() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
