//! Servers that are told something over HTTP: their addresses, who we are to them, one request at a time, and the
//! pauses after a failure. Whoever uses it has a thread of his own: nothing here may be waited for by the loop.

mod address;
mod client;

pub use address::{Address, NO_PASSWORD};
pub use client::{Client, RequestError};

use crate::backoff::Backoff;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Where a secret is written. The files are read before each use, so that they can be replaced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Credentials {
    /// The server asks for none.
    #[default]
    None,
    /// A file with `USER:PASSWORD`.
    User(PathBuf),
    /// A file with a bearer token.
    Token(PathBuf),
}

/// Who we are to a server, and whom we take for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Who we are.
    pub credentials: Credentials,
    /// Trust the certificates in this PEM file instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The name of this machine, which may change while the daemon runs; empty if it is unknown.
pub(crate) fn host_name() -> String {
    hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Pauses between requests to a server that fails, which are others on each machine.
pub(crate) fn backoff(first: Duration, max: Duration) -> Backoff<Instant> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Backoff::new(first, max)
        .with_jitter(u64::from(since_epoch.subsec_nanos()) ^ u64::from(std::process::id()) << 32)
}

/// An executor for one thread that talks to servers. Names are looked up and files are read in threads beside it: so
/// many at most.
///
/// # Errors
/// The system has no event queue for it.
pub fn executor(beside: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(beside.max(1)).build()
}
