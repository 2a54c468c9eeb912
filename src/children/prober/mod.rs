//! Asking mounts for a sign of life without ever waiting for one.
//!
//! ```text
//!   daemon                                     prober: child process, may hang
//!   Pool --- start, confirm ---> wire --------> main thread -> Crew: queue -> threads: statx, statfs
//!     ^                                                                         |
//!     +----- PoolEvent <-------- wire <------------- packets of answers <-------+
//! ```
//!
//! * [`Pool`] (with `handle`: one prober as the daemon sees it) lives in the daemon's loop. It never
//!   blocks and reads no clock. What it learns it says in [`PoolEvent`]s.
//! * [`prober`] (with `crew`: its threads) is what the child runs.
//! * `wire` is what they say to each other, many questions or answers to a packet.
//!
//! A hung call cannot be taken back, only left behind: the whole prober is *condemned* and killed, and a fresh one
//! goes on. The kernel closes a process's descriptors when its last thread is gone, so the end of the socket is the
//! proof that nothing of it is left on any mount.

mod event;
mod handle;
mod pool;
pub mod process;
mod wire;
#[cfg(test)]
mod wire_tests;
mod worker_pool;

pub use event::{PoolEvent, ProberNotice, SpawnError};
pub use pool::Pool;

pub use crate::monitor::ProbeId;
