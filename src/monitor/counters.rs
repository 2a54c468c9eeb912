//! What has been counted since the start: plain numbers, read by those who show them.

use super::Reason;
use platform::ProbeOutcome;
use rustc_hash::FxHashMap;
use std::ffi::OsString;
use std::time::Duration;

/// Upper bounds of the buckets of [`Durations`], in seconds: from a cached local answer to a server in deep trouble.
pub const DURATION_BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// File system types that are counted apart. Subtypes of FUSE can be made up by anybody: the rest is one, `other`.
pub(super) const MAX_FSTYPES: usize = 128;

/// Everything that only grows.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Counters {
    /// By file system type, in the order in which they were first seen.
    pub by_fstype: Vec<FsCounters>,
    /// Mounts that appeared after the start.
    pub mounted: u64,
    /// Mounts that disappeared.
    pub unmounted: u64,
    /// Mounts whose options changed.
    pub remounted: u64,
    /// Mounts that moved.
    pub moved: u64,
    /// Readings of the mount table.
    pub table_reads: u64,
}

/// The counts of one file system type.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct FsCounters {
    /// The type.
    pub fstype: OsString,
    /// Probes that were started.
    pub probes: u64,
    /// Probes that found their mount dead, in the order of [`Reason::ALL`].
    pub failures: [u64; Reason::ALL.len()],
    /// How long the answers took, errors among them.
    pub durations: Durations,
}

/// A histogram.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Durations {
    /// Answers in each bucket, not accumulated; the last is for those above all bounds.
    pub buckets: [u64; DURATION_BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Durations {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = DURATION_BOUNDS.iter().position(|&bound| seconds <= bound);
        self.buckets[bucket.unwrap_or(DURATION_BOUNDS.len())] += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

/// The counters and the way from a type's name to its place in them.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) counters: Counters,
    places: FxHashMap<OsString, usize>,
}

impl Count {
    /// Where a type is counted; to be remembered by its mounts.
    pub(super) fn place(&mut self, fstype: &OsString) -> usize {
        if let Some(&place) = self.places.get(fstype) {
            return place;
        }
        let by_fstype = &mut self.counters.by_fstype;
        if by_fstype.len() >= MAX_FSTYPES {
            return MAX_FSTYPES - 1;
        }
        let last = by_fstype.len() == MAX_FSTYPES - 1;
        let name = if last { "other".into() } else { fstype.clone() };
        by_fstype.push(FsCounters { fstype: name.clone(), ..FsCounters::default() });
        self.places.insert(name, by_fstype.len() - 1);
        by_fstype.len() - 1
    }

    pub(super) fn asked(&mut self, place: usize) {
        if let Some(counted) = self.counters.by_fstype.get_mut(place) {
            counted.probes += 1;
        }
    }

    pub(super) fn answered(&mut self, place: usize, outcome: &ProbeOutcome, took: Duration) {
        if let Some(counted) = self.counters.by_fstype.get_mut(place)
            && *outcome != ProbeOutcome::WrongMount
        {
            counted.durations.note(took);
        }
    }

    pub(super) fn failed(&mut self, place: usize, reason: Reason) {
        if let Some(counted) = self.counters.by_fstype.get_mut(place) {
            counted.failures[reason as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_counted_apart_up_to_a_limit() {
        let mut count = Count::default();
        let places: Vec<usize> = (0..300).map(|n| count.place(&format!("fuse.{n}").into())).collect();
        assert_eq!(places[..3], [0, 1, 2]);
        assert_eq!(count.place(&"fuse.1".into()), 1);
        assert!(places[MAX_FSTYPES - 1..].iter().all(|&place| place == MAX_FSTYPES - 1));
        assert_eq!(count.counters.by_fstype.len(), MAX_FSTYPES);
        assert_eq!(count.counters.by_fstype[MAX_FSTYPES - 1].fstype, "other");
    }

    #[test]
    fn an_answer_falls_into_the_bucket_that_bounds_it() {
        let mut durations = Durations::default();
        for ms in [0, 1, 2, 5_000, 60_000] {
            durations.note(Duration::from_millis(ms));
        }
        assert_eq!(durations.buckets, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        assert_eq!((durations.count(), durations.sum), (5, Duration::from_millis(65_003)));
    }

    #[test]
    fn every_reason_has_its_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }
}
