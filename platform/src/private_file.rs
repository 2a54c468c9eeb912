//! Files that nobody else may have written.

use crate::remedy::try_lock;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// For the user of this process only.
const MODE: u32 = 0o600;
/// Permissions of others to write.
const OTHERS_WRITE: u32 = 0o022;

/// Reads a regular file of this user, of at most this size. A link is not followed.
///
/// # Errors
/// Those of reading; `InvalidData` for any other file.
pub fn read_private(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // A pipe does not block.
    let file = options().read(true).open(path)?;
    check_private(&file)?;
    let refused = |why: String| Err(io::Error::new(ErrorKind::InvalidData, why));
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return refused(format!("it is larger than {} KiB", limit >> 10));
    }
    Ok(bytes)
}

fn check_private(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let refused = |why: String| Err(io::Error::new(ErrorKind::InvalidData, why));
    if !found.is_file() {
        return refused("it is not a regular file".to_owned());
    }
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return refused(format!("it belongs to user {}", found.uid()));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return refused(format!("others may write it (mode {:o})", found.mode() & 0o7777));
    }
    Ok(())
}

/// Gives a file that lies in memory this size, and the memory. Writing to it then waits for no storage and needs no room.
/// Returns its bytes, or `None` for any other file, or without enough memory.
#[cfg(target_os = "linux")]
#[must_use]
pub fn reserve_in_memory(file: &File, size: u64) -> Option<Vec<u8>> {
    use nix::fcntl::{FallocateFlags, fallocate};
    use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
    use std::os::unix::fs::FileExt as _;
    check_private(file).ok()?;
    let is_in_memory = fstatfs(file).ok()?.filesystem_type() == TMPFS_MAGIC;
    let length = libc::off_t::try_from(size).ok().filter(|_| is_in_memory)?;
    fallocate(file, FallocateFlags::empty(), 0, length).ok()?;
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

/// Other systems have no file that is known to lie in memory.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn reserve_in_memory(_: &File, _: u64) -> Option<Vec<u8>> {
    None
}

/// Locks a file (flock(2)) until it and its copies are closed, and makes it if it does not exist. `None` if another
/// process has the lock.
///
/// # Errors
/// Those of `open(2)` and `flock(2)`.
pub fn lock_private(path: &Path) -> io::Result<Option<File>> {
    let file = options().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
    Ok(try_lock(&file)?.then_some(file))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}
