//! When evidence about a mount is collected, and what becomes of it. A probe that has waited for half of its time is
//! suspicious: what is collected then is here when the verdict falls, so the verdict's line can say why without being
//! any later. What comes later is shown, and told by the next reminder, before which it is collected afresh.

use super::slot::{Lead, Phase, Superblock};
use super::{Effect, Health, Monitor, ProbeId, Time, Timer};
use platform::evidence::{BlockedTask, Evidence, Family, Observation};
use platform::{DeviceNumber, Mount, MountKey};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

/// File systems that evidence is collected about at a time, which share what is dear. A burst of more is one dead
/// server, and these say so.
const MAX_COLLECTING: usize = 512;
/// Storage that is always late is not looked into at each probe.
const SUSPECT_AGAIN: Duration = Duration::from_secs(60);
/// Nobody's wish makes us look more often than this.
const WISH_AGAIN: Duration = Duration::from_secs(5);
/// So long before a reminder its evidence is collected: servers are waited for no longer than half of it.
pub(super) const BEFORE_REMINDER: Duration = Duration::from_secs(4);
/// How long servers may be waited for where no verdict is near.
const USUAL_PATIENCE: Duration = Duration::from_secs(2);
/// The least that makes sense: a round trip around the world.
const LEAST_PATIENCE: Duration = Duration::from_millis(250);
/// What the kernel says of one server is heeded at most this often: the question that follows takes its time.
const HEED_AGAIN: Duration = Duration::from_secs(2);
/// Servers whose last word is remembered.
const MAX_HEEDED: usize = 64;

/// Evidence, and when the last of it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvidenceRecord {
    /// When.
    pub at: Time,
    /// When its blocked tasks were looked for.
    pub tasks_at: Time,
    /// Is nothing more being looked for?
    pub complete: bool,
    /// What.
    pub evidence: Evidence,
}

/// The name of a network mount's server, as the mount has it (`server` of `server:/export` and of `//server/share`).
#[must_use]
pub fn server_name(mount: &Mount) -> Option<&[u8]> {
    let device = mount.device.as_bytes();
    let name = match Family::from_fstype(mount.fstype.as_bytes()) {
        Family::Nfs => {
            let end = device.windows(2).position(|pair| pair == b":/")?;
            let name = &device[..end];
            name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name)
        }
        Family::Smb => device.strip_prefix(b"//")?.split(|&byte| byte == b'/').next()?,
        Family::Fuse | Family::Other => return None,
    };
    (!name.is_empty()).then_some(name)
}

impl Superblock {
    /// What was found lately enough to be about what happens now.
    pub(super) fn fresh_evidence(&self, now: Time) -> Option<Arc<EvidenceRecord>> {
        self.evidence.clone().filter(|findings| now.since(findings.at) < SUSPECT_AGAIN)
    }
}

impl Monitor {
    /// Half of the time of a probe is over.
    pub(super) fn suspect(&mut self, now: Time, id: ProbeId) {
        let Some(probe) = self.probes.get(&id) else { return };
        let (key, superblock) = (probe.key, probe.superblock);
        let left = probe.deadline.since(now);
        let Some(shared) = self.superblocks.get(&superblock) else { return };
        let lately = shared.collected_at.is_some_and(|at| now.since(at) < SUSPECT_AGAIN);
        // What lies behind a mount that hangs is not to blame.
        let behind = self.hung_on_the_way(key).is_some() || self.awaited_on_the_way(now, key).is_some();
        if shared.hung.is_some() || lately || behind {
            return;
        }
        self.collect(now, key, Some(id), left);
    }

    /// A mount has died, and nothing was collected before.
    pub(super) fn collect_at_death(&mut self, now: Time, key: MountKey) {
        let Some(slot) = self.slots.get(&key) else { return };
        let fresh = |shared: &Superblock| shared.fresh_evidence(now).is_some() || shared.collecting;
        if !self.superblocks.get(&slot.mount.device_number).is_some_and(fresh) {
            self.collect(now, key, None, USUAL_PATIENCE.saturating_mul(2));
        }
    }

    /// A reminder is near.
    pub(super) fn collect_for_reminder(&mut self, now: Time, superblock: DeviceNumber) {
        let Some(shared) = self.superblocks.get(&superblock) else { return };
        let dead = |key: &&MountKey| self.slots.get(key).is_some_and(|slot| is_to_blame(&slot.health));
        if let Some(&key) = shared.members.iter().find(dead) {
            self.collect(now, key, None, USUAL_PATIENCE.saturating_mul(2));
        }
    }

    /// Somebody wants to know: the dead among these mount points are looked into.
    pub(super) fn collect_on_wish(&mut self, now: Time, mountpoints: &[std::path::PathBuf]) {
        let wanted = |key: &&MountKey| {
            self.slots
                .get(key)
                .is_some_and(|slot| is_to_blame(&slot.health) && mountpoints.contains(&slot.mount.mountpoint))
        };
        let keys: Vec<MountKey> = self.slots.keys().filter(wanted).copied().collect();
        for key in keys {
            let Some(slot) = self.slots.get(&key) else { continue };
            let lately =
                |shared: &Superblock| shared.collected_at.is_some_and(|at| now.since(at) < WISH_AGAIN);
            if !self.superblocks.get(&slot.mount.device_number).is_some_and(lately) {
                self.collect(now, key, None, USUAL_PATIENCE.saturating_mul(2));
            }
        }
    }

    fn collect(&mut self, now: Time, key: MountKey, probe: Option<ProbeId>, left: Duration) {
        let Some(mount) = self.slots.get(&key).map(|slot| Arc::clone(&slot.mount)) else { return };
        if self.collecting >= MAX_COLLECTING {
            return;
        }
        let hangs = probe.is_some() || self.slots.get(&key).is_some_and(|slot| slot.health.is_hung());
        let alone = hangs && self.is_alone(&mount);
        let Some(shared) = self.superblocks.get_mut(&mount.device_number) else { return };
        if std::mem::replace(&mut shared.collecting, true) {
            return;
        }
        shared.collected_at = Some(now);
        self.collecting += 1;
        self.set_complete(mount.device_number, false);
        let Some(shared) = self.superblocks.get(&mount.device_number) else { return };
        let members = shared.members.iter().filter_map(|key| self.slots.get(key));
        let mount_ids = members.map(|slot| slot.mount.id).collect();
        // What a server says is to be here a little before the verdict.
        let patience = (left - left / 4).clamp(LEAST_PATIENCE, USUAL_PATIENCE.max(left / 2));
        self.effects.push_back(Effect::CollectEvidence { mount, mount_ids, probe, alone, patience });
    }

    /// Does no other file system of its kind hang? Tasks that wait for the kind then wait for this one: nobody waits for
    /// one that answers with an error.
    fn is_alone(&self, mount: &Mount) -> bool {
        let family = Family::from_fstype(mount.fstype.as_bytes());
        let same = |other: &Mount| {
            other.device_number != mount.device_number
                && Family::from_fstype(other.fstype.as_bytes()) == family
        };
        let waits = |phase| matches!(phase, Phase::Old | Phase::Confirming | Phase::Condemned | Phase::Lost);
        let suspicious = self.probes.values().filter(|probe| waits(probe.phase));
        let mut suspicious = suspicious.filter_map(|probe| self.slots.get(&probe.key));
        let mut hung = self.slots.values().filter(|slot| slot.health.is_hung());
        !suspicious.any(|slot| same(&slot.mount)) && !hung.any(|slot| same(&slot.mount))
    }

    /// A part of the evidence has come.
    pub(super) fn evidence_found(&mut self, now: Time, superblock: DeviceNumber, evidence: Evidence) {
        let Some(shared) = self.superblocks.get_mut(&superblock) else { return };
        let awaited = matches!(shared.lead, Some(Lead::Asking(_)));
        let dead = |key| self.slots.get(key).is_some_and(|slot| is_to_blame(&slot.health));
        if !awaited && !shared.members.iter().any(dead) {
            return; // it has answered meanwhile
        }
        let mut findings = EvidenceRecord { at: now, tasks_at: now, complete: !shared.collecting, evidence };
        if let Some(before) = &shared.evidence {
            if findings.evidence.tasks.is_none() {
                findings.tasks_at = before.tasks_at;
            }
            let mut all = before.evidence.clone();
            note_times(before, &mut findings);
            all.merge(findings.evidence);
            findings.evidence = all;
        }
        self.publish(superblock, findings);
    }

    fn publish(&mut self, superblock: DeviceNumber, findings: EvidenceRecord) {
        let Some(shared) = self.superblocks.get_mut(&superblock) else { return };
        let findings = Arc::new(findings);
        shared.evidence = Some(Arc::clone(&findings));
        for key in &shared.members {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            if let Health::Dead(failure) = &mut slot.health
                && failure.blocked_by.is_none()
            {
                failure.evidence = Some(Arc::clone(&findings));
                self.health_revision += 1;
            }
        }
    }

    /// No more will come.
    pub(super) fn evidence_ended(&mut self, superblock: DeviceNumber) {
        let Some(shared) = self.superblocks.get_mut(&superblock) else { return };
        if std::mem::take(&mut shared.collecting) {
            self.collecting -= 1;
        }
        self.set_complete(superblock, true);
    }

    fn set_complete(&mut self, superblock: DeviceNumber, complete: bool) {
        let known = self.superblocks.get(&superblock).and_then(|shared| shared.evidence.as_ref());
        let changed = known.filter(|known| known.complete != complete);
        if let Some(findings) =
            changed.map(|known| EvidenceRecord { complete, ..EvidenceRecord::clone(known) })
        {
            self.publish(superblock, findings);
        }
    }

    /// Is evidence being collected?
    #[must_use]
    pub fn is_collecting(&self) -> bool {
        self.collecting > 0
    }

    /// The kernel's client says that a server does not respond, or does again: its mounts are asked at once.
    pub(super) fn server_sign(&mut self, now: Time, server: &[u8], responds: bool) {
        self.heeded.retain(|(_, _, at)| now.since(*at) < HEED_AGAIN);
        let heeded = self.heeded.iter().any(|(name, said, _)| name == server && *said == responds);
        if heeded || self.heeded.len() >= MAX_HEEDED {
            return;
        }
        self.heeded.push((server.to_vec(), responds, now));
        let of_server =
            |key: &MountKey| self.slots.get(key).is_some_and(|slot| server_name(&slot.mount) == Some(server));
        let keys: Vec<MountKey> = self.table.iter().map(|mount| mount.key).filter(of_server).collect();
        for key in keys {
            let Some(slot) = self.slots.get(&key) else { continue };
            let superblock = slot.mount.device_number;
            let shared = self.superblocks.get(&superblock);
            match shared.filter(|shared| shared.hung.is_some()) {
                // Known to hang: only good news is a reason not to wait for its turn.
                Some(shared) if responds && shared.lead.is_none() => {
                    self.timers.set(Timer::Retry(superblock), now);
                }
                Some(_) => {}
                None => self.ask(now, key),
            }
        }
    }
}

/// What lies behind a hung mount is not to blame.
fn is_to_blame(health: &Health) -> bool {
    health.failure().is_some_and(|failure| failure.blocked_by.is_none())
}

/// Who was blocked before and still is has been so for longer.
fn note_times(before: &EvidenceRecord, now: &mut EvidenceRecord) {
    let tasks = |findings: &Evidence| findings.tasks.as_ref().and_then(Observation::found).cloned();
    let Some(known) = tasks(&before.evidence) else { return };
    let Some(Observation::Found(tasks)) = &mut now.evidence.tasks else { return };
    let passed = now.tasks_at.since(before.tasks_at);
    for task in &mut tasks.named {
        let same = |other: &&BlockedTask| (other.pid, other.started) == (task.pid, task.started);
        if let Some(known) = known.named.iter().find(same) {
            task.seen_for = known.seen_for + passed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use platform::evidence::BlockedTasks;

    #[test]
    fn names_of_servers() {
        for (fstype, device, name) in [
            ("nfs4", "server:/export", Some("server")),
            ("nfs", "10.0.0.5:/a:/b", Some("10.0.0.5")),
            ("nfs4", "[fd00::5]:/x", Some("fd00::5")),
            ("nfs4", "fd00::5:/x", Some("fd00::5")),
            ("cifs", "//nas/share/dir", Some("nas")),
            ("nfs4", ":/x", None),
            ("nfs4", "server", None),
            ("cifs", "nas", None),
            ("fuse.sshfs", "server:/x", None),
        ] {
            let mut mount = mount(1, "/m");
            (mount.fstype, mount.device) = (fstype.into(), device.into());
            assert_eq!(server_name(&mount), name.map(str::as_bytes), "{fstype} {device}");
        }
    }

    #[test]
    fn whoever_stays_blocked_has_been_so_for_longer() {
        let at = |seconds| Time::after_start(Duration::from_secs(seconds));
        let task = |pid, started, seen_for| BlockedTask {
            pid,
            name: b"x".to_vec(),
            started,
            seen_for: Duration::from_secs(seen_for),
        };
        let findings = |seconds, named| {
            let tasks = Some(Observation::Found(BlockedTasks { named, ..BlockedTasks::default() }));
            EvidenceRecord {
                at: at(seconds),
                tasks_at: at(seconds),
                complete: true,
                evidence: Evidence { tasks, ..Evidence::default() },
            }
        };
        let before = findings(10, vec![task(1, 7, 5), task(2, 7, 0)]);
        let mut now = findings(15, vec![task(1, 7, 0), task(2, 8, 0), task(3, 9, 0)]);
        note_times(&before, &mut now);
        assert_eq!(now, findings(15, vec![task(1, 7, 10), task(2, 8, 0), task(3, 9, 0)]));
    }
}
