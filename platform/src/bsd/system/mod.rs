//! The system calls.

mod events;
#[cfg(test)]
mod facts;
mod files;
mod probe_calls;
mod process_stats;

use super::record::{Flag, Record, text};
use super::watch::{System, Watch};
use crate::portable::whole_table_only;
use crate::{Changes, Mount, MountSource, MountTable, MountTree};
use events::Events;
use mio::Interest;
use std::ffi::c_int;
use std::io;
use std::path::Path;
use std::ptr::null_mut;

pub use crate::portable::evidence;
pub use crate::portable::listeners::{adopt_listener, hang_up_listener, listener_owners};
pub use crate::portable::namespace::MountNamespace;
pub(crate) use crate::portable::process;
pub(crate) use crate::portable::remedy;
pub(crate) use crate::portable::signs;
pub use files::FileWatch;
pub use probe_calls::probe;
pub use process_stats::process_stats;

#[cfg(target_os = "freebsd")]
use super::record::FREEBSD_FLAGS as FLAGS;
#[cfg(target_os = "macos")]
use super::record::MACOS_FLAGS as FLAGS;

/// The type of the buffer size of `getfsstat`.
#[cfg(target_os = "macos")]
type Size = c_int;
#[cfg(target_os = "freebsd")]
type Size = std::ffi::c_long;

/// The mount table is not a file here.
pub const OWN_MOUNT_TABLE: &str = "getfsstat";
/// What to check when it cannot be read.
pub const MOUNT_TABLE_HINT: &str = "the system has no more memory or descriptors";
/// The directory for programs that are not part of the system (hier(7)).
#[cfg(target_os = "freebsd")]
pub const DEFAULT_CONFIG: &str = "/usr/local/etc/mount_status_monitor/config.toml";
#[cfg(target_os = "macos")]
pub const DEFAULT_CONFIG: &str = "/etc/mount_status_monitor/config.toml";
pub const DEFAULT_SOCKET: &str = "/var/run/mount_status_monitor/socket";
/// Where a daemon listens that was configured for earlier versions.
pub const EARLIER_SOCKET: &str = "/var/run/mount_status_monitor.sock";
pub(crate) const ATTRIBUTES_CALL: &str = "lstat";

pub(crate) fn is_system_internal(mount: &Mount) -> bool {
    cfg!(target_os = "macos") && super::fstype::belongs_to_macos(mount)
}

/// The mount table of this system, and an event when it changes.
#[derive(Debug)]
pub struct MountWatch(Watch<Kernel>);

impl MountWatch {
    /// Opens the system's only table; the path is ignored, and there is only one way to read it.
    ///
    /// # Errors
    /// Those of `kqueue(2)`.
    pub fn open(_: &Path, _: MountSource) -> io::Result<MountWatch> {
        Ok(MountWatch(Watch::new(Kernel { events: Events::new()? })))
    }

    /// Reads the whole table. Unchanged entries are those of `known`.
    ///
    /// # Errors
    /// Those of `getfsstat(2)`; too many mounts.
    pub fn read(&mut self, known: &MountTree) -> io::Result<MountTable> {
        self.0.read(known)
    }

    /// Returns what an event means. Must be called after each event. Never blocks.
    pub fn take_changes(&mut self) -> Changes {
        self.0.take_changes()
    }
}

whole_table_only!(MountWatch);
impl_source!(MountWatch, |watch| watch.0.system.events, Interest::READABLE);

/// `getfsstat`, and the source of its changes.
#[derive(Debug)]
struct Kernel {
    events: Events,
}

impl System for Kernel {
    fn flags(&self) -> &'static [Flag] {
        &FLAGS
    }

    fn count(&mut self) -> io::Result<usize> {
        // SAFETY: without a buffer nothing is written; the mounts are counted.
        let count = checked(unsafe { libc::getfsstat(null_mut(), 0, libc::MNT_NOWAIT) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// With `MNT_NOWAIT` the kernel returns what it has cached and sends no request to a file system.
    fn list(&mut self, room: usize) -> io::Result<Vec<Record>> {
        let mut found: Vec<libc::statfs> = Vec::with_capacity(room);
        let size = Size::try_from(room * size_of::<libc::statfs>()).unwrap_or(Size::MAX);
        // SAFETY: the buffer has room for at least `size` bytes.
        let count = checked(unsafe { libc::getfsstat(found.as_mut_ptr(), size, libc::MNT_NOWAIT) })?;
        // SAFETY: `count` entries were written, at most `room`.
        unsafe { found.set_len(usize::try_from(count).unwrap_or(0).min(room)) };
        Ok(found.iter().map(record).collect())
    }

    fn event(&mut self) -> io::Result<Option<u32>> {
        self.events.next()
    }
}

#[allow(clippy::unnecessary_cast)] // the width of the flags differs
fn record(found: &libc::statfs) -> Record {
    Record {
        fsid: fsid(found),
        flags: found.f_flags as u64,
        fstype: text(&found.f_fstypename),
        mountpoint: text(&found.f_mntonname),
        device: text(&found.f_mntfromname),
    }
}

fn fsid(found: &libc::statfs) -> [i32; 2] {
    // SAFETY: `fsid_t` is two 32-bit integers in a field that libc keeps private; transmute compares the sizes.
    unsafe { std::mem::transmute::<libc::fsid_t, [i32; 2]>(found.f_fsid) }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
