//! The state of one watched mount.

use super::entries::Mark;
use crate::monitor::flapping::FlapDetector;
use crate::monitor::health::{Classification, ResponseHistory};
use crate::monitor::reports::Reported;
use crate::monitor::scheduler::MountSchedule;
use crate::monitor::{EvidenceRecord, Health, MountSettings, Time};
use platform::{DeviceNumber, Errno, Mount, MountKey, ProbeOutcome, Target, User};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A watched mount. All components can read the fields of [`Watched`], but only this file can change them. `scheduler`
/// and `reports` keep their own state of the mount here, so that one lookup finds it; no other module sees its fields.
pub(crate) struct MountEntry {
    watched: Watched,
    pub(crate) schedule: MountSchedule,
    pub(crate) reported: Reported,
    pub(crate) flaps: FlapDetector,
    pub(super) mark: Mark,
}

pub(crate) struct Watched {
    /// As in `mount`, here so that a run need not look there.
    key: MountKey,
    superblock: DeviceNumber,
    has_usable_path: bool,
    pub(crate) mount: Arc<Mount>,
    user: User,
    /// As in the mount table.
    is_read_only: bool,
    /// The index of the counters of its file system type.
    pub(crate) fstype_index: usize,
    pub(crate) settings: Arc<MountSettings>,
    pub(crate) is_hidden: bool,
    pub(crate) health: Health,
    /// When the mount entered this health; for a dead mount, when it died.
    pub(crate) since: Time,
    /// When it was last judged; `None` if it was not since it appeared or became visible.
    pub(crate) judged_at: Option<Time>,
    pub(crate) history: ResponseHistory,
}

impl Deref for MountEntry {
    type Target = Watched;
    fn deref(&self) -> &Watched {
        &self.watched
    }
}

impl MountEntry {
    pub(crate) fn new(
        now: Time,
        mount: Arc<Mount>,
        settings: Arc<MountSettings>,
        fstype_index: usize,
    ) -> MountEntry {
        let watched = Watched {
            key: mount.key,
            superblock: mount.device_number,
            has_usable_path: mount.has_usable_path(),
            user: mount.user(),
            is_read_only: mount.read_only(),
            mount,
            fstype_index,
            settings,
            is_hidden: false,
            health: Health::Pending,
            since: now,
            judged_at: None,
            history: ResponseHistory::default(),
        };
        MountEntry {
            watched,
            schedule: MountSchedule::default(),
            reported: Reported::default(),
            flaps: FlapDetector::default(),
            mark: Mark::default(),
        }
    }

    pub(crate) fn key(&self) -> MountKey {
        self.key
    }

    pub(crate) fn superblock(&self) -> DeviceNumber {
        self.superblock
    }

    pub(crate) fn has_usable_path(&self) -> bool {
        self.has_usable_path
    }

    /// Whose limits apply to it.
    pub(crate) fn user(&self) -> User {
        self.user
    }

    /// Only while it is not queued: the queues are those of its user.
    pub(crate) fn set_user(&mut self, user: User) {
        self.watched.user = user;
    }

    pub(crate) fn target(&self) -> Target {
        Target { user: self.user, ..Target::for_mount(&self.mount) }
    }

    pub(crate) fn record(
        &mut self,
        now: Time,
        outcome: &ProbeOutcome,
        took: Duration,
        searches_every_directory: bool,
    ) -> Classification {
        let is_late = self.health.is_hung() && self.is_dead_itself() && took > self.settings.timeout;
        let is_dead = self.health.failure().is_some();
        self.watched.history.record(now, outcome, took, is_dead, is_late, searches_every_directory)
    }

    /// Does `ST_RDONLY` of a response contradict the table, for the first time in this way?
    pub(crate) fn is_new_contradiction(&mut self, read_only: bool) -> bool {
        let in_table = self.is_read_only;
        self.watched.history.is_new_contradiction(read_only, in_table)
    }

    /// Is it dead, but not because of a hung ancestor?
    pub(crate) fn is_dead_itself(&self) -> bool {
        self.health.failure().is_some_and(|failure| failure.blocked_by.is_none())
    }

    /// The path of the hung ancestor that explains why it is dead.
    pub(crate) fn blocked_by(&self) -> Option<&Path> {
        self.health.failure()?.blocked_by.as_deref()
    }

    /// Its options, path or device changed.
    pub(crate) fn set_mount(&mut self, mount: &Arc<Mount>) {
        self.watched.mount = Arc::clone(mount);
        self.watched.superblock = mount.device_number;
        self.watched.has_usable_path = mount.has_usable_path();
        self.watched.is_read_only = mount.read_only();
    }

    pub(crate) fn set_settings(&mut self, settings: Arc<MountSettings>) {
        self.watched.settings = settings;
    }

    pub(super) fn set_hidden(&mut self, is_hidden: bool) {
        self.watched.is_hidden = is_hidden;
    }

    pub(super) fn replace_health(&mut self, now: Time, health: Health) -> Health {
        let stays_dead = self.health.failure().is_some() && health.failure().is_some();
        if self.health != health && !stays_dead {
            self.watched.since = now;
        }
        match health {
            Health::Pending | Health::Hidden => self.watched.judged_at = None,
            Health::Unknown { .. } => {}
            _ => self.watched.judged_at = Some(now),
        }
        std::mem::replace(&mut self.watched.health, health)
    }

    /// What an earlier daemon knew. It counts as not judged.
    pub(super) fn restore_health(&mut self, health: Health, since: Time) -> Health {
        if let Some(Errno::EACCES | Errno::EPERM) = health.failure().and_then(|failure| failure.errno) {
            self.watched.history.restore_response();
        }
        self.watched.since = since;
        std::mem::replace(&mut self.watched.health, health)
    }

    /// The last judgement was found to be still true.
    pub(super) fn confirm_health(&mut self, now: Time) {
        if self.judged_at.is_some() {
            self.watched.judged_at = Some(now);
        }
    }

    pub(super) fn set_evidence(&mut self, record: &Arc<EvidenceRecord>) -> bool {
        match &mut self.watched.health {
            Health::Dead(failure) if failure.blocked_by.is_none() => {
                failure.evidence = Some(Arc::clone(record));
                true
            }
            _ => false,
        }
    }
}
