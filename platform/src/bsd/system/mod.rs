//! The calls themselves.

mod events;
#[cfg(test)]
mod facts;
mod files;
mod own;
mod probe_calls;

use super::record::{Flag, Record, text};
use super::watch::{System, Watch};
use crate::{Changes, Mount, MountTable};
use events::Events;
use mio::{Interest, Registry, Token, event::Source};
use std::ffi::c_int;
use std::io;
use std::path::Path;
use std::ptr::null_mut;

pub use crate::portable::evidence;
pub use crate::portable::namespace::{FoundNamespace, MountNamespace};
pub(crate) use crate::portable::process;
pub use files::FileWatch;
pub use own::process_stats;
pub use probe_calls::probe;

#[cfg(target_os = "freebsd")]
use super::record::FREEBSD_FLAGS as FLAGS;
#[cfg(target_os = "macos")]
use super::record::MACOS_FLAGS as FLAGS;

/// How `getfsstat` takes the size of the buffer.
#[cfg(target_os = "macos")]
type Size = c_int;
#[cfg(target_os = "freebsd")]
type Size = std::ffi::c_long;

/// What the mount table is called where it has no path.
pub const OWN_MOUNT_TABLE: &str = "getfsstat";
/// What an operator could look after when it cannot be read.
pub const MOUNT_TABLE_HINT: &str = "the system has no more memory or descriptors";
/// Where the configuration file is looked for unless the daemon is told otherwise: on FreeBSD beside those of all
/// programs that are not of the system (hier(7)).
#[cfg(target_os = "freebsd")]
pub const DEFAULT_CONFIG: &str = "/usr/local/etc/mount_status_monitor/config.toml";
/// Where the configuration file is looked for unless the daemon is told otherwise.
#[cfg(target_os = "macos")]
pub const DEFAULT_CONFIG: &str = "/etc/mount_status_monitor/config.toml";
/// Where the daemon has its socket unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/mount_status_monitor.sock";
/// The call that asks for attributes.
pub(crate) const ATTRIBUTES_CALL: &str = "lstat";

/// Is it there for the system alone, so that its coming and going is nothing to tell people of?
pub(crate) fn is_system_internal(mount: &Mount) -> bool {
    cfg!(target_os = "macos") && super::fstype::belongs_to_macos(mount)
}

/// The mount table of this system and the event that it changed.
#[derive(Debug)]
pub struct MountWatch(Watch<Kernel>);

impl MountWatch {
    /// Opens the system's table; there is but one, so the name says nothing.
    ///
    /// # Errors
    /// Those of `kqueue(2)`.
    pub fn open(_: &Path) -> io::Result<MountWatch> {
        Ok(MountWatch(Watch::over(Kernel::new()?)))
    }

    /// Reads the whole table. Entries that did not change are the same `Arc` as in the reading before.
    ///
    /// # Errors
    /// Those of `getfsstat(2)`; more mounts than there may be.
    pub fn read(&mut self) -> io::Result<MountTable> {
        self.0.read()
    }

    /// The same: there is no cheaper way.
    ///
    /// # Errors
    /// As [`MountWatch::read`].
    pub fn refresh(&mut self) -> io::Result<MountTable> {
        self.0.read()
    }

    /// Does the last reading lack anything? No.
    #[must_use]
    pub fn full_read_due(&self) -> bool {
        false
    }

    /// What the kernel has to say since the last call: to be called after each event. Never waits.
    pub fn take_changes(&mut self) -> Changes {
        self.0.take_changes()
    }
}

impl Source for MountWatch {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.system.events.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.system.events.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.system.events.deregister(registry)
    }
}

/// `getfsstat`, and where its changes are heard of.
#[derive(Debug)]
struct Kernel {
    events: Events,
}

impl Kernel {
    fn new() -> io::Result<Kernel> {
        Ok(Kernel { events: Events::new()? })
    }
}

impl System for Kernel {
    fn flags(&self) -> &'static [Flag] {
        &FLAGS
    }

    fn count(&mut self) -> io::Result<usize> {
        // SAFETY: without a buffer nothing is written: the mounts are counted.
        let count = checked(unsafe { libc::getfsstat(null_mut(), 0, libc::MNT_NOWAIT) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// By `MNT_NOWAIT`, what the kernel remembers of each: no file system is asked.
    fn list(&mut self, room: usize) -> io::Result<Vec<Record>> {
        let mut found: Vec<libc::statfs> = Vec::with_capacity(room);
        let size = Size::try_from(room * size_of::<libc::statfs>()).unwrap_or(Size::MAX);
        // SAFETY: the buffer has room for as many bytes as are said, or more.
        let count = checked(unsafe { libc::getfsstat(found.as_mut_ptr(), size, libc::MNT_NOWAIT) })?;
        // SAFETY: so many entries were written, which are never more than there is room for.
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
    // SAFETY: `fsid_t` is two numbers of 32 bits, whose field libc keeps to itself; the sizes are compared here.
    unsafe { std::mem::transmute::<libc::fsid_t, [i32; 2]>(found.f_fsid) }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
