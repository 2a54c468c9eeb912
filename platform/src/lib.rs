//! Everything that the monitor needs from the operating system. Only this crate contains `unsafe`, libc and
//! `cfg(target_os)`.
//!
//! # The contract
//! Each back-end provides, with equal names and shapes:
//! * [`MountWatch`]: the mount table and a [`mio`] event source that is ready when it changes; [`Changes`] says what
//!   an event means. The whole table is read, or what has changed since a [`MountTree`]. Reading never sends a request
//!   to a file system, so it cannot hang. `OWN_MOUNT_TABLE` names the usual table, `MOUNT_TABLE_HINT` says what to check
//!   when it cannot be read.
//! * [`MountNamespace`]: another mount namespace, where the system has them: its table, its end, and a descriptor for
//!   probers.
//! * [`probe`]: the calls that probe one file system. They may never return and are made only in a prober.
//!   `probe::READS_AND_WRITES` says whether it has data-path probes.
//! * `process`: the channel to a child and what a child does first, below [`process`]; running from memory and the
//!   launcher, where the system has what they need.
//! * [`collect`]: what the kernel knows about a dead mount without touching it; slow, so it is read in a collector.
//! * [`signs`]: requests that wait for a FUSE or NFS server, where the kernel shows them; read in a child.
//! * [`FileWatch`]: a [`mio`] event source that reports changes of our own files (configuration, fstab).
//! * [`process_stats`]: the resources that this process uses, as far as the system reports them.
//! * [`listener_owners`]: who listens on a TCP port, as far as the system tells it; [`hang_up_listener`]: SIGHUP for the
//!   process at the other end of a Unix socket.
//! * `remedy`: the calls that change a dead mount, made only in a child; below [`remedy`].
//! * `kind_of` and `is_system_internal` for [`Mount`], `ATTRIBUTES_CALL` for [`Call`].
//! * `DEFAULT_SOCKET`, `DEFAULT_CONFIG`: the default paths of the daemon.
//!
//! Code shared by all systems is in the other modules.
//!
//! # The back-ends
//! * `linux`: fanotify, `listmount`/`statmount`, mountinfo, `statx`.
//! * `bsd`: macOS and FreeBSD, with `getfsstat`, kqueue and `lstat`. It has few calls of its own; the rest is in
//!   `portable`.
//! * `interval`: a timer and portable calls, on Linux with the feature of that name. (On macOS and FreeBSD the feature
//!   replaces the kernel's events by a timer.)

/// Implements [`mio::event::Source`] by delegating to another source, always with the same interest.
macro_rules! impl_source {
    ($type:ty, |$this:ident| $source:expr, $interest:expr) => {
        impl mio::event::Source for $type {
            fn register(
                &mut self,
                registry: &mio::Registry,
                token: mio::Token,
                _: mio::Interest,
            ) -> std::io::Result<()> {
                let $this = self;
                mio::event::Source::register(&mut $source, registry, token, $interest)
            }

            fn reregister(
                &mut self,
                registry: &mio::Registry,
                token: mio::Token,
                _: mio::Interest,
            ) -> std::io::Result<()> {
                let $this = self;
                mio::event::Source::reregister(&mut $source, registry, token, $interest)
            }

            fn deregister(&mut self, registry: &mio::Registry) -> std::io::Result<()> {
                let $this = self;
                mio::event::Source::deregister(&mut $source, registry)
            }
        }
    };
}

mod boot;
mod changes;
mod errno;
pub mod evidence;
mod files;
mod heap;
mod machine;
mod mount;
mod mount_table;
mod mount_tree;
mod private_file;
mod probing;
pub mod process;
mod process_stats;
pub mod remedy;
pub mod service;
mod shared_name;
pub mod signs;
mod suspended;
mod table_update;
mod unmount;

#[cfg(any(test, feature = "interval", not(target_os = "linux")))]
#[cfg_attr(not(feature = "interval"), allow(dead_code, unreachable_pub))] // on Linux for its tests alone
mod portable;

#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(target_os = "linux", allow(dead_code))] // for its tests alone
mod bsd;
#[cfg(all(target_os = "linux", feature = "interval"))]
mod interval;
#[cfg(all(target_os = "linux", not(feature = "interval")))]
mod linux;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use bsd as system;
#[cfg(all(target_os = "linux", feature = "interval"))]
use interval as system;
#[cfg(all(target_os = "linux", not(feature = "interval")))]
use linux as system;
#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "freebsd")))]
compile_error!("there is no back-end for this system yet: see the contract above");

pub use boot::{boot_id, monotonic_time};
pub use changes::Changes;
pub use errno::Errno;
pub use files::{group_id, is_read_only, user_id};
pub use heap::limit_heap;
pub use machine::{MACHINE_ID, machine_id, own_file};
pub use mount::{DeviceNumber, FsKind, Mount, MountKey, ShortenedNames, User};
pub use mount_table::{MountTable, mount_containing};
pub use mount_tree::MountTree;
pub use private_file::{lock_private, read_private, reserve_in_memory};
pub use probing::{Call, DataKind, DataProbe, MAX_DATA_PATH, ProbeOutcome, Target, Usage};
pub use process::command;
pub use process_stats::ProcessStats;
pub use shared_name::{SharedName, SharedPath};
pub use suspended::time_suspended;
pub use system::evidence as collect;
#[cfg(target_os = "linux")]
pub use system::mountinfo;
pub use system::{DEFAULT_CONFIG, DEFAULT_SOCKET, EARLIER_SOCKET, MOUNT_TABLE_HINT, OWN_MOUNT_TABLE};
pub use system::{
    FileWatch, MountNamespace, MountWatch, adopt_listener, hang_up_listener, listener_owners, probe,
    process_stats,
};
pub use table_update::{MountSource, TableChange, TableChanges, TableUpdate};
pub use unmount::{Unmount, unmount};
