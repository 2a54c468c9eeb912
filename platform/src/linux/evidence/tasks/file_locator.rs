//! The file system of an open file or a directory of a task, without a request to that file system.

use crate::DeviceNumber;
use crate::evidence::Suspect;
use crate::linux::mount_identity::statx;
use crate::linux::mountinfo;
use crate::linux::procfs::{number_field, read};
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// Maximum number of mount namespaces whose tables are read: as many as a busy container host has.
const MAX_NAMESPACES: usize = 256;
const MAX_FDINFO: usize = 512;
/// The first three fields of a line of mountinfo: two numbers of 32 bits and a device number.
const MAX_LINE_START: u64 = 64;

/// The devices of mounts by their ids, which are unique in the whole system while the mounts exist.
pub(super) struct FileLocator {
    devices: HashMap<u32, DeviceNumber>,
    /// The ids of the suspects' mounts, and their devices.
    suspect_ids: HashSet<u32>,
    suspect_devices: HashSet<DeviceNumber>,
    namespaces: HashMap<OsString, Rc<Namespace>>,
    /// No more is read after this.
    until: Instant,
}

/// What a mount namespace shows of the suspects.
#[derive(Default)]
pub(super) struct Namespace {
    /// One of their mounts is in it: it is the one that is watched.
    pub(super) is_watched: bool,
    /// Their file systems that are mounted in it.
    pub(super) devices: HashSet<DeviceNumber>,
}

impl FileLocator {
    pub(super) fn new(suspects: &[Suspect], until: Instant) -> FileLocator {
        let ids = || suspects.iter().flat_map(|s| s.mount_ids.iter().map(|&id| (id, s.device_number)));
        FileLocator {
            devices: ids().collect(),
            suspect_ids: ids().map(|(id, _)| id).collect(),
            suspect_devices: suspects.iter().map(|suspect| suspect.device_number).collect(),
            namespaces: HashMap::new(),
            until,
        }
    }

    /// The device of an open file of this process.
    pub(super) fn device_of_file(&mut self, process: &Path, fd: u32) -> Option<DeviceNumber> {
        let mut buffer = [0; MAX_FDINFO];
        let info = read(&process.join(format!("fdinfo/{fd}")), &mut buffer).ok()?;
        let id = u32::try_from(number_field(info, "mnt_id")?).ok()?;
        if !self.devices.contains_key(&id) {
            self.namespace_of(process);
        }
        self.devices.get(&id).copied()
    }

    /// The mount namespace of this process or task. Shows nothing if it cannot be read.
    pub(super) fn namespace_of(&mut self, task: &Path) -> Rc<Namespace> {
        let Ok(name) = std::fs::read_link(task.join("ns/mnt")) else { return Rc::default() };
        if let Some(known) = self.namespaces.get(name.as_os_str()) {
            return Rc::clone(known);
        }
        if self.namespaces.len() >= MAX_NAMESPACES {
            return Rc::default();
        }
        let mut namespace = Namespace::default();
        // What was read before an error counts.
        let _ = self.read_table(&task.join("mountinfo"), &mut namespace);
        let namespace = Rc::new(namespace);
        self.namespaces.insert(name.into_os_string(), Rc::clone(&namespace));
        namespace
    }

    /// Reads the start of each line: a user can make mounts with very long lines.
    fn read_table(&mut self, mountinfo: &Path, namespace: &mut Namespace) -> io::Result<()> {
        let mut text = BufReader::new(File::open(mountinfo)?);
        let mut start = Vec::new();
        loop {
            start.clear();
            (&mut text).take(MAX_LINE_START).read_until(b'\n', &mut start)?;
            if start.is_empty() || Instant::now() >= self.until {
                return Ok(());
            }
            if !start.ends_with(b"\n") {
                text.skip_until(b'\n')?;
            }
            if let Some((id, device)) = mountinfo::id_and_device(&start) {
                self.devices.entry(id).or_insert(device);
                namespace.is_watched |= self.suspect_ids.contains(&id);
                namespace.devices.extend(self.suspect_devices.get(&device));
            }
        }
    }
}

/// The device number of the target of a link such as `/proc/PID/cwd`.
pub(in crate::linux::evidence) fn device_of(link: &Path) -> Option<DeviceNumber> {
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
