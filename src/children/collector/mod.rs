//! Finding out why a mount is dead, without touching it and without waiting.
//!
//! ```text
//!   daemon                                                  collector: child process, may be slow or get stuck
//!   CollectorHandle --- requests, stuck threads --> wire --> /proc, /sys, kernel log; one scan of all tasks for all
//!     ^                                                      servers: a connection and a NULL call, each in a thread
//!     +---------------- found, ended <------------- wire <-- what was found, kind by kind
//! ```
//!
//! * [`CollectorHandle`] lives in the daemon's event loop: it starts a collector when there is something to collect,
//!   never blocks, reads no clock, and abandons a collector that does not finish in time.
//! * `process` is the child; `server_checks` and `server_check` contact servers, whose addresses `endpoint` knows.
//!
//! The monitor requests evidence before a mount is reported as dead, so that the report is complete but not later.

mod endpoint;
mod handle;
pub(super) mod process;
mod server_check;
mod server_checks;
mod wire;

pub use handle::{CollectorEvent, CollectorHandle, CollectorNotice};
pub use wire::CollectRequest;
#[doc(hidden)]
pub use wire::{recode_replies, recode_requests};
