//! A path from the root to its end, through symbolic links.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

/// The limit of the kernel (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Follows an absolute path as far as it exists. `visit` is called before each part is looked at, and returns whether to
/// go on; `found` gets each part: folders, links, and what is at the end. Returns the path without links; what was not
/// looked at is as it was written.
pub(super) fn walk(
    path: &Path,
    mut visit: impl FnMut(&Path) -> bool,
    mut found: impl FnMut(&Path, &Metadata),
) -> io::Result<PathBuf> {
    let mut resolved = PathBuf::from("/");
    let mut rest = names(path);
    let mut links = 0;
    if visit(&resolved) {
        found(&resolved, &fs::symlink_metadata(&resolved)?);
    }
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        if !visit(&next) {
            return Ok(append(next, rest));
        }
        let metadata = match fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(append(next, rest)),
            Err(error) => return Err(error),
        };
        found(&next, &metadata);
        if !metadata.is_symlink() {
            resolved = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other("too many levels of symbolic links"));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            rest.push_front(name);
        }
    }
    Ok(resolved)
}

fn append(mut path: PathBuf, rest: VecDeque<OsString>) -> PathBuf {
    path.extend(rest);
    path
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_as_the_kernel_does() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let follow = |path: &str| walk(&root.join(path), |_| true, |_, _| {});
        fs::create_dir_all(root.join("real/sub")).unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink(root.join("link/sub"), root.join("absolute")).unwrap();
        symlink("../link/./sub/..", root.join("real/dots")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, resolved) in [
            ("link/sub", "real/sub"),
            ("absolute", "real/sub"),
            ("real/dots/sub", "real/sub"),
            ("link/missing/more", "real/missing/more"),
        ] {
            assert_eq!(follow(path).unwrap(), root.join(resolved), "{path}");
        }
        assert!(follow("loop").is_err());
        let stop_at = root.join("real");
        let stopped = walk(&root.join("link/dots/x"), |path| path != stop_at, |_, _| {});
        assert_eq!(stopped.unwrap(), root.join("real/dots/x"), "not looked at");
    }
}
