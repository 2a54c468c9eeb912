//! The fallback: the mount table is read on a timer, and probes and processes use portable calls. For kernels and
//! sandboxes that report no changes of mounts, and to run on Linux what macOS and FreeBSD use from `portable`.

#[path = "../linux/file_watch.rs"]
mod file_watch;
#[path = "../linux/fstype.rs"]
mod fstype;
#[allow(dead_code)] // the other back-end also reads the table in pieces
#[path = "../linux/long_names.rs"]
mod long_names;
#[allow(dead_code)]
#[path = "../linux/mountinfo.rs"]
pub mod mountinfo;

mod watch;

/// The calls that probe one file system.
pub mod probe {
    use crate::portable::probe::{Calls, FsStats, lstat, probe_mount as probe_by};
    use crate::{Call, Errno, ProbeOutcome, Target, Usage};
    use nix::sys::statvfs::{FsFlags, statvfs};
    use std::ffi::{CStr, OsStr};

    pub use crate::portable::probe::{READS_AND_WRITES, may_search_every_directory, needs_own_thread};

    /// Probes the mount; may never return. `on_call` is called right before each call.
    pub fn probe_mount(target: &Target<impl AsRef<OsStr>>, on_call: impl Fn(Call)) -> ProbeOutcome {
        probe_by(&Posix, target, on_call)
    }

    /// Same as [`probe_mount`]: no portable call changes the identity of a single thread, so the mount refuses the probe.
    pub fn probe_in_own_thread(target: &Target<impl AsRef<OsStr>>, on_call: impl Fn(Call)) -> ProbeOutcome {
        probe_mount(target, on_call)
    }

    struct Posix;

    impl Calls for Posix {
        fn lstat(&self, path: &CStr) -> Result<(), Errno> {
            lstat(path)
        }

        #[allow(clippy::unnecessary_cast)] // the widths of these fields differ between architectures
        fn statfs(&self, path: &CStr) -> Result<FsStats, Errno> {
            let found = statvfs(path).map_err(|errno| Errno(errno as i32))?;
            let usage = Usage {
                block_size: found.fragment_size() as u64,
                blocks: found.blocks() as u64,
                free: found.blocks_free() as u64,
                available: found.blocks_available() as u64,
                files: found.files() as u64,
                files_free: found.files_free() as u64,
                read_only: found.flags().contains(FsFlags::ST_RDONLY),
            };
            Ok(FsStats { usage, mount: None })
        }
    }
}

pub use crate::portable::evidence;
pub use crate::portable::listeners::{adopt_listener, hang_up_listener, listener_owners};
pub use crate::portable::namespace::MountNamespace;
pub(crate) use crate::portable::process;
pub(crate) use crate::portable::remedy;
pub(crate) use crate::portable::signs;
pub use file_watch::FileWatch;
pub(crate) use fstype::kind_of;
pub use watch::{MountWatch, OWN_MOUNT_TABLE};

/// What to check when the mount table cannot be read.
pub const MOUNT_TABLE_HINT: &str = "is /proc mounted?";
pub const DEFAULT_CONFIG: &str = "/etc/mount_status_monitor/config.toml";
pub const DEFAULT_SOCKET: &str = "/run/mount_status_monitor/socket";
/// Where a daemon listens that was configured for earlier versions.
pub const EARLIER_SOCKET: &str = "/run/mount_status_monitor.sock";
pub(crate) const ATTRIBUTES_CALL: &str = "lstat";

/// `None`: portable calls do not return enough.
#[must_use]
pub fn process_stats() -> Option<crate::ProcessStats> {
    None
}

/// Not known here.
pub(crate) fn is_system_internal(_: &crate::Mount) -> bool {
    false
}
