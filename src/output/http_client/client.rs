//! One request at a time to one server. What is needed from files is read for each, so that secrets and certificates
//! can be replaced while the daemon runs.
//!
//! Reading a file and looking up a name may take as long as they like: both are done in a thread beside the
//! executor's, one for each client, and whoever waits for the request gives up at its deadline. The next request of
//! the same client waits for that thread too, so that a server whose name hangs takes one thread, not more and more.

use super::{Access, Credentials};
use crate::render::escape::escape_os;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Method, Response, Url, redirect};
use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// A server that takes no connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Secrets and bundles of certificates are smaller than this; what is larger is a mistake.
const MAX_FILE: u64 = 1 << 20;
/// So much of what a server says when it refuses is shown.
const MAX_COMPLAINT: usize = 200;

/// A client of one server. Copies share what was made and the thread beside.
#[derive(Clone, Debug)]
pub struct Client {
    access: Access,
    /// The client, and the private certificates that it trusts.
    made: Arc<Mutex<Option<Made>>>,
    /// The one thread beside that it may have.
    beside: Arc<Semaphore>,
}

#[derive(Clone, Debug)]
struct Made {
    client: reqwest::Client,
    trusted: Option<Vec<u8>>,
    encrypted: bool,
}

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestError {
    /// In words, without the address, which the reader is told anyway.
    pub text: String,
    /// Time was up.
    pub timed_out: bool,
    /// The same request may go better later.
    pub may_pass: bool,
}

impl RequestError {
    fn ours(text: String) -> RequestError {
        RequestError { text, timed_out: false, may_pass: true }
    }

    fn late(timeout: Duration) -> RequestError {
        let text = format!("no answer in {}s", seconds(timeout));
        RequestError { text, timed_out: true, may_pass: true }
    }
}

impl Client {
    /// A client that has not asked anything yet.
    #[must_use]
    pub fn new(access: Access) -> Client {
        Client { access, made: Arc::default(), beside: Arc::new(Semaphore::new(1)) }
    }

    /// Sends a request, and waits for the status of its answer at most this long.
    ///
    /// # Errors
    /// Anything but a status of success.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<(HeaderValue, Vec<u8>)>,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let by = Instant::now() + timeout;
        let late = |_| RequestError::late(timeout);
        let (made, secret) = timeout_at(by, self.prepare(url.scheme() == "https")).await.map_err(late)??;
        let left = by.saturating_duration_since(Instant::now());
        let mut request = made.client.request(method, url).timeout(left);
        request = match secret {
            Secret::None => request,
            Secret::User(user, password) => request.basic_auth(user, Some(password)),
            Secret::Token(token) => request.bearer_auth(token),
        };
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        let response = request.send().await.map_err(|error| describe(&error, timeout))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        // What says that it is busy or broken may be well later; what says that we are wrong will say so again.
        let may_pass = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        let complaint = timeout_at(by, complaint(response)).await.unwrap_or_default();
        let colon = if complaint.is_empty() { "" } else { ": " };
        Err(RequestError {
            text: format!("it answered {status}{colon}{complaint}"),
            timed_out: false,
            may_pass,
        })
    }

    /// Reads what is needed from files, and makes a client if there is none that fits.
    async fn prepare(&self, encrypted: bool) -> Result<(Made, Secret), RequestError> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(made) = &made
            && self.access == Access::default()
            && made.encrypted == encrypted
        {
            return Ok((made.clone(), Secret::None));
        }
        let permit = Arc::clone(&self.beside).acquire_owned().await;
        let (access, beside) = (self.access.clone(), Arc::clone(&self.beside));
        let prepared = spawn_blocking(move || {
            let _permit = permit;
            let secret = Secret::read(&access.credentials)?;
            let trusted = access.ca_file.as_deref().map(read).transpose()?;
            match made.filter(|made| made.trusted == trusted && made.encrypted == encrypted) {
                Some(made) => Ok((made, secret)),
                None => Ok((make(&access, trusted, encrypted, beside)?, secret)),
            }
        });
        let prepared = prepared.await.unwrap_or_else(|_| Err("it was given up".to_owned()));
        let (made, secret) = prepared.map_err(RequestError::ours)?;
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok((made, secret))
    }
}

fn make(
    access: &Access,
    trusted: Option<Vec<u8>>,
    encrypted: bool,
    beside: Arc<Semaphore>,
) -> Result<Made, String> {
    // Requests are rare: a connection that is kept would only wake us up when it is closed. A redirected request
    // becomes a GET that succeeds and tells nobody anything.
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .dns_resolver(Lookup(beside))
        .user_agent(concat!("mount_status_monitor/", env!("CARGO_PKG_VERSION")));
    // Whoever asked for another provider before us has it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match (&trusted, &access.ca_file) {
        (Some(pem), Some(path)) => {
            let certificates = Certificate::from_pem_bundle(pem).ok().filter(|all| !all.is_empty());
            let certificates =
                certificates.ok_or_else(|| format!("{} holds no certificate", escape_os(path)))?;
            builder.tls_certs_only(certificates)
        }
        // The certificates of the system are many: not for a server that does not encrypt.
        _ if !encrypted => builder.tls_certs_only([]),
        _ => builder,
    };
    let client = builder.build().map_err(|error| deepest(&error))?;
    Ok(Made { client, trusted, encrypted })
}

/// Looks up names in the thread beside, one at a time.
struct Lookup(Arc<Semaphore>);

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let beside = Arc::clone(&self.0);
        Box::pin(async move {
            let permit = beside.acquire_owned().await?;
            let found = spawn_blocking(move || {
                let _permit = permit;
                (name.as_str(), 0).to_socket_addrs()
            });
            Ok(Box::new(found.await??) as Addrs)
        })
    }
}

/// The beginning of what it says, on one line.
async fn complaint(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_COMPLAINT
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(MAX_COMPLAINT);
    String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn describe(error: &reqwest::Error, timeout: Duration) -> RequestError {
    if error.is_connect() && error.is_timeout() {
        let text = format!("no connection in {}s", seconds(CONNECT_TIMEOUT.min(timeout)));
        return RequestError { text, timed_out: true, may_pass: true };
    }
    if error.is_timeout() {
        return RequestError::late(timeout);
    }
    RequestError::ours(deepest(error))
}

/// As people say it: what is left of a deadline is a crooked number.
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 100.0).round() / 100.0
}

fn deepest(error: &reqwest::Error) -> String {
    let mut deepest = error.source();
    while let Some(next) = deepest.and_then(std::error::Error::source) {
        deepest = Some(next);
    }
    deepest.map_or_else(|| error.to_string(), ToString::to_string)
}

/// What a file of credentials holds.
#[derive(PartialEq, Debug)]
enum Secret {
    None,
    User(String, String),
    Token(String),
}

impl Secret {
    fn read(credentials: &Credentials) -> Result<Secret, String> {
        Ok(match credentials {
            Credentials::None => Secret::None,
            Credentials::User(path) => {
                let line = line(path)?;
                let (user, password) = line
                    .split_once(':')
                    .ok_or_else(|| format!("{} does not hold USER:PASSWORD", escape_os(path)))?;
                Secret::User(user.to_owned(), password.to_owned())
            }
            Credentials::Token(path) => Secret::Token(line(path)?),
        })
    }
}

fn line(path: &Path) -> Result<String, String> {
    let bytes = read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text", escape_os(path)))?;
    let text = text.trim();
    if text.is_empty() || text.contains(['\n', '\r']) {
        return Err(format!("{} does not hold one line", escape_os(path)));
    }
    Ok(text.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", escape_os(path));
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
