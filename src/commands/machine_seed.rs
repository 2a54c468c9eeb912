//! What keeps this machine apart from the thousands that were installed and started together with it.

use platform::{FsKind, MACHINE_ID, MountTable, machine_id, mount_containing};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The seed of this machine, the same after each start: from its machine id and its name, for machines and containers
/// that were made from one image may share the one or the other. Never 0, which stands for none.
pub(super) fn seed(table: &MountTable) -> u64 {
    let id = if is_safe(table, Path::new(MACHINE_ID)) { machine_id() } else { None };
    let name = hostname::get().unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(id.unwrap_or_default());
    hash.update([0]);
    hash.update(name.as_encoded_bytes());
    let digest = hash.finalize();
    let first = digest.first_chunk().copied().map_or(1, u64::from_le_bytes);
    first.max(1)
}

/// Can nothing hang where this file is? Told from the mount table alone.
fn is_safe(table: &MountTable, file: &Path) -> bool {
    mount_containing(table.iter().map(|mount| &**mount), file)
        .is_some_and(|mount| mount.kind() == FsKind::Local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use platform::Mount;
    use std::sync::Arc;

    #[test]
    fn a_file_is_read_only_where_nothing_hangs() {
        let made =
            |key, path: &str, fstype: &str| Arc::new(Mount { fstype: fstype.into(), ..mount(key, path) });
        let local = MountTable::new(vec![made(1, "/", "ext4"), made(2, "/home", "nfs4")]);
        assert!(is_safe(&local, Path::new(MACHINE_ID)));
        assert!(!is_safe(&local, Path::new("/home/machine-id")));
        assert!(!is_safe(&MountTable::new(vec![made(1, "/", "nfs4")]), Path::new(MACHINE_ID)));
        assert!(!is_safe(&MountTable::default(), Path::new(MACHINE_ID)));
    }

    #[test]
    fn a_machine_has_the_same_seed_each_time() {
        let table = MountTable::new(vec![Arc::new(mount(1, "/"))]);
        assert_eq!(seed(&table), seed(&table));
        assert_ne!(seed(&table), 0);
    }
}
