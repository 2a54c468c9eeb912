//! Mount points as people write them. No mount is touched: what is said of paths is said of their text.

use crate::render::escape::escape_os;
use platform::{Mount, MountTable};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The path that this argument means, from its text alone: the file system is never asked, for it may hang. `..`
/// takes away the name before it, and symbolic links are not followed.
#[must_use]
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

/// The mounts that are to be checked: those at these mount points (as [`resolve`] makes them), or all; of them what
/// the filter admits. An argument that leads to no mount is an error, one line each.
pub fn select(
    table: &MountTable,
    wanted: &[PathBuf],
    admits: impl Fn(&Mount) -> bool,
) -> Result<Vec<Arc<Mount>>, Vec<String>> {
    let errors: Vec<String> = wanted.iter().filter_map(|path| why_not(table, path, &admits)).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let named = |mount: &&Arc<Mount>| wanted.is_empty() || wanted.contains(&mount.mountpoint);
    Ok(table.iter().filter(named).filter(|mount| admits(mount)).cloned().collect())
}

/// What is wrong with this argument, if anything is.
fn why_not(table: &MountTable, path: &Path, admits: &impl Fn(&Mount) -> bool) -> Option<String> {
    let mut here = table.iter().filter(|mount| mount.mountpoint == path).peekable();
    if here.peek().is_some() {
        return (!here.any(|mount| admits(mount))).then(|| {
            format!("{} is excluded by the include and exclude options or a rule", escape_os(path))
        });
    }
    let around = table.iter().map(|mount| &mount.mountpoint).filter(|mount| path.starts_with(mount));
    let advice = match around.max_by_key(|mount| mount.as_os_str().len()) {
        Some(mount) => format!("it lies in the mount {}, check that one", escape_os(mount)),
        None => "no mount contains it".to_owned(),
    };
    Some(format!("{} is no mount point (links are not followed); {advice}", escape_os(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;
    use crate::config::{Filter, name_regex};
    use proptest::prelude::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    proptest! {
        #[test]
        fn resolving_gives_a_clean_absolute_path(argument: Vec<u8>) {
            let path = resolve(Path::new("/a/b"), Path::new(OsStr::from_bytes(&argument)));
            prop_assert!(path.is_absolute());
            prop_assert!(path.components().skip(1).all(|c| matches!(c, Component::Normal(_))));
            prop_assert_eq!(resolve(Path::new("/"), &path), path);
        }
    }

    #[test]
    fn arguments_are_resolved_by_their_text() {
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
    fn selecting() {
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
                "/mnt/x/deep/er is no mount point (links are not followed); it lies in the mount /mnt/x, check that one".to_owned(),
                "/mnt/xy is no mount point (links are not followed); it lies in the mount /, check that one".to_owned(),
                "/proc is excluded by the include and exclude options or a rule".to_owned(),
            ])
        );
    }
}
