//! Mounts that are made at a private place and then moved to the mount point: nobody writes into the directory underneath
//! meanwhile. libc lacks the newer constants; they are those of `include/uapi/linux/mount.h`.

use super::PinnedMount;
use crate::MountKey;
use linux_raw_sys::general as raw;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::ffi::{CStr, CString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The source of the mounts that are made here, as the mount table shows it.
const OWN_SOURCE: &str = "mount_status_monitor";

/// A directory in which mounts are made that no other mount namespace sees: an empty tmpfs without propagation.
#[derive(Debug)]
pub struct PrivatePlace {
    directory: PathBuf,
}

impl PrivatePlace {
    /// Makes the directory and the tmpfs. What an earlier attempt left there is removed.
    ///
    /// # Errors
    /// Those of `mkdir(2)` and `mount(2)`.
    pub fn make(directory: &Path) -> io::Result<PrivatePlace> {
        PrivatePlace::remove(directory)?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let none = None::<&str>;
        mount(Some(OWN_SOURCE), directory, Some("tmpfs"), flags, Some("mode=700,size=64k"))?;
        // It is empty until here, so no other namespace gets more than this.
        mount(none, directory, none, MsFlags::MS_PRIVATE, none)?;
        Ok(PrivatePlace { directory: directory.to_owned() })
    }

    /// The mount point there for a mount that will be at `path`, which keeps its name: `mount --target-prefix`.
    ///
    /// # Errors
    /// Those of `mkdir(2)`.
    pub fn mount_point(&self, path: &Path) -> io::Result<PathBuf> {
        let inside = self.directory.join(path.strip_prefix("/").unwrap_or(path));
        fs::create_dir_all(&inside)?;
        Ok(inside)
    }

    /// Detaches what is at this place, with all mounts in it, and removes the directory. The mounts of other places stay.
    ///
    /// # Errors
    /// Those of `umount2(2)` and `rmdir(2)`.
    pub fn remove(directory: &Path) -> io::Result<()> {
        loop {
            match umount2(directory, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) => {}
                Err(nix::Error::EINVAL) => break, // not a mount point
                Err(nix::Error::ENOENT) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        fs::remove_dir(directory)
    }
}

/// An empty, read-only file system that nothing has attached yet.
#[derive(Debug)]
pub struct Placeholder(OwnedFd);

impl Placeholder {
    /// # Errors
    /// Those of `fsopen(2)`, `fsconfig(2)` and `fsmount(2)`.
    pub fn make() -> io::Result<Placeholder> {
        let context = descriptor(|| {
            // SAFETY: a NUL-terminated string and an integer.
            unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), raw::FSOPEN_CLOEXEC) }
        })?;
        let source = CString::new(OWN_SOURCE)?;
        let string = raw::fsconfig_command::FSCONFIG_SET_STRING;
        configure(&context, string, Some(c"source"), Some(&source))?;
        configure(&context, string, Some(c"mode"), Some(c"0555"))?;
        configure(&context, string, Some(c"size"), Some(c"4k"))?;
        configure(&context, raw::fsconfig_command::FSCONFIG_SET_FLAG, Some(c"ro"), None)?;
        configure(&context, raw::fsconfig_command::FSCONFIG_CMD_CREATE, None, None)?;
        let attributes =
            raw::MOUNT_ATTR_RDONLY | raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NODEV | raw::MOUNT_ATTR_NOEXEC;
        let mounted = descriptor(|| {
            let fd = context.as_raw_fd();
            // SAFETY: integer arguments only.
            unsafe { libc::syscall(libc::SYS_fsmount, fd, raw::FSMOUNT_CLOEXEC, attributes) }
        })?;
        Ok(Placeholder(mounted))
    }

    /// Attaches it at this path, on top of what is there.
    ///
    /// # Errors
    /// Those of `move_mount(2)`.
    pub fn attach(&self, path: &Path) -> io::Result<()> {
        move_to_path(self.0.as_fd(), path)
    }
}

fn configure(
    context: &OwnedFd,
    command: raw::fsconfig_command,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    let (fd, key, value) = (context.as_raw_fd(), pointer(key), pointer(value));
    // SAFETY: both strings are NUL-terminated or null.
    let done = unsafe { libc::syscall(libc::SYS_fsconfig, fd, command as libc::c_uint, key, value, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn descriptor(call: impl FnOnce() -> libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(call()).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Moves the mount with this unique id from its private place to `path`. False if the place has another mount.
///
/// # Errors
/// Those of `open(2)` and `move_mount(2)`.
pub fn move_in(place: &Path, key: MountKey, path: &Path) -> io::Result<bool> {
    let Some(new) = PinnedMount::open(place, key)? else { return Ok(false) };
    move_to_path(new.as_fd(), path).map(|()| true)
}

fn move_to_path(from: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    move_mount(from, libc::AT_FDCWD, &path, raw::MOVE_MOUNT_F_EMPTY_PATH)
}

fn move_mount(from: BorrowedFd<'_>, to: i32, path: &CStr, flags: u32) -> io::Result<()> {
    let (fd, empty) = (from.as_raw_fd(), c"".as_ptr());
    // SAFETY: NUL-terminated strings and integers.
    let done = unsafe { libc::syscall(libc::SYS_move_mount, fd, empty, to, path.as_ptr(), flags) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl PinnedMount {
    /// Moves the mount with this unique id from its private place beneath this one, which still covers it then. False if
    /// the place has another mount. If another mount is stacked on this one, the new mount comes between both.
    ///
    /// # Errors
    /// Those of `open(2)` and `move_mount(2)`: EINVAL where the kernel cannot (before 6.5) or propagation forbids it.
    pub fn move_beneath(&self, place: &Path, key: MountKey) -> io::Result<bool> {
        let Some(new) = PinnedMount::open(place, key)? else { return Ok(false) };
        let flags = raw::MOVE_MOUNT_F_EMPTY_PATH | raw::MOVE_MOUNT_T_EMPTY_PATH | raw::MOVE_MOUNT_BENEATH;
        move_mount(new.as_fd(), self.as_fd().as_raw_fd(), c"", flags).map(|()| true)
    }
}

/// Whether the kernel knows `MOVE_MOUNT_BENEATH`: an unknown flag is refused before the descriptors are looked at.
#[must_use]
pub fn moves_beneath() -> bool {
    // SAFETY: NUL-terminated strings and integers; no descriptor has the number -1.
    unsafe {
        libc::syscall(libc::SYS_move_mount, -1, c"".as_ptr(), -1, c"".as_ptr(), raw::MOVE_MOUNT_BENEATH)
    };
    io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
}
