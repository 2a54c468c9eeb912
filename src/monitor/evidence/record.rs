//! The evidence about one superblock.

use crate::monitor::Time;
use platform::Mount;
use platform::evidence::{BlockedTask, BlockedTasks, Evidence, Family, Observation};
use std::os::unix::ffi::OsStrExt as _;

/// Evidence, and when it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvidenceRecord {
    /// When the last part was found.
    pub at: Time,
    /// When blocked tasks were last searched for.
    pub tasks_at: Time,
    /// Nothing more is being collected.
    pub complete: bool,
    pub evidence: Evidence,
}

impl EvidenceRecord {
    pub(super) fn new(now: Time, evidence: Evidence, complete: bool) -> EvidenceRecord {
        EvidenceRecord { at: now, tasks_at: now, complete, evidence }
    }

    /// This record with the evidence found `now`.
    pub(super) fn merge(&self, now: Time, mut found: Evidence, complete: bool) -> EvidenceRecord {
        let tasks_at = if found.tasks.is_some() { now } else { self.tasks_at };
        if let (Some(Observation::Found(before)), Some(Observation::Found(tasks))) =
            (&self.evidence.tasks, &mut found.tasks)
        {
            self.carry_over_durations(now, before, tasks);
        }
        let mut evidence = self.evidence.clone();
        evidence.merge(found);
        EvidenceRecord { at: now, tasks_at, complete, evidence }
    }

    /// Extends the blocked time of tasks that were blocked before and still are.
    fn carry_over_durations(&self, now: Time, before: &BlockedTasks, tasks: &mut BlockedTasks) {
        let passed = now.since(self.tasks_at);
        for task in &mut tasks.named {
            let is_same = |other: &&BlockedTask| (other.pid, other.started) == (task.pid, task.started);
            if let Some(known) = before.named.iter().find(is_same) {
                task.seen_for = known.seen_for.saturating_add(passed);
            }
        }
    }
}

/// Where the path of `HOST:/PATH` begins, at the colon.
pub fn host_end(device: &[u8]) -> Option<usize> {
    let is_end = |&at: &usize| device[at] == b':' && device.get(at + 1) == Some(&b'/');
    (0..device.len()).find(is_end)
}

/// The name of a network mount's server, as the mount has it (`server` of `server:/export` and of `//server/share`).
pub fn server_name(mount: &Mount) -> Option<&[u8]> {
    let device = mount.device.as_bytes();
    let name = match Family::from_fstype(mount.fstype.as_bytes()) {
        Family::Nfs => {
            let end = host_end(device)?;
            let name = &device[..end];
            name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name)
        }
        Family::Smb => device.strip_prefix(b"//")?.split(|&byte| byte == b'/').next()?,
        Family::Fuse | Family::Other => return None,
    };
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use std::time::Duration;

    #[test]
    fn server_names_of_network_mounts() {
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
    fn task_that_stays_blocked_is_seen_for_longer() {
        let at = |seconds| Time::after_start(Duration::from_secs(seconds));
        let task = |pid, started, seen_for| BlockedTask {
            pid,
            name: b"x".to_vec(),
            started,
            seen_for: Duration::from_secs(seen_for),
        };
        let evidence = |named| {
            let tasks = Some(Observation::Found(BlockedTasks { named, ..BlockedTasks::default() }));
            Evidence { tasks, ..Evidence::default() }
        };
        let before = EvidenceRecord::new(at(10), evidence(vec![task(1, 7, 5), task(2, 7, 0)]), true);
        let found = evidence(vec![task(1, 7, 0), task(2, 8, 0), task(3, 9, 0)]);
        let expected = evidence(vec![task(1, 7, 10), task(2, 8, 0), task(3, 9, 0)]);
        assert_eq!(before.merge(at(15), found, true), EvidenceRecord::new(at(15), expected, true));
    }
}
