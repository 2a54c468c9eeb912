//! What the daemon asks of an attempt, and what it says: one JSON text in each packet.

pub(super) use crate::children::json_packet::{decode, encode};

use crate::children::json_packet::{bytes, path};
use crate::monitor::ProbeSettings;
use crate::monitor::remedy::{AttemptOrder, Death, RemedyReport, RemedySettings};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to remedy, and what the daemon knows about it. Paths are bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttemptRequest {
    mountpoint: Vec<u8>,
    /// When and how it died.
    pub death: Death,
    pub settings: RemedySettings,
    /// Of the mount.
    pub timeout: Duration,
    pub slow_after: Duration,
    /// How long ago the machine was resumed, if it was.
    pub resumed: Option<Duration>,
    /// Files of the daemon, which no remedy may take away.
    pub kept: Vec<KeptFile>,
    fstab: Option<Vec<u8>>,
    mount_namespace: Option<Vec<u8>>,
}

/// A file that must never be lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeptFile {
    Configuration(Vec<u8>),
    Socket(Vec<u8>),
}

impl KeptFile {
    pub fn configuration(path: &Path) -> KeptFile {
        KeptFile::Configuration(bytes(path))
    }

    pub fn socket(path: &Path) -> KeptFile {
        KeptFile::Socket(bytes(path))
    }

    /// What it is, and its path.
    pub fn what(&self) -> (&'static str, PathBuf) {
        match self {
            KeptFile::Configuration(file) => ("a configuration file", path(file)),
            KeptFile::Socket(file) => ("the socket of the daemon", path(file)),
        }
    }
}

impl AttemptRequest {
    /// `probe` are the settings of the mount. The machine was resumed so long ago.
    pub fn new(order: AttemptOrder, probe: ProbeSettings, resumed: Option<Duration>) -> AttemptRequest {
        AttemptRequest {
            mountpoint: bytes(&order.mount.mountpoint),
            death: order.death,
            settings: order.settings,
            timeout: probe.timeout,
            slow_after: probe.slow_after,
            resumed,
            kept: Vec::new(),
            fstab: None,
            mount_namespace: None,
        }
    }

    /// What the daemon was configured with.
    #[must_use]
    pub fn with_files(
        self,
        kept: Vec<KeptFile>,
        fstab: Option<&Path>,
        mount_namespace: Option<&Path>,
    ) -> AttemptRequest {
        let (fstab, mount_namespace) = (fstab.map(bytes), mount_namespace.map(bytes));
        AttemptRequest { kept, fstab, mount_namespace, ..self }
    }

    pub fn mountpoint(&self) -> PathBuf {
        path(&self.mountpoint)
    }

    pub fn fstab(&self) -> Option<PathBuf> {
        self.fstab.as_deref().map(path)
    }

    /// A file that names the mount namespace of the mount, if it is not our own.
    pub fn mount_namespace(&self) -> Option<PathBuf> {
        self.mount_namespace.as_deref().map(path)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AttemptMessage {
    Report(RemedyReport),
    /// One call that changed the machine, as a line for the log.
    Call(String),
    /// The attempt has ended, with or without reports.
    Finished,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::monitor::remedy::{Mode, StepKind};
    use crate::monitor::testing::mount;
    use platform::{Call, Errno, Mount, MountKey};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::sync::Arc;

    #[test]
    fn request_with_the_longest_paths_of_any_bytes_fits_into_a_packet() {
        let long = PathBuf::from(OsString::from_vec([b"/", &[0xff; 2046][..]].concat()));
        let mount = Mount { mountpoint: long.as_path().into(), ..mount(u64::MAX, "/a") };
        let death = Death {
            key: MountKey(u64::MAX),
            reason: Reason::Stale,
            errno: Some(Errno::ESTALE),
            call: Some(Call::Statfs),
            lasted: Duration::from_secs(1 << 40),
            stale_for: Duration::from_nanos(1),
        };
        let settings = RemedySettings { steps: StepKind::ALL.to_vec(), ..RemedySettings::new(Mode::Act) };
        let order = AttemptOrder { mount: Arc::new(mount), settings, death };
        let kept =
            vec![KeptFile::configuration(&long), KeptFile::configuration(&long), KeptFile::socket(&long)];
        let request = AttemptRequest::new(order, ProbeSettings::default(), Some(Duration::MAX)).with_files(
            kept,
            Some(&long),
            Some(&long),
        );
        let packet = encode(&request).expect("it fits");
        assert_eq!(decode(&packet), Some(request.clone()));
        assert_eq!((request.mountpoint(), request.fstab()), (long.clone(), Some(long)));
        assert_eq!(decode::<AttemptRequest>(b"{}"), None);
    }
}
