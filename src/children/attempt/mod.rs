//! The daemon's attempts to remedy a mount, each in a process of its own: it probes the mount once more, gathers the facts,
//! plans, makes the steps, and reports to the daemon, which never waits for it. If the daemon ends meanwhile, the attempt is
//! brought to its end all the same.
//!
//! `wire` is what they say to each other, `handle` the daemon's side, and `process` the other. What the process does is
//! part of the command `remedy`.

mod handle;
mod process;
mod wire;

pub use handle::{AttemptEvent, AttemptPool};
pub use process::serve;
pub use wire::{AttemptMessage, AttemptRequest, KeptFile};
