//! Probes mounts for which tasks seem to wait. A sign is of a server or connection and never a verdict.

use super::registry::MountEntry;
use super::{Monitor, Time};
use platform::evidence::{Family, StalledStorage};
use platform::signs::Sign;
use platform::{DeviceNumber, FsKind, Mount, MountKey};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;

/// What has signs among the watched mounts.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SignSubjects {
    /// There are NFS mounts.
    pub servers: bool,
    /// The FUSE file systems, in order.
    pub fuse: Vec<DeviceNumber>,
}

impl SignSubjects {
    pub fn is_empty(&self) -> bool {
        !self.servers && self.fuse.is_empty()
    }
}

impl Monitor {
    /// Costs a look at each mount.
    pub fn sign_subjects(&self) -> SignSubjects {
        let mut subjects = SignSubjects::default();
        for entry in self.registry.entries().filter(|entry| !entry.is_hidden) {
            if entry.mount.kind() == FsKind::Fuse {
                subjects.fuse.push(entry.superblock());
            }
            subjects.servers |= Family::from_fstype(entry.mount.fstype.as_bytes()) == Family::Nfs;
        }
        subjects.fuse.sort_unstable();
        subjects.fuse.dedup();
        subjects
    }

    /// Probes each superblock of the signs through one of its mounts, unless that is being done, it is dead, or it was
    /// done a short while ago. Costs a look at each mount if there are signs of servers, whatever their number.
    pub(super) fn on_early_signs(&mut self, now: Time, signs: &[Sign]) {
        let mut superblocks = BTreeSet::new();
        let mut addresses: FxHashSet<&[u8]> = FxHashSet::default();
        for sign in signs {
            match sign {
                Sign::Fuse(device) => drop(superblocks.insert(*device)),
                Sign::Server(address) => drop(addresses.insert(address)),
            }
        }
        if !addresses.is_empty() {
            let entries = self.registry.entries().filter(|entry| is_of_server(&entry.mount, &addresses));
            superblocks.extend(entries.map(MountEntry::superblock));
        }
        self.probe_early(now, superblocks);
    }

    /// The kernel reports that something waits for such storage. It says which in no way that mounts do, so all that may
    /// be meant is probed like what has a sign.
    pub(super) fn on_storage_stall(&mut self, now: Time, storage: StalledStorage) {
        if self.hints.is_new_stall_of(now, storage) {
            let entries = self.registry.entries().filter(|entry| may_be_meant(&entry.mount, storage));
            let superblocks = entries.map(MountEntry::superblock).collect();
            self.probe_early(now, superblocks);
        }
    }

    fn probe_early(&mut self, now: Time, superblocks: BTreeSet<DeviceNumber>) {
        self.sign_budget.begin(now);
        for superblock in superblocks {
            let Some(key) = self.mount_to_probe_early(superblock) else { continue };
            let user = self.registry.user(key);
            if self.sign_budget.admit(now, superblock, user) {
                self.counters.totals.signs += 1;
                self.request_probe(now, key);
            }
        }
    }

    fn mount_to_probe_early(&self, superblock: DeviceNumber) -> Option<MountKey> {
        if self.scheduler.is_hung(superblock) || self.scheduler.is_probed(superblock) {
            return None;
        }
        let key =
            self.registry.members(superblock).find(|&key| self.registry.hung_ancestor(key).is_none())?;
        let entry = self.registry.get(key)?;
        (entry.health.failure().is_none() && !entry.schedule.is_queued()).then_some(key)
    }
}

fn may_be_meant(mount: &Mount, storage: StalledStorage) -> bool {
    match storage {
        StalledStorage::Ceph => &*mount.fstype == "ceph",
        StalledStorage::Lustre => &*mount.fstype == "lustre",
        StalledStorage::Any => mount.kind().has_server(),
    }
}

fn is_of_server(mount: &Mount, addresses: &FxHashSet<&[u8]>) -> bool {
    Family::from_fstype(mount.fstype.as_bytes()) == Family::Nfs
        && mount.super_option("addr").is_some_and(|address| addresses.contains(address.as_bytes()))
}
