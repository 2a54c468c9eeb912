//! What each command does with the daemon's loop, and the exit status that it ends with.

mod check;
mod check_config;
mod client;
mod daemon;
mod diagnose;
mod machine_seed;
mod mount_namespace;
pub mod unix_http;

pub use check::check;
pub use check_config::check_config;
pub use client::{status, watch};
pub use daemon::daemon;
pub use diagnose::diagnose;

use crate::cli::{Exit, USAGE_ERROR};
use crate::config::Config;
use crate::daemon::RunResult;
use crate::output::textfile;
use crate::render::PROCESS_NAME;
use crate::render::escape::escape_os;
use anyhow::Context as _;
use platform::{MountTable, MountWatch};
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// Some mounts are dead.
const DEAD: u8 = 1;
/// The mount namespace that was watched is no more.
const NAMESPACE_ENDED: u8 = 3;

/// The exit status of a single run.
fn once_status(ending: &RunResult) -> u8 {
    if ending.status.dead > 0 || ending.status.missing() > 0 {
        DEAD
    } else if ending.unjudged > 0 || ending.interrupted {
        USAGE_ERROR
    } else {
        0
    }
}

/// Why metrics must not be written where they are to be, if so: the file must not be what makes us hang. Its path is
/// never asked: the mount table tells.
fn textfile_problem(config: &Config) -> Option<String> {
    let path = config.metrics.textfile.as_deref()?;
    let reason = match mount_table() {
        Ok(table) => textfile::refusal(&table, |mount| config.policy(mount).is_some(), path)?,
        Err(error) => format!("{error:#}"),
    };
    Some(format!("cannot write --textfile {}: {reason}", escape_os(path)))
}

/// Our own mount table.
fn mount_table() -> anyhow::Result<MountTable> {
    let path = platform::OWN_MOUNT_TABLE;
    MountWatch::open(path.as_ref())
        .and_then(|mut watch| watch.read())
        .with_context(|| format!("cannot read {path} ({})", platform::MOUNT_TABLE_HINT))
}

/// Writes it to standard output. A reader that went away has seen what it wanted.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    ignore_broken_pipe(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())).map(drop)
}

/// Is there still a reader after this attempt to write to standard output?
fn ignore_broken_pipe(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Says that people have no use for a child of the daemon.
#[must_use]
pub fn started_by_daemon_only(argument: &str) -> ExitCode {
    failed(&anyhow::anyhow!("{argument} is started by the daemon only"))
}

/// Says what the command line came to, where that is the end.
#[must_use]
pub fn end(exit: &Exit) -> ExitCode {
    // With standard error closed there is nobody to tell.
    let _ = io::stderr().write_all(exit.stderr.as_bytes());
    match print(&exit.stdout) {
        Err(error) if exit.status == 0 => failed(&error),
        Err(error) => {
            let _ = failed(&error);
            ExitCode::from(exit.status)
        }
        Ok(()) => ExitCode::from(exit.status),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{PROCESS_NAME}: {error:#}");
    ExitCode::from(USAGE_ERROR)
}
