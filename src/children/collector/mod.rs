//! Saying why a mount is dead, without touching it and without waiting.
//!
//! ```text
//!   daemon                                             collector: child process, may be slow or get stuck
//!   Desk --- subjects, stuck threads --> wire -------> /proc, /sys, kernel log; one scan of all tasks for all
//!     ^                                                servers: a connection and a NULL call, each in a thread
//!     +----- found, ended <------------- wire <------- what was found, part by part
//! ```
//!
//! * [`CollectorHandle`] lives in the daemon's loop: it starts a collector when there is something to collect, never blocks,
//!   reads no clock, and leaves a collector behind that does not finish in time.
//! * [`collector`] is what the child runs; `server` asks servers, `address` knows where they are.
//!
//! The monitor decides when: before the verdict, so that its line can say more without being any later.

mod endpoint;
mod handle;
pub mod process;
mod server;
mod servers;
mod wire;

pub use handle::{CollectorEvent, CollectorHandle, CollectorNotice};

pub use wire::CollectRequest;
