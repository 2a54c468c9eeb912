//! What the monitor asks of the operating system, and the only home of `unsafe`, libc and `cfg(target_os)`.
//!
//! # The contract
//! Each system provides, with equal names and shapes:
//! * [`MountWatch`]: the mount table, read whole, and a [`mio`] event source that becomes ready when it changes.
//!   Reading it never asks a file system anything, so it cannot hang.
//! * [`MountNamespace`]: one that is not our own, where the system has such: its table, its end, and how probers get in.
//! * [`probe`]: the calls that ask one file system for a sign of life. They may hang for ever and are made only in
//!   the prober process.
//! * [`process`]: starting a child that shares nothing with us but one socket, killing it, and learning of its end.
//! * [`collect`]: what the kernel tells about a dead mount without touching it; may be slow, so
//!   it is read in a process of its own.
//! * [`FileWatch`]: a [`mio`] event source that tells that files of ours changed (configuration, fstab).
//! * [`command`]: starting a program of the operator with two pipes, and ending it with all that it has started.
//! * [`service`]: the service manager that started us, told without ever waiting for it.
//! * [`own_use`]: what this process takes of the machine.
//!
//! What is the same everywhere (the shape of a mount, error numbers, packets) is in the plain modules.

mod errno;
pub mod evidence;
mod machine;
mod mount;
mod mount_table;
mod probing;
pub mod service;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
compile_error!("mount_status_monitor runs on Linux; there is no back-end for this system yet");

pub use errno::Errno;
pub use machine::{MACHINE_ID, machine_id};
pub use mount::{DeviceNumber, FsKind, Mount, MountKey};
pub use mount_table::{MountTable, mount_around};
pub use probing::{Call, Outcome, Target, Usage};
pub use system::evidence as collect;
#[cfg(target_os = "linux")]
pub use system::mountinfo;
pub use system::{FileWatch, MountWatch, OWN_MOUNT_TABLE};
pub use system::{FoundNamespace, MountNamespace};
pub use system::{OwnUse, own_use};
pub use system::{command, probe, process};
