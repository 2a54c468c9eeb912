//! Which mounts an unmount of the watched one reaches.

use crate::DeviceNumber;
use crate::linux::evidence::mount_tables::{Placed, Table};
use crate::linux::mountinfo::PeerGroups;
use std::collections::HashSet;

/// Maximum number of pairs of a group and one that receives from it.
const MAX_PAIRS: usize = 100_000;

/// Where a mount is on its parent.
pub(super) struct Place {
    /// `None` for the root of a namespace.
    parent: Option<Parent>,
}

enum Parent {
    /// The table does not show it, or not where the mount is on it.
    Unknown,
    Known {
        groups: PeerGroups,
        device: DeviceNumber,
        /// The directory within the file system of the parent.
        directory: Vec<u8>,
    },
}

impl Place {
    pub(super) fn of(mount: &Placed, table: &Table) -> Place {
        let parent = table.get(mount.parent).filter(|parent| parent.id != mount.id);
        let parent = match parent {
            None if mount.mountpoint == b"/" => None,
            None => Some(Parent::Unknown),
            Some(parent) => {
                Some(directory_on(parent, &mount.mountpoint).map_or(Parent::Unknown, |directory| {
                    Parent::Known { groups: parent.groups, device: parent.device, directory }
                }))
            }
        };
        Place { parent }
    }
}

fn directory_on(parent: &Placed, mountpoint: &[u8]) -> Option<Vec<u8>> {
    let without_slash = |path: &[u8]| path.strip_suffix(b"/").unwrap_or(path).to_vec();
    let rest = mountpoint.strip_prefix(&*without_slash(&parent.mountpoint))?;
    let is_below = rest.is_empty() || rest.starts_with(b"/");
    is_below.then(|| without_slash(&[&*without_slash(&parent.root), rest].concat()))
}

/// What is mounted on a mount.
pub(super) struct Below(HashSet<DeviceNumber>);

impl Below {
    pub(super) fn of(id: u32, table: &Table) -> Below {
        let below = table.mounts.iter().filter(|other| other.parent == id && other.id != id);
        Below(below.map(|other| other.device).collect())
    }
}

#[derive(Default)]
pub(super) struct Propagation {
    /// A group, and one that receives from it.
    pairs: HashSet<(u32, u32)>,
    watched: Option<(Place, Below)>,
    /// Of the watched mount itself.
    pub(super) peer_group: Option<u32>,
}

impl Propagation {
    /// Returns whether there was room for all of it.
    pub(super) fn add(&mut self, table: &Table) -> bool {
        for PeerGroups { own, master, above } in table.mounts.iter().map(|mount| mount.groups) {
            let pair = |from: Option<u32>, to: Option<u32>| Some((from?, to?));
            self.pairs.extend(pair(master, own));
            self.pairs.extend(pair(above, master));
            if self.pairs.len() > MAX_PAIRS {
                return false;
            }
        }
        true
    }

    pub(super) fn set_watched(&mut self, table: &Table, id: u32) {
        let mount = table.get(id);
        self.peer_group = mount.and_then(|mount| mount.groups.own);
        self.watched = mount.map(|mount| (Place::of(mount, table), Below::of(id, table)));
    }

    pub(super) const fn has_watched(&self) -> bool {
        self.watched.is_some()
    }

    /// The groups that an unmount goes to.
    pub(super) fn reached(&self) -> HashSet<u32> {
        let parent = self.watched.as_ref().and_then(|(place, _)| place.parent.as_ref());
        let first = match parent {
            Some(Parent::Known { groups, .. }) => groups.own,
            _ => None,
        };
        let mut reached: HashSet<u32> = first.into_iter().collect();
        loop {
            let more: Vec<u32> = self
                .pairs
                .iter()
                .filter(|(from, to)| reached.contains(from) && !reached.contains(to))
                .map(|&(_, to)| to)
                .collect();
            if more.is_empty() {
                return reached;
            }
            reached.extend(more);
        }
    }

    pub(super) fn reaches(&self, reached: &HashSet<u32>, place: &Place) -> bool {
        let Some((watched, _)) = &self.watched else { return true };
        match (&watched.parent, &place.parent) {
            // The root of a namespace is on nothing that others see.
            (None, _) | (_, None) => false,
            (Some(Parent::Unknown), _) => true,
            (Some(_), Some(Parent::Unknown)) => !reached.is_empty(),
            (
                Some(Parent::Known { device, directory, .. }),
                Some(Parent::Known { groups, device: other, directory: there }),
            ) => {
                let PeerGroups { own, master, above } = *groups;
                let receives =
                    [own, master, above].into_iter().flatten().any(|group| reached.contains(&group));
                receives && device == other && directory == there
            }
        }
    }

    /// Whether something is mounted there that is not on the watched mount too.
    pub(super) fn has_more(&self, below: &Below) -> bool {
        let here = self.watched.as_ref().map(|(_, below)| &below.0);
        below.0.iter().any(|device| here.is_none_or(|here| !here.contains(device)))
    }
}
