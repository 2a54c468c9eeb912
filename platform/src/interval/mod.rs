//! The fallback: the mount table is read again on a timer, and all else is done by portable calls. For kernels and
//! sandboxes that tell of no changes; and it makes Linux run on everything that macOS and FreeBSD have no other way for.

#[path = "../linux/fstype.rs"]
mod fstype;
#[path = "../linux/mountinfo.rs"]
pub mod mountinfo;

mod files;
mod watch;

/// The calls that ask one file system for a sign of life.
pub mod probe {
    use crate::portable::probe::{Answer, Calls, lstat, probe_mount as probe_by};
    use crate::{Call, Errno, ProbeOutcome, Target, Usage};
    use nix::sys::statvfs::{FsFlags, statvfs};
    use std::ffi::CStr;

    pub use crate::portable::probe::is_current_user;

    /// Asks the mount for a sign of life; may never return. `on_call` is told of each call right before it is made.
    pub fn probe_mount(target: &Target, on_call: impl Fn(Call)) -> ProbeOutcome {
        probe_by(&Posix, target, on_call)
    }

    /// As [`probe_mount`]: no portable call makes one thread somebody else, so a mount that answers its owner alone refuses us.
    pub fn probe_as_owner(target: &Target, _owner: (u32, u32), on_call: impl Fn(Call)) -> ProbeOutcome {
        probe_mount(target, on_call)
    }

    struct Posix;

    impl Calls for Posix {
        fn lstat(&self, path: &CStr) -> Result<(), Errno> {
            lstat(path)
        }

        #[allow(clippy::unnecessary_cast)] // the widths of these fields differ between systems
        fn statfs(&self, path: &CStr) -> Result<Answer, Errno> {
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
            Ok(Answer { usage, from: None })
        }
    }
}

pub use crate::portable::evidence;
pub use crate::portable::namespace::{FoundNamespace, MountNamespace};
pub(crate) use crate::portable::process;
pub use files::FileWatch;
pub(crate) use fstype::kind_of;
pub use watch::{MountWatch, OWN_MOUNT_TABLE};

/// What an operator could look after when the mount table cannot be read.
pub const MOUNT_TABLE_HINT: &str = "is /proc mounted?";
/// Where the configuration file is looked for unless the daemon is told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/mount_status_monitor/config.toml";
/// Where the daemon has its socket unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/mount_status_monitor.sock";
/// The call that asks for attributes.
pub(crate) const ATTRIBUTES_CALL: &str = "lstat";

/// What this process uses: no portable call tells enough of it.
#[must_use]
pub fn process_stats() -> Option<crate::ProcessStats> {
    None
}

/// Is it there for the system alone? Not known here.
pub(crate) fn is_system_internal(_: &crate::Mount) -> bool {
    false
}
