//! What the parent asks of a child, and what the child says: one JSON text in each packet.

pub(super) use crate::children::json_packet::{bytes, decode, encode, path};

use super::mounting::HowToMount;
use platform::{DeviceNumber, Errno, MountKey, MountNamespace};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

/// One step. Paths are bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) deed: Deed,
    pub(super) then: Then,
    /// Its word in the records; `None` if it is not recorded.
    pub(super) word: Option<String>,
    /// The unique id of the dead mount.
    pub(super) mount: u64,
    pub(super) path: Vec<u8>,
    /// The private place.
    pub(super) place: Vec<u8>,
    /// The superblock of a FUSE mount.
    pub(super) fuse: Option<DeviceNumber>,
    /// Mounts below the dead one that may go with it.
    pub(super) below: Vec<u64>,
    /// `None` if the mount is in our own.
    pub(super) namespace: Option<NamespaceFile>,
    /// The file of the records of its server.
    pub(super) records: Vec<u8>,
    pub(super) timeout: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Deed {
    Resume {
        pid: u32,
    },
    MountPrivately(HowToMount),
    Placeholder,
    MoveBeneath {
        new: u64,
    },
    Abort,
    Unmount,
    Force,
    Detach,
    MoveIn {
        new: u64,
    },
    ShutDown,
    MountAgain(HowToMount),
    /// Probes this mount twice.
    Probe {
        mount: u64,
    },
    /// Removes the private place with what is in it.
    Clear,
}

impl Deed {
    /// Whether the dead mount leaves its place.
    pub(super) fn removes_mount(&self) -> bool {
        matches!(self, Deed::Unmount | Deed::Force | Deed::Detach)
    }
}

/// Another mount namespace: its file, and the number by which it is known again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamespaceFile {
    file: Vec<u8>,
    inode: u64,
}

impl NamespaceFile {
    #[must_use]
    pub fn of(namespace: &MountNamespace) -> NamespaceFile {
        NamespaceFile { file: bytes(namespace.path()), inode: namespace.inode() }
    }

    /// # Errors
    /// It cannot be opened, or the file names another one now.
    pub(super) fn open(&self) -> io::Result<MountNamespace> {
        let found = MountNamespace::open(&path(&self.file))?;
        let found = found.filter(|namespace| namespace.inode() == self.inode);
        found.ok_or_else(|| io::Error::other("the mount namespace has ended"))
    }
}

/// What the child that removes the dead mount does next: no other can do it as soon, or at all.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Then {
    /// Moves this mount from the private place to the path.
    pub(super) move_in: Option<u64>,
    /// Shuts down the NFS client, after a detach: nobody can hold the mount afterwards.
    pub(super) shut_down: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// Right before a call.
    Calling(CallRecord),
    /// Right after it.
    Called(CallRecord),
    Finished(Said),
}

/// One call that changes the machine: for audits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallRecord {
    /// When it was made: since 1970.
    pub at: Duration,
    pub call: String,
    /// The unique id of the dead mount.
    pub mount: u64,
    /// What the call was given: a path, or the arguments of a program.
    pub path: Vec<u8>,
    pub flags: String,
    /// `None` if it has not returned.
    pub duration: Option<Duration>,
    /// How it failed.
    pub error: Option<CallError>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CallError {
    Errno(i32),
    Text(String),
}

impl CallError {
    pub(super) fn new(error: &io::Error) -> CallError {
        error.raw_os_error().map_or_else(|| CallError::Text(error.to_string()), CallError::Errno)
    }

    /// The number, if the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            CallError::Errno(number) => Some(Errno(*number)),
            CallError::Text(_) => None,
        }
    }
}

/// What the child knows at the end of the step.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    /// No call was made.
    pub(super) not_made: Option<NotMade>,
    /// How the last call failed.
    pub(super) error: Option<CallError>,
    /// The mounts that left the table during the unmount, if the kernel tells.
    pub(super) detached: Option<Vec<u64>>,
    /// Those of them that came after the dead mount had left.
    pub(super) detached_after: Vec<u64>,
    /// Of two probes.
    pub(super) responses: Vec<Response>,
    /// After a detach, while the mount was held: the NFS client was shut down, or not.
    pub(super) shut_down: Option<Result<(), CallError>>,
    /// The superblock of the dead mount did not exist any more when a new mount was made.
    pub(super) old_is_gone: bool,
}

/// Why a step made no call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NotMade {
    /// The path leads to another mount, or to none.
    Replaced,
    /// There are mounts below it that nobody has permitted to go with it.
    MountsBelow(Vec<u64>),
    /// The process does not serve the mount any more.
    NotItsServer,
    /// The private place does not have the mount that was made there.
    PlaceChanged,
    /// The plan does not say how it is mounted.
    CannotMount,
    /// The intent could not be recorded.
    NotRecorded(String),
}

/// Of one probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    Alive,
    Failed(i32),
    /// The path leads to another mount.
    WrongMount,
}

impl CallRecord {
    /// What the call was given: a path, or the arguments of a program.
    #[must_use]
    pub fn subject(&self) -> &OsStr {
        OsStr::from_bytes(&self.path)
    }
}

impl Request {
    pub(super) fn key(&self) -> MountKey {
        MountKey(self.mount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children::remedy::mounting::SettingsFrom;

    #[test]
    fn request_with_the_longest_paths_fits_into_a_packet() {
        let long = vec![0xff; 4095];
        let request = Request {
            deed: Deed::MountPrivately(HowToMount::Program {
                settings: SettingsFrom::MountUnit("data.mount".into()),
                fresh_option: Some("nosharecache".into()),
                in_scope: true,
            }),
            then: Then { move_in: Some(u64::MAX), shut_down: true },
            word: Some("mount_privately".to_owned()),
            mount: u64::MAX,
            path: long.clone(),
            place: long.clone(),
            fuse: Some(DeviceNumber { major: 0, minor: 50 }),
            below: vec![u64::MAX; 100],
            namespace: Some(NamespaceFile { file: b"/proc/4194304/ns/mnt".to_vec(), inode: u64::MAX }),
            records: long,
            timeout: Duration::from_secs(60),
        };
        let packet = encode(&request).expect("it fits");
        assert_eq!(decode(&packet), Some(request));
        assert_eq!(decode::<Request>(b"{}"), None);
    }
}
