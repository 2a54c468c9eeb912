//! The status of all mounts as a list whose copies share what has not changed.

use super::MountStatus;
use platform::MountKey;
use std::fmt;
use std::sync::Arc;

/// Maximum number of items of a node. A change copies one node of each level: mounts, chunks, groups.
const MAX_ITEMS: usize = 32;
/// A smaller node is joined with its neighbour, so that few mounts do not leave many nodes.
const MIN_ITEMS: usize = MAX_ITEMS / 4;

/// The mounts in the order of their keys. A copy shares all groups.
#[derive(Clone, Default)]
pub struct MountStatuses {
    groups: Vec<Group>,
    len: usize,
}

type Group = Node<Chunk>;
type Chunk = Node<MountStatus>;

/// Never empty.
struct Node<T> {
    first: MountKey,
    items: Arc<[T]>,
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Node<T> {
        Node { first: self.first, items: Arc::clone(&self.items) }
    }
}

/// Its first key.
trait Keyed: Clone {
    fn key(&self) -> MountKey;
}

impl Keyed for MountStatus {
    fn key(&self) -> MountKey {
        self.mount.key
    }
}

impl<T> Keyed for Node<T> {
    fn key(&self) -> MountKey {
        self.first
    }
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
        self.chunks().flat_map(|chunk| chunk.items.iter())
    }

    fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.groups.iter().flat_map(|group| group.items.iter())
    }

    /// A part of the list, for readers that pause: this one of all, which are numbered from 0.
    pub fn chunk(&self, mut number: usize) -> Option<&[MountStatus]> {
        for group in &self.groups {
            match group.items.get(number) {
                Some(chunk) => return Some(&chunk.items),
                None => number -= group.items.len(),
            }
        }
        None
    }

    pub fn get(&self, key: MountKey) -> Option<&MountStatus> {
        let group = self.groups.get(index_of(&self.groups, key))?;
        let mounts = &group.items.get(index_of(&group.items, key))?.items;
        let index = mounts.binary_search_by_key(&key, Keyed::key).ok()?;
        Some(&mounts[index])
    }

    /// Renews the status of these mounts, in the order of their keys: `None` removes one.
    pub(super) fn renew(
        &mut self,
        keys: &[MountKey],
        mut status: impl FnMut(MountKey) -> Option<MountStatus>,
    ) {
        let len = &mut self.len;
        let mut renew_chunk = |before: &[MountStatus], keys: &[MountKey], after: &mut Vec<MountStatus>| {
            merge(before, keys, &mut status, after);
            *len = *len + after.len() - before.len();
        };
        update(&mut self.groups, keys, &mut |before, keys, after| {
            after.extend_from_slice(before);
            update(after, keys, &mut renew_chunk);
        });
    }
}

/// The index of the node that has this key, or would have it.
fn index_of<T>(nodes: &[Node<T>], key: MountKey) -> usize {
    nodes.partition_point(|node| node.first <= key).saturating_sub(1)
}

/// Renews the nodes with these keys. `renew` gets the items of one and its keys, and returns what replaces the items.
fn update<T: Keyed>(
    nodes: &mut Vec<Node<T>>,
    mut keys: &[MountKey],
    renew: &mut impl FnMut(&[T], &[MountKey], &mut Vec<T>),
) {
    let mut items = Vec::new();
    while let Some(&key) = keys.first() {
        let index = index_of(nodes, key);
        let next = nodes.get(index + 1).map(|next| next.first);
        let here = next.map_or(keys.len(), |next| keys.partition_point(|key| *key < next));
        let before = nodes.get(index).map_or(&[][..], |node| &node.items);
        renew(before, &keys[..here], &mut items);
        replace(nodes, index, &mut items);
        keys = &keys[here..];
    }
}

/// Replaces the items of a node by these, in as many nodes as they need.
fn replace<T: Keyed>(nodes: &mut Vec<Node<T>>, index: usize, items: &mut Vec<T>) {
    let (mut from, mut to) = (index, nodes.len().min(index + 1));
    if items.len() < MIN_ITEMS {
        if let Some(next) = nodes.get(to) {
            items.extend_from_slice(&next.items);
            to += 1;
        } else if let Some(previous) = from.checked_sub(1) {
            items.splice(..0, nodes[previous].items.iter().cloned());
            from = previous;
        }
    }
    nodes.splice(from..to, nodes_of(items));
}

/// Nodes of about the same size.
fn nodes_of<T: Keyed>(items: &mut Vec<T>) -> Vec<Node<T>> {
    let count = items.len().div_ceil(MAX_ITEMS);
    let mut rest = items.drain(..);
    let next = |left| {
        let size = rest.len().div_ceil(left);
        let items: Arc<[T]> = rest.by_ref().take(size).collect();
        Node { first: items[0].key(), items }
    };
    (1..=count).rev().map(next).collect()
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

/// In the order of the iterator, which is that of the keys.
impl FromIterator<MountStatus> for MountStatuses {
    fn from_iter<I: IntoIterator<Item = MountStatus>>(mounts: I) -> MountStatuses {
        let mut mounts: Vec<MountStatus> = mounts.into_iter().collect();
        let len = mounts.len();
        MountStatuses { groups: nodes_of(&mut nodes_of(&mut mounts)), len }
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
    use crate::monitor::registry::MountEntry;
    use crate::monitor::testing::mount;
    use crate::monitor::{Health, Time};
    use platform::Mount;
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
            settings: Arc::default(),
            flapping: None,
            is_reported_slow: false,
            has_unexpected_options: None,
            report: None,
            data_path: None,
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
                let (group_sizes, chunk_sizes): (Vec<usize>, Vec<usize>) = (
                    mounts.groups.iter().map(|group| group.items.len()).collect(),
                    mounts.chunks().map(|chunk| chunk.items.len()).collect(),
                );
                for sizes in [group_sizes, chunk_sizes] {
                    prop_assert!(sizes.iter().all(|size| (1..=MAX_ITEMS).contains(size)), "{sizes:?}");
                }
                let in_chunks = (0..).map_while(|number| mounts.chunk(number)).flatten();
                prop_assert!(in_chunks.eq(mounts.iter()));
            }
        }
    }

    /// With a hundred thousand mounts, each of these bytes is 100 KB, those of a status twice: in the last status, and in the
    /// one that replaces it.
    #[test]
    fn what_each_mount_has_is_small() {
        assert!(size_of::<MountStatus>() <= 176, "{}", size_of::<MountStatus>());
        assert!(size_of::<MountEntry>() <= 296, "{}", size_of::<MountEntry>());
        assert!(size_of::<Mount>() <= 96, "{}", size_of::<Mount>());
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let mut mounts: MountStatuses = (0..10_000).map(|key| status(key, 0)).collect();
        let copy = mounts.clone();
        mounts.renew(&[MountKey(5_000)], |key| Some(status(key.0, 1)));
        let pairs = || mounts.chunks().zip(copy.chunks());
        assert_eq!(pairs().filter(|(new, old)| !Arc::ptr_eq(&new.items, &old.items)).count(), 1);
        let groups = mounts.groups.iter().zip(&copy.groups);
        assert_eq!(groups.filter(|(new, old)| !Arc::ptr_eq(&new.items, &old.items)).count(), 1);
        assert_eq!(pairs().count(), copy.chunks().count());
    }

    #[test]
    fn few_mounts_leave_few_nodes() {
        let mut mounts: MountStatuses = (0..10_000).map(|key| status(key, 0)).collect();
        for n in (0..10_000).filter(|n| n % 500 != 0) {
            mounts.renew(&[MountKey(n * 7 % 10_000)], |_| None);
        }
        assert_eq!(mounts.len(), 20);
        assert!(mounts.chunks().count() <= 20 / MIN_ITEMS + 1, "{} chunks", mounts.chunks().count());
        assert!(mounts.groups.len() <= 2, "{} groups", mounts.groups.len());
    }
}
