//! Probing mounts without ever waiting for one.
//!
//! ```text
//!   daemon                                     prober: child process, may hang
//!   Pool --- probe, confirm ---> wire --------> main thread -> WorkerPool: queue -> threads: statx, statfs
//!     ^                                                                               |
//!     +----- PoolEvent <-------- wire <------------- packets of replies <-------------+
//! ```
//!
//! * [`Pool`] lives in the daemon's event loop; it never blocks and reads no clock. `handle` is one of its probers.
//! * `process` is the main thread of the child, `worker_pool` its other threads. `confirmation` proves that one is stuck,
//!   `running_time` keeps pauses of the process out of the times of probes.
//! * `wire` defines the messages, many to a packet.
//!
//! A hung call cannot be cancelled. Instead, the whole prober is *abandoned*, replaced and killed. The kernel closes a
//! process's descriptors when its last thread ends, so a closed socket proves that the prober no longer uses any mount.

mod confirmation;
mod event;
mod handle;
mod pool;
pub(super) mod process;
mod running_time;
mod wire;
mod worker_pool;

pub use event::{PoolEvent, ProberNotice, SpawnError};
pub use pool::Pool;
#[doc(hidden)]
pub use wire::{recode_replies, recode_requests};

pub use crate::monitor::ProbeId;
