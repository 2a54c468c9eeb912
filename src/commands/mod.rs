//! One file per command, and what they share: printing and exit statuses. Each returns its exit status.

mod check;
mod check_config;
mod client;
mod daemon;
mod diagnose;
mod machine_seed;
mod mount_namespace;
mod status;
mod terminal;
mod watch;

pub use check::check;
pub use check_config::check_config;
pub use daemon::daemon;
pub use diagnose::diagnose;
pub use status::status;
pub use watch::watch;

use crate::cli::{Exit, USAGE_ERROR};
use crate::render::PROCESS_NAME;
use anyhow::Context as _;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// Prints the result of the command line itself: help, the version, a manual page or errors.
pub fn exit(exit: &Exit) -> ExitCode {
    let _ = io::stderr().write_all(exit.stderr.as_bytes()); // fails if standard error is closed
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

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    ignore_broken_pipe(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())).map(drop)
}

/// Returns whether standard output still has a reader. A reader that has closed the pipe is not an error.
fn ignore_broken_pipe(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}
