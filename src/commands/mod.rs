//! One file per command, and what they share: printing and exit statuses. Each returns its exit status.

mod check;
mod check_config;
mod client;
mod connection;
mod daemon;
mod diagnose;
mod diagnosed_mount;
mod drill;
mod explained_remedy;
mod machine_seed;
mod mount_namespace;
mod mount_points;
mod plugin_timeout;
mod remedy;
mod status;
mod surroundings;
mod terminal;
mod wait;
mod watch;

pub use check::check;
pub use check_config::check_config;
pub use daemon::daemon;
pub use diagnose::diagnose;
pub use drill::drill;
pub use mount_points::mount_points;
pub use plugin_timeout::limit_plugin;
pub use remedy::{attempt_remedy, remedy};
pub use status::status;
pub use watch::watch;

use crate::cli::{Exit, USAGE_ERROR};
use crate::config::CheckOutput;
use crate::render::{PROCESS_NAME, Snapshot, json, table};
use anyhow::Context as _;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// Prints the result of the command line itself: help, the version, a manual page or errors.
pub fn exit(exit: &Exit) -> ExitCode {
    let _ = io::stderr().write_all(exit.stderr.as_bytes()); // fails if standard error is closed
    plugin_timeout::begin_result();
    if let Err(error) = print(&exit.stdout) {
        let status = fail(&error);
        if exit.status == 0 {
            return status;
        }
    }
    ExitCode::from(exit.status)
}

pub fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{PROCESS_NAME}: {error:#}"); // fails if standard error is closed
    ExitCode::from(USAGE_ERROR)
}

/// A status as a table or as JSON.
fn print_status(output: CheckOutput, snapshot: &Snapshot) -> anyhow::Result<()> {
    match output {
        CheckOutput::Json => print(&(json::status(snapshot, None) + "\n")),
        _ => print(&table::table(&snapshot.status, snapshot.at, terminal::style())),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    ignore_broken_pipe(stdout.write_all(bytes).and_then(|()| stdout.flush())).map(drop)
}

/// Returns whether standard output still has a reader. A reader that has closed the pipe is not an error.
fn ignore_broken_pipe(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}
