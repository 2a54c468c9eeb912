//! Requests to servers: addresses, credentials, one request at a time per server, pauses after failures. The callers
//! have their own threads; the event loop never waits for a request.

mod address;
mod client;

pub use address::Address;
pub(super) use address::NO_PASSWORD;
pub(super) use client::{CachedClient, RequestError};

use crate::backoff::Backoff;
use std::path::PathBuf;
use std::str::FromStr;
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
    pub proxy: ProxyChoice,
}

impl Access {
    /// Whether files are read for each request.
    fn needs_files(&self) -> bool {
        self.credentials != Credentials::None || self.ca_file.is_some()
    }
}

/// Through which proxy a server is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ProxyChoice {
    #[default]
    Off,
    /// What `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` say.
    Environment,
    At(Box<Address>),
}

impl FromStr for ProxyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<ProxyChoice, String> {
        match text {
            "off" => Ok(ProxyChoice::Off),
            "environment" => Ok(ProxyChoice::Environment),
            url if url.contains("://") => url.parse().map(|url| ProxyChoice::At(Box::new(url))),
            _ => Err("write the URL of a proxy, environment or off".to_owned()),
        }
    }
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
