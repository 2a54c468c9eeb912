//! What the standard library does not say about files.

use nix::sys::statvfs::{FsFlags, statvfs};
use std::path::Path;

/// Whether the mount that a path leads to is read-only. May hang.
#[must_use]
pub fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

/// The user whose rights this process has.
#[must_use]
pub fn user_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The id of a group; none if there is no such group. May hang: groups may come from a directory service.
///
/// # Errors
/// Those of `getgrnam_r(3)`.
pub fn group_id(name: &str) -> std::io::Result<Option<u32>> {
    Ok(nix::unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()))
}
