//! Requests to servers: addresses, credentials, one request at a time per server, pauses after failures. The callers
//! have their own threads; the event loop never waits for a request.

mod address;
mod client;

pub use address::Address;
pub(super) use address::NO_PASSWORD;
pub(super) use client::{CachedClient, RequestError};

use crate::backoff::Backoff;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Where a secret is stored. The file is read for each request, so that it can be replaced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Credentials {
    #[default]
    None,
    /// A file with `USER:PASSWORD`.
    User(PathBuf),
    /// A file with a bearer token.
    Token(PathBuf),
}

/// How a server authenticates us, and how we authenticate it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    pub credentials: Credentials,
    /// A PEM file with the certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Pauses after requests that failed, different on each machine.
pub(super) fn backoff(first: Duration, max: Duration) -> Backoff<Instant> {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Backoff::new(first, max)
        .with_jitter(u64::from(since_epoch.subsec_nanos()) ^ u64::from(std::process::id()) << 32)
}

/// The name of this machine, which may change while the daemon runs; empty if it is unknown.
pub(super) fn host_name() -> String {
    hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
