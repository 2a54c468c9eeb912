//! Evidence about a dead mount, from what the kernel shows without a request to the storage.
//!
//! Only files are read that never block while a mount is hung (measured): of tasks `stat`, `status`, `wchan`, `stack`,
//! `syscall`, `fdinfo`, the links in `fd` and `ns`, `mountinfo`, and `cwd` and `root` by a `statx` without sync.
//! **Never**
//! `cmdline`, `environ`, `smaps` or `numa_maps`: they wait for the lock of a memory map that a stuck task may hold. Run
//! it only in a process that can be abandoned: the collector, or a child of `files`. (`/proc/swaps` waits for `swapon` and
//! `swapoff`.)

mod fuse;
mod holders;
mod kernel_hint;
mod kernel_log;
mod mount_tables;
mod mountstats;
mod stacked;
mod tasks;
mod thread;
mod users;

pub(super) use fuse::serves_connection;
pub use fuse::{connection, fuse_server, fuse_waiting};
pub use holders::holders;
pub use kernel_log::{KernelLog, last_log_lines};
#[doc(hidden)]
pub use kernel_log::{hints_in, last_lines_in};
pub use mountstats::traffic;
pub(super) use mountstats::transport;
pub use stacked::stacked_files;
pub use tasks::blocked_tasks;
pub use thread::stuck_thread;
pub use users::users;
