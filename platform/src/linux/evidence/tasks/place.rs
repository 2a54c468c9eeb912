//! Which file system an open file or a directory of a task is on, without asking that file system.

use super::super::procfs::{read, read_up_to};
use crate::DeviceNumber;
use crate::evidence::Suspect;
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Mount namespaces, besides our own, whose tables are read: as many as a busy container host has containers.
const MAX_NAMESPACES: usize = 256;
/// Of each such table so much: about 30,000 mounts.
const MAX_TABLE: u64 = 4 << 20;
const MAX_FDINFO: usize = 512;

/// Mounts by the ids of their tables, which are unique in the whole system while they exist.
pub(super) struct Places {
    devices: HashMap<u32, DeviceNumber>,
    read: HashSet<OsString>,
}

impl Places {
    pub(super) fn new(suspects: &[Suspect]) -> Places {
        let ids = suspects.iter().flat_map(|s| s.mount_ids.iter().map(|&id| (id, s.device_number)));
        Places { devices: ids.collect(), read: HashSet::new() }
    }

    /// The device of an open file of this process.
    pub(super) fn of_file(&mut self, process: &Path, file: u32) -> Option<DeviceNumber> {
        let mut buffer = [0; MAX_FDINFO];
        let info = read(&process.join(format!("fdinfo/{file}")), &mut buffer).ok()?;
        let id = mount_id(info)?;
        if !self.devices.contains_key(&id) {
            self.read_namespace(process);
        }
        self.devices.get(&id).copied()
    }

    /// Takes in the mount table that this process sees, unless that was done.
    fn read_namespace(&mut self, process: &Path) {
        let Ok(namespace) = std::fs::read_link(process.join("ns/mnt")) else { return };
        if self.read.len() >= MAX_NAMESPACES || !self.read.insert(namespace.into_os_string()) {
            return;
        }
        let table = read_up_to(&process.join("mountinfo"), MAX_TABLE).unwrap_or_default();
        for line in table.split(|&byte| byte == b'\n') {
            if let Some((id, device)) = entry(line) {
                self.devices.entry(id).or_insert(device);
            }
        }
    }
}

/// `mnt_id:\t58`
fn mount_id(info: &[u8]) -> Option<u32> {
    std::str::from_utf8(info).ok()?.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// The id and the device of a line of `mountinfo`.
fn entry(line: &[u8]) -> Option<(u32, DeviceNumber)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let id = text()?.parse().ok()?;
    text()?;
    let (major, minor) = text()?.split_once(':')?;
    Some((id, DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? }))
}

/// The device that a link such as `/proc/PID/cwd` leads to.
pub(super) fn device_of(link: &Path) -> Option<DeviceNumber> {
    let found = attributes(link, 0)?;
    Some(DeviceNumber { major: found.stx_dev_major, minor: found.stx_dev_minor })
}

/// How many links a file has.
pub(super) fn links_of(path: &Path) -> Option<u32> {
    attributes(path, libc::STATX_NLINK).map(|found| found.stx_nlink)
}

/// Answered from memory: no storage is asked, no automount triggered.
fn attributes(path: &Path, mask: u32) -> Option<libc::statx> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the path is NUL-terminated and the buffer is of the type that the call fills.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, found.as_mut_ptr()) };
    // SAFETY: all of it was zeroed, which is valid, and the call succeeded.
    (result == 0).then(|| unsafe { found.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tables() {
        let line = b"65 64 0:41 / /mnt/x rw,nosuid - fuse.sshfs a:/b rw,user_id=0";
        assert_eq!(entry(line), Some((65, DeviceNumber { major: 0, minor: 41 })));
        for line in [&b""[..], b"65", b"65 64", b"65 64 41 /", b"x 64 0:41"] {
            assert_eq!(entry(line), None);
        }
        assert_eq!(mount_id(b"pos:\t0\nflags:\t02\nmnt_id:\t58\nino:\t9\n"), Some(58));
        assert_eq!(mount_id(b"pos:\t0\n"), None);
    }

    #[test]
    fn a_directory_has_a_device() {
        use std::os::unix::fs::MetadataExt as _;
        #[allow(clippy::disallowed_methods)] // /proc does not hang
        let expected = std::fs::metadata("/proc/self").unwrap().dev();
        let found = device_of(Path::new("/proc/self")).unwrap();
        assert_eq!(u64::from(found.major) << 8 | u64::from(found.minor), expected);
        assert_eq!(device_of(Path::new("/no/such")), None);
    }
}
