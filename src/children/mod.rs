//! Helper processes of the daemon, forked from memory or started from this program by exec. Everything that may hang runs in one of them.
//!
//! `child` is the daemon's handle of one such process, `daemon_channel` is the other end of its channel, and `codec`
//! encodes messages in packets; `prober` probes mounts, `collector` collects evidence, `files` works on files that an
//! operator names, and `launcher` starts them all.

mod child;
mod codec;
pub mod collector;
mod daemon_channel;
pub mod files;
pub(crate) mod launcher;
pub mod prober;

use platform::process::{ChildRole, launcher_process};

/// Does the work of this role until the daemon closes its end of the channel.
pub fn run(role: ChildRole) -> ! {
    match role {
        ChildRole::Prober | ChildRole::NamespaceProber => prober::process::run(role),
        ChildRole::Collector => collector::process::run(),
        ChildRole::Launcher => launcher_process::serve(run),
        ChildRole::Files => files::process::run(),
    }
}
