//! Mount points named on the command line. They are resolved as text, without touching a file system.

use crate::render::escape::escape_os;
use platform::{Mount, MountTable};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The absolute path of an argument, without `.` and `..`. Symbolic links are not followed: that could hang.
pub fn resolve(current_directory: &Path, argument: &Path) -> PathBuf {
    let mut path = PathBuf::from("/");
    for component in current_directory.join(argument).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

/// The admitted mounts at these mount points (see [`resolve`]), or all admitted mounts if `mountpoints` is empty. The
/// error has one line for each mount point without an admitted mount.
pub fn select(
    table: &MountTable,
    mountpoints: &[PathBuf],
    admits: impl Fn(&Mount) -> bool,
) -> Result<Vec<Arc<Mount>>, Vec<String>> {
    let admitted = table.iter().filter(|mount| admits(mount));
    let is_named = |mount: &&Arc<Mount>| {
        mountpoints.is_empty() || mountpoints.iter().any(|path| mount.mountpoint == *path)
    };
    let selected: Vec<Arc<Mount>> = admitted.filter(is_named).cloned().collect();
    let without_mount =
        mountpoints.iter().filter(|path| !selected.iter().any(|mount| mount.mountpoint == **path));
    let errors = without_mount.map(|path| match table.iter().any(|mount| mount.mountpoint == *path) {
        true => format!("{} is excluded by the include and exclude options or a rule", escape_os(path)),
        false => not_a_mount_point(table, path),
    });
    let errors: Vec<String> = errors.collect();
    if errors.is_empty() { Ok(selected) } else { Err(errors) }
}

/// The error for a path that is not a mount point, with advice.
fn not_a_mount_point(table: &MountTable, path: &Path) -> String {
    let ancestors = table.iter().map(|mount| &mount.mountpoint).filter(|mount| path.starts_with(mount));
    let advice = match ancestors.max_by_key(|mount| mount.as_os_str().len()) {
        Some(mount) => format!("it is inside the mount {}, check that one", escape_os(mount)),
        None => "no mount contains it".to_owned(),
    };
    format!("{} is not a mount point (links are not followed); {advice}", escape_os(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Filter;
    use crate::config::testing::mount;
    use crate::config::values::name_regex;
    use proptest::prelude::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    proptest! {
        #[test]
        fn resolved_paths_are_absolute_and_clean(argument: Vec<u8>) {
            let path = resolve(Path::new("/a/b"), Path::new(OsStr::from_bytes(&argument)));
            prop_assert!(path.is_absolute());
            prop_assert!(path.components().skip(1).all(|c| matches!(c, Component::Normal(_))));
            prop_assert_eq!(resolve(Path::new("/"), &path), path);
        }
    }

    #[test]
    fn dots_are_removed_and_relative_paths_start_in_the_current_directory() {
        for (argument, path) in [
            ("/mnt/x", "/mnt/x"),
            ("/mnt//x/", "/mnt/x"),
            ("/mnt/./y/../x", "/mnt/x"),
            ("x", "/cwd/x"),
            (".", "/cwd"),
            ("../x/", "/x"),
            ("../../..", "/"),
            ("/", "/"),
        ] {
            assert_eq!(resolve(Path::new("/cwd"), Path::new(argument)), Path::new(path), "{argument}");
        }
    }

    #[test]
    fn named_mount_points_are_selected_and_others_explained() {
        let table = MountTable::new(vec![
            mount(1, "/", "ext4"),
            mount(2, "/mnt/x", "autofs"),
            mount(3, "/mnt/x", "nfs4"),
            mount(4, "/proc", "proc"),
        ]);
        let filter =
            Filter { fs_types_exclude: Some(name_regex("^(autofs|proc)$").unwrap()), ..Filter::default() };
        let keys = |wanted: &[&str]| {
            let wanted: Vec<PathBuf> = wanted.iter().map(PathBuf::from).collect();
            select(&table, &wanted, |mount| filter.admits(mount))
                .map(|mounts| mounts.iter().map(|m| m.key.0).collect::<Vec<_>>())
        };
        assert_eq!(keys(&[]), Ok(vec![1, 3]));
        assert_eq!(keys(&["/mnt/x"]), Ok(vec![3]));
        assert_eq!(keys(&["/mnt/x", "/"]), Ok(vec![1, 3]));
        assert_eq!(
            keys(&["/mnt/x/deep/er", "/mnt/xy", "/proc"]),
            Err(vec![
                "/mnt/x/deep/er is not a mount point (links are not followed); it is inside the mount /mnt/x, check that one".to_owned(),
                "/mnt/xy is not a mount point (links are not followed); it is inside the mount /, check that one".to_owned(),
                "/proc is excluded by the include and exclude options or a rule".to_owned(),
            ])
        );
    }
}
