//! The status of all mounts as a list whose copies share what has not changed.

use super::MountStatus;
use platform::MountKey;
use std::fmt;
use std::sync::Arc;

/// Maximum number of mounts in a chunk. A change copies one chunk and the list of chunks: with 100,000 mounts both take
/// about as long.
const MAX_CHUNK: usize = 128;
/// A smaller chunk is joined with its neighbour, so that few mounts do not leave many chunks.
const MIN_CHUNK: usize = MAX_CHUNK / 4;

/// The mounts in the order of their keys. A copy shares the chunks.
#[derive(Clone, Default)]
pub struct MountStatuses {
    chunks: Vec<Chunk>,
    len: usize,
}

/// Never empty.
#[derive(Clone)]
struct Chunk {
    first: MountKey,
    mounts: Arc<[MountStatus]>,
}

impl MountStatuses {
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &MountStatus> {
        self.chunks.iter().flat_map(|chunk| chunk.mounts.iter())
    }

    /// A part of the list, for readers that pause: this one of all, which are numbered from 0.
    pub fn chunk(&self, number: usize) -> Option<&[MountStatus]> {
        self.chunks.get(number).map(|chunk| &*chunk.mounts)
    }

    pub fn get(&self, key: MountKey) -> Option<&MountStatus> {
        let mounts = &self.chunks.get(self.chunk_of(key))?.mounts;
        let index = mounts.binary_search_by_key(&key, |status| status.mount.key).ok()?;
        Some(&mounts[index])
    }

    /// The index of the chunk that has this key, or would have it.
    fn chunk_of(&self, key: MountKey) -> usize {
        self.chunks.partition_point(|chunk| chunk.first <= key).saturating_sub(1)
    }

    /// Renews the status of these mounts, in the order of their keys: `None` removes one.
    pub(super) fn renew(
        &mut self,
        mut keys: &[MountKey],
        mut status: impl FnMut(MountKey) -> Option<MountStatus>,
    ) {
        let mut merged = Vec::new();
        while let Some(&key) = keys.first() {
            let at = self.chunk_of(key);
            let next = self.chunks.get(at + 1).map(|next| next.first);
            let here = next.map_or(keys.len(), |next| keys.partition_point(|key| *key < next));
            let (renewed, later) = keys.split_at(here);
            let before = self.chunks.get(at).map_or(&[][..], |chunk| &chunk.mounts);
            merge(before, renewed, &mut status, &mut merged);
            self.replace(at, &mut merged);
            keys = later;
        }
    }

    /// Replaces a chunk by these mounts, in as many chunks as they need.
    fn replace(&mut self, at: usize, mounts: &mut Vec<MountStatus>) {
        let (mut from, mut to) = (at, self.chunks.len().min(at + 1));
        self.len =
            self.len + mounts.len() - self.chunks[from..to].iter().map(|it| it.mounts.len()).sum::<usize>();
        if mounts.len() < MIN_CHUNK {
            if let Some(next) = self.chunks.get(to) {
                mounts.extend(next.mounts.iter().cloned());
                to += 1;
            } else if let Some(previous) = from.checked_sub(1) {
                mounts.splice(..0, self.chunks[previous].mounts.iter().cloned());
                from = previous;
            }
        }
        self.chunks.splice(from..to, chunks(mounts));
    }
}

/// Writes the mounts of `before` to `merged`, with the renewed ones of these keys.
fn merge(
    before: &[MountStatus],
    renewed: &[MountKey],
    status: &mut impl FnMut(MountKey) -> Option<MountStatus>,
    merged: &mut Vec<MountStatus>,
) {
    let mut before = before.iter().peekable();
    for &key in renewed {
        while let Some(kept) = before.next_if(|kept| kept.mount.key < key) {
            merged.push(kept.clone());
        }
        before.next_if(|old| old.mount.key == key);
        merged.extend(status(key));
    }
    merged.extend(before.cloned());
}

/// Chunks of about the same size.
fn chunks(mounts: &mut Vec<MountStatus>) -> Vec<Chunk> {
    let count = mounts.len().div_ceil(MAX_CHUNK);
    let mut rest = mounts.drain(..);
    let next = |left| {
        let size = rest.len().div_ceil(left);
        let mounts: Arc<[MountStatus]> = rest.by_ref().take(size).collect();
        Chunk { first: mounts[0].mount.key, mounts }
    };
    (1..=count).rev().map(next).collect()
}

/// In the order of the iterator, which is that of the keys.
impl FromIterator<MountStatus> for MountStatuses {
    fn from_iter<I: IntoIterator<Item = MountStatus>>(mounts: I) -> MountStatuses {
        let mut mounts: Vec<MountStatus> = mounts.into_iter().collect();
        MountStatuses { len: mounts.len(), chunks: chunks(&mut mounts) }
    }
}

impl PartialEq for MountStatuses {
    fn eq(&self, other: &MountStatuses) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for MountStatuses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use crate::monitor::{Health, ProbeSettings, Time};
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn status(key: u64, since: u64) -> MountStatus {
        MountStatus {
            mount: Arc::new(mount(key, "/")),
            health: Health::Ok,
            since: Time::after_start(Duration::from_secs(since)),
            judged_at: None,
            is_hang_proven: false,
            last_response: None,
            waiting_since: None,
            settings: ProbeSettings::default(),
            probe_interval: Duration::ZERO,
            flapping: None,
            is_reported_slow: false,
        }
    }

    fn list(mounts: &BTreeMap<u64, u64>) -> Vec<MountStatus> {
        mounts.iter().map(|(key, since)| status(*key, *since)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// Each change is the number of a mount and what it becomes: odd numbers remove it.
        #[test]
        fn renewed_mounts_are_those_of_a_map(
            first in btree_map(0_u64..1_000, any::<u64>(), 0..1_000),
            changes in vec(btree_map(0_u64..1_000, 0_u64..1_000, 0..300), 0..10),
        ) {
            let mut expected = first;
            let mut mounts: MountStatuses = list(&expected).into_iter().collect();
            for change in changes {
                let (before, copy) = (list(&expected), mounts.clone());
                let keys: Vec<MountKey> = change.keys().copied().map(MountKey).collect();
                let renewed = |key: MountKey| change.get(&key.0).filter(|since| *since % 2 == 0);
                mounts.renew(&keys, |key| renewed(key).map(|since| status(key.0, *since)));
                expected.retain(|key, _| !change.contains_key(key));
                expected.extend(keys.iter().filter_map(|key| Some((key.0, *renewed(*key)?))));
                prop_assert!(mounts.iter().eq(&list(&expected)));
                prop_assert_eq!(mounts.len(), expected.len());
                for key in 0..1_000 {
                    let found = mounts.get(MountKey(key)).map(|status| status.since);
                    prop_assert_eq!(found, expected.get(&key).map(|since| status(key, *since).since));
                }
                prop_assert!(copy.iter().eq(&before), "a copy does not change");
                prop_assert!(mounts.chunks.iter().all(|chunk| chunk.mounts.len() <= MAX_CHUNK));
                let few = mounts.chunks.iter().filter(|chunk| chunk.mounts.len() < MIN_CHUNK).count();
                prop_assert!(few == 0 || mounts.chunks.len() == 1, "{} chunks are small", few);
            }
        }
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let mut mounts: MountStatuses = (0..10_000).map(|key| status(key, 0)).collect();
        let copy = mounts.clone();
        mounts.renew(&[MountKey(5_000)], |key| Some(status(key.0, 1)));
        let pairs = || mounts.chunks.iter().zip(&copy.chunks);
        assert_eq!(pairs().filter(|(new, old)| !Arc::ptr_eq(&new.mounts, &old.mounts)).count(), 1);
        assert_eq!(pairs().count(), copy.chunks.len());
    }
}
