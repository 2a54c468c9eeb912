//! Probes mounts for which tasks seem to wait. A sign is of a server or connection and never a verdict.

use super::registry::MountEntry;
use super::{Monitor, Time};
use platform::evidence::Family;
use platform::signs::Sign;
use platform::{DeviceNumber, FsKind, MountKey};
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

    /// Probes each superblock of the sign through one of its mounts, unless that is being done, it is dead, or it was
    /// done a short while ago.
    pub(super) fn on_early_sign(&mut self, now: Time, sign: &Sign) {
        let superblocks = match sign {
            Sign::Fuse(device) => BTreeSet::from([*device]),
            Sign::Server(address) => self.superblocks_of_server(address),
        };
        for superblock in superblocks {
            let Some(key) = self.mount_to_probe_early(superblock) else { continue };
            let user = self.registry.user(key);
            if self.sign_budget.admit(now, superblock, user) {
                self.counters.totals.signs += 1;
                self.request_probe(now, key);
            }
        }
    }

    fn superblocks_of_server(&self, address: &[u8]) -> BTreeSet<DeviceNumber> {
        let is_of_server = |mount: &platform::Mount| {
            Family::from_fstype(mount.fstype.as_bytes()) == Family::Nfs
                && mount.super_option("addr").is_some_and(|addr| addr.as_bytes() == address)
        };
        let entries = self.registry.entries().filter(|entry| is_of_server(&entry.mount));
        entries.map(MountEntry::superblock).collect()
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
