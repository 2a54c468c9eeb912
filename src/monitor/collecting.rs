//! Evidence about dead and suspect mounts: requests, findings, and hints of the kernel about servers.

use super::evidence::{Occasion, server_name};
use super::registry::MountEntry;
use super::scheduler::{Due, DueProbe, ProbeSubject};
use super::{Effect, Monitor, ProbeId, Time};
use platform::evidence::{Evidence, Family};
use platform::{DeviceNumber, Mount, MountKey};
use rustc_hash::FxHashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Monitor {
    pub(super) fn on_probe_suspect(&mut self, now: Time, due: DueProbe) {
        let ProbeSubject { key, superblock, .. } = due.subject;
        let is_blocked =
            self.registry.hung_ancestor(key).is_some() || self.pending_ancestor_deadline(now, key).is_some();
        if !is_blocked && !self.scheduler.is_hung(superblock) {
            self.collect(now, key, Occasion::Suspect(due.remaining), Some(due.id));
        }
    }

    pub(super) fn collect_for_reminder(&mut self, now: Time, key: MountKey) {
        if self.registry.get(key).is_some_and(MountEntry::is_dead_itself) {
            self.collect(now, key, Occasion::Reminder, None);
        }
    }

    pub(super) fn collect_on_request(&mut self, now: Time, mountpoints: &[PathBuf]) {
        let named: FxHashSet<&Path> = mountpoints.iter().map(PathBuf::as_path).collect();
        let is_wanted =
            |entry: &&MountEntry| entry.is_dead_itself() && named.contains(entry.mount.mountpoint.as_path());
        let keys: Vec<MountKey> = self.registry.entries().filter(is_wanted).map(MountEntry::key).collect();
        for key in keys {
            self.collect(now, key, Occasion::Request, None);
        }
    }

    pub(super) fn collect(&mut self, now: Time, key: MountKey, occasion: Occasion, probe: Option<ProbeId>) {
        let Some(entry) = self.registry.get(key) else { return };
        let (mount, superblock) = (Arc::clone(&entry.mount), entry.superblock());
        let is_hung = probe.is_some() || entry.health.is_hung();
        let Some(server_timeout) = self.evidence.begin(now, superblock, occasion) else { return };
        self.update_complete(superblock);
        let members = self.registry.members(superblock).filter_map(|key| self.registry.get(key));
        let mount_ids = members.map(|entry| entry.mount.id).collect();
        let only_hung = is_hung && self.is_only_hung(&mount);
        self.effects.push_back(Effect::CollectEvidence {
            mount,
            mount_ids,
            probe,
            only_hung,
            server_timeout,
        });
    }

    /// Is no other file system of its family hung? If so, tasks that wait in the family's code wait for this one, because
    /// no task waits for a file system that returns errors.
    fn is_only_hung(&self, mount: &Mount) -> bool {
        let family = Family::from_fstype(mount.fstype.as_bytes());
        let is_same_family = |entry: &MountEntry| {
            entry.superblock() != mount.device_number
                && Family::from_fstype(entry.mount.fstype.as_bytes()) == family
        };
        let mut suspects = self.scheduler.probes.suspects().filter_map(|key| self.registry.get(key));
        let mut hung = self.registry.entries().filter(|entry| entry.health.is_hung());
        !suspects.any(is_same_family) && !hung.any(is_same_family)
    }

    pub(super) fn on_evidence_found(&mut self, now: Time, superblock: DeviceNumber, evidence: Evidence) {
        let is_dead = |key: MountKey| self.registry.get(key).is_some_and(MountEntry::is_dead_itself);
        if self.scheduler.is_probed(superblock) || self.registry.members(superblock).any(is_dead) {
            let record = self.evidence.add(now, superblock, evidence);
            self.registry.set_evidence(superblock, &record);
        }
    }

    pub(super) fn on_evidence_ended(&mut self, superblock: DeviceNumber) {
        self.evidence.end(superblock);
        self.update_complete(superblock);
    }

    fn update_complete(&mut self, superblock: DeviceNumber) {
        if let Some(record) = self.evidence.update_complete(superblock) {
            self.registry.set_evidence(superblock, &record);
        }
    }

    /// The kernel reports that a server does not respond, or responds again: its mounts are probed at once. A hung
    /// superblock is probed only when its server responds again.
    pub(super) fn on_server_hint(&mut self, now: Time, server: &[u8], responds: bool) {
        if !self.hints.is_new(now, server, responds) {
            return;
        }
        let is_of_server = |entry: &&MountEntry| server_name(&entry.mount) == Some(server);
        let mounts: Vec<(MountKey, DeviceNumber)> = self
            .registry
            .ordered()
            .filter(is_of_server)
            .map(|entry| (entry.key(), entry.superblock()))
            .collect();
        for (key, superblock) in mounts {
            if !self.scheduler.is_hung(superblock) {
                self.request_probe(now, key);
            } else if responds && self.scheduler.can_retry(superblock) {
                self.scheduler.timers.set(Due::Superblock(superblock), now);
            }
        }
    }

    /// The kernel reports that some file server does not respond (macOS and FreeBSD do not say which): all network file
    /// systems are probed.
    pub(super) fn on_server_stall(&mut self, now: Time) {
        if self.hints.is_new_stall(now) {
            let network = self.registry.ordered().filter(|entry| entry.mount.kind().is_network());
            let keys: Vec<MountKey> = network.map(MountEntry::key).collect();
            for key in keys {
                self.request_probe(now, key);
            }
        }
    }
}
