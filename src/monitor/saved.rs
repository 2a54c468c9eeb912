//! What a daemon leaves for the next one: the mounts that are not simply ok, what was reported about them, and since when
//! expected mounts are missing. Plain data; `restoring` applies it.

use super::{
    Event, Expected, Failure, Flapping, Health, MountStatus, OptionDifference, Reason, ReportState, Status,
    Time, UnexpectedOptions,
};
use platform::{Call, DeviceNumber, Errno, Mount, MountKey, ShortenedNames, User};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of mounts that are kept, the dead ones first: every mount of a machine with ten thousand.
const MAX_MOUNTS: usize = 10_000;
/// The same for expected mounts.
const MAX_MISSING: usize = 1000;

#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedStatus {
    pub(super) mounts: Vec<SavedMount>,
    pub(super) missing: Vec<SavedMissing>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedMount {
    pub(super) mount: SavedIdentity,
    pub(super) health: SavedHealth,
    pub(super) since: Time,
    pub(super) report: Option<ReportState>,
    pub(super) flapping: Option<Flapping>,
    pub(super) options: Option<SavedOptions>,
}

/// A mount as far as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedIdentity {
    key: MountKey,
    id: u32,
    device_number: DeviceNumber,
    mountpoint: SavedName,
    fstype: SavedName,
    device: SavedName,
    /// Another user who serves it.
    user: Option<u32>,
}

/// Any bytes; usually a text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SavedName {
    Text(String),
    Bytes(Vec<u8>),
}

/// A health as far as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SavedHealth {
    /// What is not kept.
    Other,
    Slow,
    Denied(Errno),
    Unknown {
        was: String,
    },
    Dead {
        reason: Reason,
        errno: Option<Errno>,
        call: Option<Call>,
        waited: Duration,
        blocked_by: Option<SavedName>,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedOptions {
    since: Time,
    /// What is expected, and what was found instead.
    differences: Vec<(String, Option<SavedName>)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedMissing {
    /// The path as it is configured, and where it leads.
    pub(super) written: SavedName,
    mountpoint: SavedName,
    pub(super) what: String,
    pub(super) since: Time,
    /// It may not have been reported that it is missing, or is there again.
    pub(super) is_in_doubt: bool,
}

impl SavedStatus {
    /// What is worth keeping of a status.
    #[must_use]
    pub fn of(status: &Status) -> SavedStatus {
        let options = &status.unexpected_options; // in the order of the mount table
        let find_options = |key| {
            let place = options.binary_search_by_key(&key, |found| found.mount.key).ok()?;
            options.get(place)
        };
        let saved = |mount: &MountStatus| {
            let unexpected = mount.has_unexpected_options == Some(true);
            let options = unexpected.then(|| find_options(mount.mount.key)).flatten();
            SavedMount::of(mount, options.map(|found| &**found))
        };
        let is_dead = |mount: &&MountStatus| mount.health.failure().is_some();
        let dead = status.mounts.iter().filter(is_dead);
        let others = status.mounts.iter().filter(|mount| !is_dead(mount));
        let missing = status
            .missing_mounts()
            .filter_map(|missing| Some(SavedMissing::of(&missing.expected, missing.missing_since?)));
        SavedStatus {
            mounts: dead.chain(others).filter_map(saved).take(MAX_MOUNTS).collect(),
            missing: missing.take(MAX_MISSING).collect(),
        }
    }

    /// These alarms, or their ends, are about to be handed over to the outputs, at these times: if the daemon ends before it
    /// has written a later status, it is not known whether they got them.
    pub fn doubt<'e>(&mut self, events: impl IntoIterator<Item = (Time, &'e Event)>) {
        let keys = self.mounts.iter().map(|saved| saved.mount.key);
        let mut places: FxHashMap<MountKey, usize> = keys.zip(0..).collect();
        for (now, event) in events {
            match event {
                Event::Failed { mount, failure } => {
                    let place = *places.entry(mount.key).or_insert_with(|| {
                        self.mounts.push(SavedMount::dying(now, mount, failure));
                        self.mounts.len() - 1
                    });
                    self.mounts[place].doubt_death(now, failure);
                }
                Event::Recovered { mount, .. } | Event::Unmounted { mount, .. } => {
                    if let Some(&place) = places.get(&mount.key) {
                        let saved = &mut self.mounts[place];
                        saved.report = Some(ReportState::in_doubt(saved.since));
                    }
                }
                Event::Missing { expected, .. } | Event::Found { expected, .. } => {
                    self.doubt_missing(now, expected);
                }
                _ => {}
            }
        }
    }

    fn doubt_missing(&mut self, now: Time, expected: &Expected) {
        let new = SavedMissing { is_in_doubt: true, ..SavedMissing::of(expected, now) };
        match self.missing.iter_mut().find(|missing| missing.written == new.written) {
            Some(known) => known.is_in_doubt = true,
            None => self.missing.push(new),
        }
    }

    /// The paths about which it is not known what was reported.
    pub fn doubts(&self) -> impl Iterator<Item = PathBuf> {
        let is_in_doubt = |saved: &&SavedMount| saved.report.is_some_and(|report| report.is_in_doubt());
        let mounts = self.mounts.iter().filter(is_in_doubt).map(|saved| &saved.mount.mountpoint);
        let missing = self.missing.iter().filter(|missing| missing.is_in_doubt).map(|it| &it.mountpoint);
        mounts.chain(missing).map(|path| path.to_os_string().into())
    }

    /// The same for a daemon whose start was so many nanoseconds earlier.
    #[must_use]
    pub fn shifted(self, nanos: i64) -> SavedStatus {
        let mounts = self.mounts.into_iter().map(|mount| mount.shifted(nanos)).collect();
        let missing = self.missing.into_iter();
        let missing =
            missing.map(|missing| SavedMissing { since: missing.since.shifted(nanos), ..missing }).collect();
        SavedStatus { mounts, missing }
    }

    /// Whether a time is later than this: it was not written by a daemon of this run of the machine.
    #[must_use]
    pub fn is_later_than(&self, now: Time) -> bool {
        self.mounts.iter().any(|mount| mount.since > now)
            || self.missing.iter().any(|missing| missing.since > now)
    }

    /// The number of dead mounts, and of missing ones.
    #[must_use]
    pub fn problems(&self) -> (usize, usize) {
        let is_dead = |mount: &&SavedMount| matches!(mount.health, SavedHealth::Dead { .. });
        (self.mounts.iter().filter(is_dead).count(), self.missing.len())
    }

    /// Drops the less important half of the mounts. False if there is none.
    pub fn halve(&mut self) -> bool {
        let half = self.mounts.len() / 2;
        let has_mounts = !self.mounts.is_empty();
        self.mounts.truncate(half);
        has_mounts
    }
}

impl SavedMount {
    /// `None` for a mount that is ok, or of which nothing is known.
    fn of(status: &MountStatus, options: Option<&UnexpectedOptions>) -> Option<SavedMount> {
        let health = SavedHealth::of(&status.health).without_wait();
        let report = status.report.as_deref().copied();
        // One that is slow now and then is not worth a write each time.
        let is_ok = matches!(health, SavedHealth::Other | SavedHealth::Slow);
        if is_ok && report.is_none() && status.flapping.is_none() && options.is_none() {
            return None;
        }
        Some(SavedMount {
            mount: SavedIdentity::of(&status.mount),
            health,
            since: status.since,
            report,
            flapping: status.flapping.as_deref().copied(),
            options: options.map(SavedOptions::of),
        })
    }

    /// A mount that is dead from now on.
    fn dying(now: Time, mount: &Mount, failure: &Failure) -> SavedMount {
        SavedMount {
            mount: SavedIdentity::of(mount),
            health: SavedHealth::of_failure(failure),
            since: now,
            report: None,
            flapping: None,
            options: None,
        }
    }

    fn doubt_death(&mut self, now: Time, failure: &Failure) {
        if !matches!(self.health, SavedHealth::Dead { .. }) {
            (self.health, self.since) = (SavedHealth::of_failure(failure), now);
        }
        self.report = Some(ReportState::in_doubt(self.since));
    }

    fn shifted(self, nanos: i64) -> SavedMount {
        let flapping = self.flapping.map(|Flapping { since, changes, last }| Flapping {
            since: since.shifted(nanos),
            changes,
            last: last.shifted(nanos),
        });
        let options =
            self.options.map(|options| SavedOptions { since: options.since.shifted(nanos), ..options });
        let report = self.report.map(|report| report.shifted(nanos));
        SavedMount { since: self.since.shifted(nanos), report, flapping, options, ..self }
    }

    pub(super) fn unexpected_options(&self) -> Option<UnexpectedOptions> {
        let SavedOptions { since, differences } = self.options.as_ref()?;
        let difference = |(expected, found): &(String, Option<SavedName>)| OptionDifference {
            expected: expected.clone(),
            found: found.as_ref().map(SavedName::to_os_string),
        };
        Some(UnexpectedOptions {
            mount: Arc::new(self.mount.to_mount()),
            differences: differences.iter().map(difference).collect(),
            since: *since,
        })
    }
}

impl SavedMissing {
    fn of(expected: &Expected, since: Time) -> SavedMissing {
        SavedMissing {
            written: SavedName::of(expected.written().as_os_str()),
            mountpoint: SavedName::of(expected.mountpoint.as_os_str()),
            what: expected.what.clone(),
            since,
            is_in_doubt: false,
        }
    }
}

impl SavedIdentity {
    #[must_use]
    pub fn of(mount: &Mount) -> SavedIdentity {
        SavedIdentity {
            key: mount.key,
            id: mount.id,
            device_number: mount.device_number,
            mountpoint: SavedName::of(mount.mountpoint.as_os_str()),
            fstype: SavedName::of(&mount.fstype),
            device: SavedName::of(&mount.device),
            user: if let User::Foreign(uid) = mount.user() { Some(uid) } else { None },
        }
    }

    pub(super) fn key(&self) -> MountKey {
        self.key
    }

    pub(super) fn device_number(&self) -> DeviceNumber {
        self.device_number
    }

    /// Whether the same is mounted at the same place. A mount has another key in a service that gets a mount namespace of its
    /// own at each start, and kernels without unique ids use a key again.
    pub(super) fn is_like(&self, mount: &Mount) -> bool {
        self.device_number == mount.device_number
            && self.mountpoint.is(mount.mountpoint.as_os_str())
            && self.fstype.is(&mount.fstype)
            && self.device.is(&mount.device)
    }

    /// The mount with only what is kept.
    #[must_use]
    pub fn to_mount(&self) -> Mount {
        Mount {
            key: self.key,
            id: self.id,
            parent: 0,
            device_number: self.device_number,
            root: "/".into(),
            mountpoint: self.mountpoint.to_os_string().into(),
            fstype: self.fstype.to_os_string().into(),
            device: self.device.to_os_string().into(),
            options: "".into(),
            super_options: "".into(),
            connection_owner: self.user.map(|uid| (uid, uid)),
            shortened: ShortenedNames::default(),
        }
    }
}

impl SavedName {
    #[must_use]
    pub fn of(name: &OsStr) -> SavedName {
        match name.to_str() {
            Some(text) => SavedName::Text(text.to_owned()),
            None => SavedName::Bytes(name.as_bytes().to_vec()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            SavedName::Text(text) => text.as_bytes(),
            SavedName::Bytes(bytes) => bytes,
        }
    }

    fn is(&self, name: &OsStr) -> bool {
        self.as_bytes() == name.as_bytes()
    }

    #[must_use]
    pub fn to_os_string(&self) -> OsString {
        OsString::from_vec(self.as_bytes().to_vec())
    }
}

impl SavedHealth {
    #[must_use]
    pub fn of(health: &Health) -> SavedHealth {
        match health {
            Health::Pending | Health::Ok | Health::Hidden => SavedHealth::Other,
            Health::Slow => SavedHealth::Slow,
            Health::Denied(errno) => SavedHealth::Denied(*errno),
            Health::Unknown { was } => SavedHealth::Unknown { was: (*was).to_owned() },
            Health::Dead(failure) => SavedHealth::of_failure(failure),
        }
    }

    #[must_use]
    pub fn of_failure(failure: &Failure) -> SavedHealth {
        SavedHealth::Dead {
            reason: failure.reason,
            errno: failure.errno,
            call: failure.call,
            waited: failure.waited,
            blocked_by: failure.blocked_by.as_ref().map(|path| SavedName::of(path.as_os_str())),
        }
    }

    /// How long the last probe waited differs after each probe, which is not worth a write.
    fn without_wait(self) -> SavedHealth {
        match self {
            SavedHealth::Dead { reason, errno, call, blocked_by, .. } => {
                SavedHealth::Dead { reason, errno, call, waited: Duration::ZERO, blocked_by }
            }
            other => other,
        }
    }

    /// `None` for what is not kept.
    #[must_use]
    pub fn to_health(&self) -> Option<Health> {
        Some(match self {
            SavedHealth::Other => return None,
            SavedHealth::Slow => Health::Slow,
            SavedHealth::Denied(errno) => Health::Denied(*errno),
            SavedHealth::Unknown { was } => {
                let was = ["pending", "ok", "slow", "denied"].into_iter().find(|known| known == was)?;
                Health::Unknown { was }
            }
            SavedHealth::Dead { reason, errno, call, waited, blocked_by } => {
                Health::Dead(Box::new(Failure {
                    reason: *reason,
                    errno: *errno,
                    call: *call,
                    waited: *waited,
                    blocked_by: blocked_by.as_ref().map(|path| path.to_os_string().into()),
                    evidence: None,
                }))
            }
        })
    }
}

impl SavedOptions {
    fn of(found: &UnexpectedOptions) -> SavedOptions {
        let difference = |OptionDifference { expected, found }: &OptionDifference| {
            (expected.clone(), found.as_deref().map(SavedName::of))
        };
        SavedOptions { since: found.since, differences: found.differences.iter().map(difference).collect() }
    }
}
