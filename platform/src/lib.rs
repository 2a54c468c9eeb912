//! What the monitor asks of the operating system, and the only home of `unsafe`, libc and `cfg(target_os)`.
//!
//! # The contract
//! Each system provides, with equal names and shapes:
//! * [`MountWatch`]: the mount table, read whole, and a [`mio`] event source that becomes ready when it changes; what an
//!   event means is in [`Changes`]. Reading it never asks a file system anything, so it cannot hang.
//!   `OWN_MOUNT_TABLE` names the usual one, `MOUNT_TABLE_HINT` what to look after when it cannot be read.
//! * [`MountNamespace`]: one that is not our own, where the system has such: its table, its end, and how probers get in.
//! * [`probe`]: the calls that ask one file system for a sign of life. They may hang for ever and are made only in
//!   the prober process.
//! * [`process`]: starting a child that shares nothing with us but one channel, killing it, and learning of its end.
//! * [`collect`]: what the kernel tells about a dead mount without touching it; may be slow, so
//!   it is read in a process of its own.
//! * [`FileWatch`]: a [`mio`] event source that tells that files of ours changed (configuration, fstab).
//! * [`command`]: starting a program of the operator with two pipes, and ending it with all that it has started.
//! * [`process_stats`]: what this process takes of the machine, as far as the system tells.
//! * `kind_of`, `is_quiet` (of a type, of a mount; used by [`Mount`]), `ATTRIBUTES_CALL` (used by [`Call`]).
//! * `DEFAULT_SOCKET`, `DEFAULT_CONFIG`: where the daemon has its socket and its configuration file.
//! * [`service`]: the service manager that started us, told without ever waiting for it.
//!
//! What is the same everywhere (the shape of a mount, error numbers, unmounting) is in the plain modules.
//!
//! # The systems
//! * `linux`: mountinfo, `listmount`/`statmount`, `statx`.
//! * `bsd`: macOS and FreeBSD, with `getfsstat`, kqueue and `lstat`; of its own it has only few calls, the rest is plain
//!   or shared in `portable`.
//! * `interval`: a timer and portable calls, on Linux with the feature of that name. (On macOS and FreeBSD the feature
//!   replaces the kernel's events by a timer.)

mod changes;
mod errno;
pub mod evidence;
mod machine;
mod mount;
mod mount_table;
mod probing;
pub mod process;
mod process_stats;
pub mod service;
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

pub use changes::Changes;
pub use errno::Errno;
pub use machine::{MACHINE_ID, machine_id};
pub use mount::{DeviceNumber, FsKind, Mount, MountKey};
pub use mount_table::{MountTable, mount_containing};
pub use probing::{Call, ProbeOutcome, Target, Usage};
pub use process::command;
pub use process_stats::ProcessStats;
pub use system::evidence as collect;
#[cfg(target_os = "linux")]
pub use system::mountinfo;
pub use system::{DEFAULT_CONFIG, DEFAULT_SOCKET, FileWatch, MOUNT_TABLE_HINT, MountWatch, OWN_MOUNT_TABLE};
pub use system::{FoundNamespace, MountNamespace};
pub use system::{probe, process_stats};
pub use unmount::{Unmount, unmount};
