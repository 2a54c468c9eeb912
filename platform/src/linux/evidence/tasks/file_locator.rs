//! The file system of an open file or a directory of a task, without a request to that file system.

use crate::DeviceNumber;
use crate::evidence::Suspect;
use crate::linux::mountinfo;
use crate::linux::probe::statx;
use crate::linux::procfs::{number_field, read, read_up_to};
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Maximum number of other mount namespaces whose tables are read: as many as a busy container host has.
const MAX_NAMESPACES: usize = 256;
/// Maximum size of such a table: about 30,000 mounts.
const MAX_TABLE: u64 = 4 << 20;
const MAX_FDINFO: usize = 512;

/// The devices of mounts by their ids, which are unique in the whole system while the mounts exist.
pub(super) struct FileLocator {
    devices: HashMap<u32, DeviceNumber>,
    namespaces_read: HashSet<OsString>,
}

impl FileLocator {
    pub(super) fn new(suspects: &[Suspect]) -> FileLocator {
        let ids = suspects.iter().flat_map(|s| s.mount_ids.iter().map(|&id| (id, s.device_number)));
        FileLocator { devices: ids.collect(), namespaces_read: HashSet::new() }
    }

    /// The device of an open file of this process.
    pub(super) fn device_of_file(&mut self, process: &Path, fd: u32) -> Option<DeviceNumber> {
        let mut buffer = [0; MAX_FDINFO];
        let info = read(&process.join(format!("fdinfo/{fd}")), &mut buffer).ok()?;
        let id = u32::try_from(number_field(info, "mnt_id")?).ok()?;
        if !self.devices.contains_key(&id) {
            self.read_namespace(process);
        }
        self.devices.get(&id).copied()
    }

    /// Reads the mount table of this process, unless that of its namespace was read.
    fn read_namespace(&mut self, process: &Path) {
        let Ok(namespace) = std::fs::read_link(process.join("ns/mnt")) else { return };
        if self.namespaces_read.len() >= MAX_NAMESPACES
            || !self.namespaces_read.insert(namespace.into_os_string())
        {
            return;
        }
        let table = read_up_to(&process.join("mountinfo"), MAX_TABLE).unwrap_or_default();
        for line in mountinfo::lines(&table).flatten() {
            self.devices.entry(line.id).or_insert(line.device_number);
        }
    }
}

/// The device number of the target of a link such as `/proc/PID/cwd`.
pub(super) fn device_of(link: &Path) -> Option<DeviceNumber> {
    let found = attributes(link, 0)?;
    Some(DeviceNumber { major: found.stx_dev_major, minor: found.stx_dev_minor })
}

/// The number of hard links.
pub(super) fn link_count(path: &Path) -> Option<u32> {
    attributes(path, libc::STATX_NLINK).map(|found| found.stx_nlink)
}

/// Answered from the cache: no request to the storage, no automount.
fn attributes(path: &Path, mask: u32) -> Option<libc::statx> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    statx(&path, libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT, mask).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_of_a_directory_is_that_of_stat() {
        use std::os::unix::fs::MetadataExt as _;
        #[allow(clippy::disallowed_methods)] // /proc does not hang
        let expected = std::fs::metadata("/proc/self").unwrap().dev();
        let found = device_of(Path::new("/proc/self")).unwrap();
        assert_eq!(u64::from(found.major) << 8 | u64::from(found.minor), expected);
        assert_eq!(device_of(Path::new("/no/such")), None);
    }
}
