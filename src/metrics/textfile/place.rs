//! May this path be written? Not if it lies on a mount that is watched because it may hang. Told from the mount table
//! alone: the path itself is never asked.

use crate::monitor::{Health, Status};
use crate::report::escape::escape_os;
use platform::{FsKind, Mount, MountTable, MountWatch, OWN_MOUNT_TABLE};
use std::path::Path;

/// Why this path is not to be written, if so. `watched` tells which mounts are.
pub fn refusal(table: &MountTable, watched: impl Fn(&Mount) -> bool, path: &Path) -> Option<String> {
    let mount = around(table.iter().map(|mount| &**mount), path)?;
    (may_hang(mount) && watched(mount)).then(|| {
        format!(
            "it lies on {} ({}), which is watched because it may hang",
            escape_os(&mount.mountpoint),
            escape_os(&mount.fstype)
        )
    })
}

/// The same at a later moment, when what is watched is known. Mounts that are not watched are not in it: only if a
/// watched one is in the way is the whole table asked.
pub(super) fn refusal_now(path: &Path, status: &Status) -> Option<String> {
    let visible = status.mounts.iter().filter(|mount| mount.health != Health::Hidden);
    let suspect = around(visible.map(|mount| &*mount.mount), path).filter(|mount| may_hang(mount))?;
    let whole = MountWatch::open(OWN_MOUNT_TABLE.as_ref()).and_then(|mut watch| watch.read()).ok();
    let is_suspect = |mount: &Mount| mount.key == suspect.key;
    match whole {
        Some(table) => refusal(&table, is_suspect, path),
        None => refusal(&MountTable::new(vec![suspect.clone().into()]), is_suspect, path),
    }
}

/// The mount that this path leads to: the one with the longest mount point; of two on one place the later, which
/// covers the earlier.
fn around<'a>(mounts: impl Iterator<Item = &'a Mount>, path: &Path) -> Option<&'a Mount> {
    // The file itself is not a mount point that counts: it is its folder that is written.
    let folder = path.parent()?;
    let over = mounts.filter(|mount| folder.starts_with(&mount.mountpoint));
    over.max_by_key(|mount| mount.mountpoint.as_os_str().len())
}

fn may_hang(mount: &Mount) -> bool {
    match mount.kind() {
        FsKind::Network | FsKind::Fuse => true,
        FsKind::Autofs | FsKind::Local => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use std::sync::Arc;

    #[test]
    fn the_longest_mount_point_decides() {
        let made = |(key, path, fstype): (u64, &str, &str)| {
            Arc::new(Mount { fstype: fstype.into(), ..mount(key, path) })
        };
        let table = [
            (1, "/", "ext4"),
            (2, "/home", "nfs4"),
            (3, "/home/local", "xfs"),
            (4, "/fuse", "fuse.sshfs"),
            (5, "/covered", "nfs4"),
            (6, "/covered", "tmpfs"),
            (7, "/skipped", "nfs4"),
        ];
        let table = MountTable::new(table.into_iter().map(made).collect());
        for (path, refused) in [
            ("/var/lib/x.prom", false),
            ("/home/x.prom", true),
            ("/home/a/b/x.prom", true),
            ("/homely/x.prom", false),
            ("/home", false),
            ("/home/local/x.prom", false),
            ("/fuse/x.prom", true),
            ("/covered/x.prom", false),
            ("/skipped/x.prom", false),
        ] {
            let refusal = refusal(&table, |mount| mount.key.0 != 7, Path::new(path));
            assert_eq!(refusal.is_some(), refused, "{path}: {refusal:?}");
        }
        let reason = refusal(&table, |_| true, Path::new("/fuse/x.prom")).unwrap();
        assert_eq!(reason, "it lies on /fuse (fuse.sshfs), which is watched because it may hang");
    }
}
