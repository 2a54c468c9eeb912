//! What each command does with the daemon's loop, and the exit status that it ends with.

mod asking;
mod check;
mod daemon;

pub use asking::{status, watch};
pub use check::check;
pub use daemon::daemon;

use crate::cli::USAGE_ERROR;
use crate::config::Filter;
use crate::daemon::Ending;
use crate::monitor::{Policy, Settings};
use crate::report::PROCESS_NAME;
use anyhow::Context as _;
use platform::{Mount, MountTable, MountWatch};
use std::io::Write as _;
use std::process::ExitCode;

/// Some mounts are dead.
const DEAD: u8 = 1;

fn watch_all(settings: Settings, filter: Filter) -> Policy {
    Box::new(move |mount: &Mount| filter.admits(mount).then_some(settings))
}

/// The exit status of a single run.
fn once_status(ending: &Ending) -> u8 {
    if ending.status.dead > 0 {
        DEAD
    } else if ending.unjudged > 0 || ending.interrupted {
        USAGE_ERROR
    } else {
        0
    }
}

fn mount_table() -> anyhow::Result<MountTable> {
    let path = platform::OWN_MOUNT_TABLE;
    MountWatch::open(path.as_ref())
        .and_then(|mut watch| watch.read())
        .with_context(|| format!("cannot read {path}: is /proc mounted?"))
}

fn print(text: &str) {
    // A reader that went away has seen what it wanted.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{PROCESS_NAME}: {error:#}");
    ExitCode::from(USAGE_ERROR)
}
