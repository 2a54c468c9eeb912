//! Data-path probes: rules name a file to read, or a directory to write to, because storage may answer about files
//! while it no longer delivers them.
//!
//! A data-path probe is the last part of an ordinary probe, so it has the same deadline, proof and limits, and the
//! mount is as healthy as its worst part. It is made at its own interval, once for each superblock. After one that was
//! not good, each probe of its mount has one: only a good one proves that the data path works again.

use super::registry::MountEntry;
use super::{IdMap, Monitor, Time};
use platform::{DataKind, DataProbe, DeviceNumber, FsKind, Mount, MountKey};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a rule wants to be read or written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataPath {
    pub kind: DataKind,
    /// Below the mount point.
    pub path: PathBuf,
    pub interval: Duration,
    /// Access it as this user and group.
    pub identity: Option<(u32, u32)>,
}

/// The data path of a mount, if a rule names one.
pub type DataPathPolicy = Box<dyn Fn(&Mount) -> Option<DataPath> + Send>;

/// The data path of a mount, and what is known about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataPathStatus {
    pub settings: Arc<DataPath>,
    /// The last good probe, and whether it bypassed the page cache.
    pub last_good: Option<(Time, bool)>,
}

#[derive(Default)]
pub(super) struct DataPaths {
    policy: Option<DataPathPolicy>,
    mounts: IdMap<MountKey, Member>,
    superblocks: IdMap<DeviceNumber, Schedule>,
}

struct Member {
    superblock: DeviceNumber,
    status: DataPathStatus,
}

#[derive(Default)]
struct Schedule {
    members: usize,
    /// `None` before the first probe.
    next: Option<Time>,
    /// The mounts whose last data-path probe was not good, or has not ended.
    unproven: BTreeSet<MountKey>,
}

impl DataPaths {
    pub(super) fn new(policy: Option<DataPathPolicy>) -> DataPaths {
        DataPaths { policy, ..DataPaths::default() }
    }

    /// [`DataPaths::update`] must follow for each watched mount.
    pub(super) fn replace_policy(&mut self, policy: Option<DataPathPolicy>) {
        self.policy = policy;
    }

    /// A mount is watched from now on, or it or the rules have changed.
    fn update(&mut self, mount: &Mount) {
        if self.policy.is_none() && self.mounts.is_empty() {
            return;
        }
        let (key, superblock) = (mount.key, mount.device_number);
        let policy = self.policy.as_ref().filter(|_| mount.kind() != FsKind::Autofs);
        let wanted = policy.and_then(|policy| policy(mount));
        let is_same = |member: &Member| {
            member.superblock == superblock && Some(&*member.status.settings) == wanted.as_ref()
        };
        if self.mounts.get(&key).is_some_and(is_same) {
            return;
        }
        self.forget(key);
        if let Some(settings) = wanted {
            let status = DataPathStatus { settings: Arc::new(settings), last_good: None };
            self.mounts.insert(key, Member { superblock, status });
            self.superblocks.entry(superblock).or_default().members += 1;
        }
    }

    pub(super) fn forget(&mut self, key: MountKey) {
        let Some(Member { superblock, .. }) = self.mounts.remove(&key) else { return };
        let Some(schedule) = self.superblocks.get_mut(&superblock) else { return };
        schedule.members -= 1;
        schedule.unproven.remove(&key);
        if schedule.members == 0 {
            self.superblocks.remove(&superblock);
        }
    }

    pub(super) fn status(&self, key: MountKey) -> Option<&DataPathStatus> {
        self.mounts.get(&key).map(|member| &member.status)
    }

    /// Whether a probe of this superblock has to be one of this mount: another would prove nothing about the data path.
    /// `None` if any mount will do.
    pub(super) fn is_unproven(&self, superblock: DeviceNumber, key: MountKey) -> Option<bool> {
        let unproven = self.superblocks.get(&superblock).map(|schedule| &schedule.unproven)?;
        (!unproven.is_empty()).then(|| unproven.contains(&key))
    }

    /// What the probe of this mount that starts now has to read or write. `first_wait`: the wait after the first of
    /// something that recurs at this interval.
    pub(super) fn begin(
        &mut self,
        now: Time,
        entry: &MountEntry,
        first_wait: impl Fn(Duration) -> Duration,
    ) -> Option<Box<DataProbe>> {
        let Member { superblock, status } = self.mounts.get(&entry.key())?;
        let schedule = self.superblocks.get_mut(superblock)?;
        let DataPath { kind, path, interval, identity } = &*status.settings;
        // The probe that is nearest to the time.
        let is_due = schedule.next.is_none_or(|next| next <= now + entry.settings.probe_interval / 2);
        if !is_due && schedule.unproven.is_empty() {
            return None;
        }
        if is_due {
            let is_first = schedule.next.is_none();
            schedule.next = Some(now + if is_first { first_wait(*interval) } else { *interval });
        }
        schedule.unproven.insert(entry.key());
        let (path, identity, own_file) = (path.clone(), *identity, String::new());
        Some(Box::new(DataProbe { kind: *kind, path, identity, own_file }))
    }

    /// The data path of this mount works.
    pub(super) fn on_good(&mut self, now: Time, key: MountKey, past_cache: bool) {
        let Some(member) = self.mounts.get_mut(&key) else { return };
        member.status.last_good = Some((now, past_cache));
        if let Some(schedule) = self.superblocks.get_mut(&member.superblock) {
            schedule.unproven.remove(&key);
        }
    }
}

impl Monitor {
    /// Applies what rules say about a watched mount besides its settings: its data path, and its options.
    pub(super) fn apply_rules(&mut self, now: Time, key: MountKey) {
        if let Some(entry) = self.registry.get(key) {
            self.data_paths.update(&entry.mount);
        }
        self.check_options(now, key);
    }
}

#[cfg(test)]
#[path = "data_path_tests.rs"]
mod tests;
