//! The mount table from the list of `getfsstat`, which has neither mount ids nor parents. Both are derived:
//!
//! * **Identity**: the file system's id (`f_fsid`) and the mount point. Two mounts cannot share both; a later mount
//!   with the same pair is treated as the same mount.
//! * **Parents**: the list is in mount order. So the parent of a mount is the last earlier mount at the longest prefix
//!   of its path, or at the same path if it covers another mount.

use super::record::{Flag, Record, options};
use crate::{DeviceNumber, Mount, MountKey, MountTable, MountTree, ShortenedNames};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

/// 64-bit FNV-1a: unlike a hash with a random key, it gives the same result in the daemon and in its probers.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(mut self, bytes: &[u8]) -> Fnv {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }
}

/// The key of the mount with this id and mount point. For 100,000 mounts, the probability that two share a key is below
/// one in a billion.
pub(crate) fn key_of(fsid: [i32; 2], mountpoint: &[u8]) -> MountKey {
    let [first, second] = fsid.map(i32::to_le_bytes);
    MountKey(Fnv::new().add(&first).add(&second).add(mountpoint).0)
}

/// The table of these records; entries that equal those of `before` are shared with it.
pub(crate) fn table(records: Vec<Record>, names: &[Flag], before: &MountTree) -> MountTable {
    let mut ids = HashSet::with_capacity(records.len());
    let mut ids_by_path: HashMap<Vec<u8>, u32> = HashMap::with_capacity(records.len());
    let mut mounts = Vec::with_capacity(records.len());
    for record in records {
        let key = key_of(record.fsid, &record.mountpoint);
        let id = free_id(key, &mut ids);
        let parent = parent_of(&ids_by_path, &record.mountpoint).unwrap_or(0);
        ids_by_path.insert(record.mountpoint.clone(), id);
        let mount = mount(record, names, key, id, parent);
        mounts.push(match before.get(key) {
            Some(entry) if **entry == mount => Arc::clone(entry),
            _ => Arc::new(mount),
        });
    }
    MountTable::new(mounts)
}

/// An id that no other mount of the table has, normally stable between reads. 0 means no mount.
fn free_id(key: MountKey, taken: &mut HashSet<u32>) -> u32 {
    let mut id = (key.0 ^ (key.0 >> 32)) as u32;
    while id == 0 || !taken.insert(id) {
        id = id.wrapping_add(1);
    }
    id
}

/// The id of the mount that this path led to before this mount was made.
fn parent_of(ids_by_path: &HashMap<Vec<u8>, u32>, path: &[u8]) -> Option<u32> {
    let mut end = path.len();
    loop {
        if let Some(&id) = ids_by_path.get(&path[..end]) {
            return Some(id);
        }
        match path[..end].iter().rposition(|&byte| byte == b'/') {
            Some(0) if end > 1 => end = 1,
            Some(slash) if slash > 0 => end = slash,
            Some(_) | None => return None,
        }
    }
}

fn mount(record: Record, names: &[Flag], key: MountKey, id: u32, parent: u32) -> Mount {
    // FreeBSD shows the ids only to root; mounts without an id must not look like one file system.
    let [major, minor] = match record.fsid {
        [0, 0] => [(key.0 >> 32) as u32, key.0 as u32],
        fsid => fsid.map(i32::cast_unsigned),
    };
    Mount {
        key,
        id,
        parent,
        device_number: DeviceNumber { major, minor },
        root: "/".into(),
        mountpoint: OsString::from_vec(record.mountpoint).into(),
        fstype: OsString::from_vec(record.fstype).into(),
        device: OsString::from_vec(record.device).into(),
        options: options(record.flags, names).into(),
        super_options: "".into(),
        connection_owner: None,
        shortened: ShortenedNames::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{FREEBSD_FLAGS, MACOS_FLAGS};
    use super::super::samples::{freebsd, macos, record};
    use super::*;

    fn parents(table: &MountTable) -> Vec<(String, String)> {
        let path = |mount: &Mount| mount.mountpoint.to_str().unwrap().to_owned();
        let of = |id| table.iter().find(|mount| mount.id == id).map_or_else(String::new, |mount| path(mount));
        let mut all: Vec<_> = table.iter().map(|mount| (path(mount), of(mount.parent))).collect();
        all.sort();
        all
    }

    #[test]
    fn table_of_a_mac() {
        let table = table(macos(), &MACOS_FLAGS, &MountTree::default());
        assert_eq!(table.len(), macos().len());
        let at = |path: &str| table.iter().find(|mount| mount.mountpoint.to_str() == Some(path)).unwrap();
        let share = at("/Volumes/share");
        assert_eq!((share.fstype.to_str(), share.device.to_str()), (Some("smbfs"), Some("//me@nas/share")));
        assert_eq!(share.options.to_str(), Some("rw,nosuid,nodev"));
        assert!(at("/").read_only() && !at("/System/Volumes/Data").read_only());
        assert_eq!(at("/System/Volumes/Data/home").kind(), super::super::kind_of(b"autofs"));
        let table = parents(&table);
        assert!(table.contains(&("/".into(), String::new())));
        assert!(table.contains(&("/System/Volumes/Data/home".into(), "/System/Volumes/Data".into())));
        assert!(table.contains(&("/Volumes/share".into(), "/".into())));
    }

    #[test]
    fn table_of_a_freebsd_machine() {
        let table = table(freebsd(), &FREEBSD_FLAGS, &MountTree::default());
        let expected = [("/", ""), ("/dev", "/"), ("/jail/dev", "/"), ("/jail/usr", "/"), ("/mnt/nfs", "/")];
        assert_eq!(parents(&table), expected.map(|(path, parent)| (path.to_owned(), parent.to_owned())));
    }

    #[test]
    fn parents_follow_the_order_of_mounting() {
        let list = [record(1, "/"), record(2, "/a/b"), record(3, "/a"), record(4, "/a"), record(5, "/a/b/c")];
        let table = table(list.to_vec(), &MACOS_FLAGS, &MountTree::default());
        let id = |fsid: i32, path: &str| table.get(key_of([fsid, 1], path.as_bytes())).unwrap().id;
        let parent = |fsid: i32, path: &str| table.get(key_of([fsid, 1], path.as_bytes())).unwrap().parent;
        assert_eq!(parent(2, "/a/b"), id(1, "/"));
        assert_eq!(parent(3, "/a"), id(1, "/"));
        assert_eq!(parent(4, "/a"), id(3, "/a"), "on the mount that it covers");
        assert_eq!(parent(5, "/a/b/c"), id(2, "/a/b"));
    }

    #[test]
    fn mounts_without_ids_have_different_devices() {
        let list = ["/", "/a", "/b"].map(|path| Record { fsid: [0, 0], ..record(1, path) });
        let table = table(list.to_vec(), &FREEBSD_FLAGS, &MountTree::default());
        let devices: HashSet<DeviceNumber> = table.iter().map(|mount| mount.device_number).collect();
        assert_eq!((table.len(), devices.len()), (3, 3));
    }

    #[test]
    fn unchanged_entries_are_shared() {
        let first = table(macos(), &MACOS_FLAGS, &MountTree::default());
        let mut changed = macos();
        changed[3].flags |= 1;
        changed.push(record(99, "/Volumes/new"));
        let second = table(changed, &MACOS_FLAGS, &MountTree::new(&first));
        let shared =
            second.iter().filter(|mount| first.get(mount.key).is_some_and(|entry| Arc::ptr_eq(entry, mount)));
        assert_eq!(shared.count(), first.len() - 1);
        assert_eq!(second.len(), first.len() + 1);
    }

    #[test]
    fn ids_are_unique() {
        let mut taken = HashSet::from([7, 8]);
        assert_eq!(free_id(MountKey(7), &mut taken), 9);
        assert_eq!(free_id(MountKey(0), &mut taken), 1);
        assert_eq!(free_id(MountKey(u64::from(u32::MAX)), &mut taken), u32::MAX);
        assert_eq!(free_id(MountKey(u64::from(u32::MAX)), &mut taken), 2, "wraps around without 0");
    }
}
