//! A seed that makes this machine behave differently from thousands that were installed and started together with it.

use platform::{FsKind, MACHINE_ID, MountTable, machine_id, mount_containing};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

/// The same after each start. Made from the machine id and the host name, because machines and containers made from one
/// image may share either. Never 0, which means no seed.
pub(super) fn seed(table: &MountTable) -> u64 {
    let mut hasher = DefaultHasher::new();
    let id = if is_local(table, Path::new(MACHINE_ID)) { machine_id() } else { None };
    (id, hostname::get().unwrap_or_default()).hash(&mut hasher);
    hasher.finish().max(1)
}

/// Whether reading the file cannot hang. Decided from the mount table alone.
fn is_local(table: &MountTable, file: &Path) -> bool {
    mount_containing(table.iter().map(|mount| &**mount), file)
        .is_some_and(|mount| mount.kind() == FsKind::Local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;

    #[test]
    fn machine_id_is_read_only_from_local_file_systems() {
        let local = MountTable::new(vec![mount(1, "/", "ext4"), mount(2, "/home", "nfs4")]);
        assert!(is_local(&local, Path::new(MACHINE_ID)));
        assert!(!is_local(&local, Path::new("/home/machine-id")));
        assert!(!is_local(&MountTable::new(vec![mount(1, "/", "nfs4")]), Path::new(MACHINE_ID)));
        assert!(!is_local(&MountTable::default(), Path::new(MACHINE_ID)));
    }
}
