//! Evidence about a dead mount, from what the kernel tells without asking its storage.
//!
//! Only files that were found never to block while a mount is hung are read: of tasks `stat`, `status`, `wchan`,
//! `stack`, `syscall`, `fdinfo`, links in `fd` and `ns`, `mountinfo`, and `cwd` and `root` by a `statx` that asks no
//! storage. **Never** `cmdline`, `environ`, `smaps` or `numa_maps`: they wait for the lock of a memory map that a
//! stuck task may hold. For all that, this is made for a process that can be left behind: the collector.

mod fuse;
mod kernel_log;
mod mountstats;
mod procfs;
mod tasks;
mod thread;

pub use fuse::{connection, fuse_server, fuse_waiting};
pub use kernel_log::{KernelLog, ServerStatusHint, last_log_lines};
pub use mountstats::traffic;
pub use tasks::{Limits, blocked_tasks};
pub use thread::stuck_thread;
