//! Helper processes of the daemon, forked from memory or started from this program by exec. Everything that may hang runs in one of them.
//!
//! `child` is the daemon's handle of one such process, `daemon_channel` is the other end of its channel, and `codec`
//! and `json_packet` encode messages in packets; `prober` probes mounts, `collector` collects evidence, `files` works
//! on files that an operator names and reads `/proc` and `/sys` for `diagnose`, `attempt` makes the daemon's attempts
//! to remedy a mount, `remedy` carries out their steps, `signs` reads early signs of dead mounts, and `launcher` starts
//! them all.

pub mod attempt;
mod child;
mod codec;
pub mod collector;
mod daemon_channel;
pub mod files;
mod json_packet;
pub(crate) mod launcher;
pub mod prober;
pub mod remedy;
pub mod signs;

use platform::process::{ChildRole, launcher_process};

/// Does the work of this role until the daemon closes its end of the channel.
pub fn run(role: ChildRole) -> ! {
    match role {
        ChildRole::Prober | ChildRole::NamespaceProber => prober::process::run(role),
        ChildRole::Collector => collector::process::run(),
        ChildRole::Launcher => launcher_process::serve(run),
        ChildRole::Files => files::process::run(),
        ChildRole::Remedy => remedy::process::run(),
        ChildRole::Signs => signs::process::run(),
        // `main` has started it: see [`attempt::serve`].
        ChildRole::Attempt => daemon_channel::exit_with_error(),
    }
}
