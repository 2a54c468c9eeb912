//! One request at a time to one server. Credentials and certificates are read from their files for each request, so
//! that they can be replaced while the daemon runs.
//!
//! Reading a file and looking up a name may block. Both run in a blocking thread, one per client, and the request fails
//! at its deadline. The next request of the client waits for that thread too, so a hung name lookup holds one thread,
//! not a growing number.

use super::{Access, Credentials};
use crate::output::lock;
use crate::render::escape::escape_os;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Certificate, Client, Method, Response, Url, redirect};
use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::iter;
use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Timeout of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of a file with a secret or certificates; a larger file is a mistake.
const MAX_FILE: u64 = 1 << 20;
/// Maximum length shown of the body of an error response.
const MAX_ERROR_BODY: usize = 200;

/// A client of one server, for URLs with the same scheme. Clones share the HTTP client and the blocking thread.
#[derive(Clone, Debug)]
pub(crate) struct CachedClient {
    access: Access,
    cached: Arc<Mutex<Option<Cached>>>,
    /// Permit for the single blocking thread of the client.
    blocking_permit: Arc<Semaphore>,
}

/// An HTTP client and the certificates that it uses.
type Cached = (Client, Option<Vec<u8>>);

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct RequestError {
    /// The reason, without the address of the server.
    pub(crate) text: String,
    /// The request timed out.
    pub(crate) timed_out: bool,
    /// The same request may succeed later.
    pub(crate) retryable: bool,
}

impl RequestError {
    /// An error that is not from the server.
    fn local(text: String) -> RequestError {
        RequestError { text, timed_out: false, retryable: true }
    }

    fn timeout(missing: &str, timeout: Duration) -> RequestError {
        let seconds = (timeout.as_secs_f64() * 100.0).round() / 100.0; // the remaining time has many digits
        RequestError { text: format!("no {missing} in {seconds}s"), timed_out: true, retryable: true }
    }

    fn from_reqwest(error: &reqwest::Error, timeout: Duration) -> RequestError {
        match (error.is_timeout(), error.is_connect()) {
            (true, true) => RequestError::timeout("connection", CONNECT_TIMEOUT.min(timeout)),
            (true, false) => RequestError::timeout("response", timeout),
            (false, _) => RequestError::local(root_cause(error)),
        }
    }
}

impl CachedClient {
    pub(crate) fn new(access: Access) -> CachedClient {
        CachedClient { access, cached: Arc::default(), blocking_permit: Arc::new(Semaphore::new(1)) }
    }

    /// Sends a POST request with a JSON body; see [`CachedClient::send`].
    pub(crate) async fn post_json(
        &self,
        url: Url,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        self.send(Method::POST, url, Some(("application/json", body)), timeout).await
    }

    /// Sends a request, whose body has a content type, and waits for the status of the response.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<(&str, Vec<u8>)>,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let deadline = Instant::now() + timeout;
        let (client, authorization) = timeout_at(deadline, self.prepare(url.scheme() == "https"))
            .await
            .map_err(|_| RequestError::timeout("response", timeout))??;
        let remaining = deadline.saturating_duration_since(Instant::now());
        let mut request = client.request(method, url).timeout(remaining);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        let response = request.send().await.map_err(|error| RequestError::from_reqwest(&error, timeout))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        // A server that is busy or broken may accept the request later; other errors are about the request.
        let retryable = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        let body = timeout_at(deadline, error_body(response)).await.unwrap_or_default();
        let colon = if body.is_empty() { "" } else { ": " };
        let text = format!("the server responded {status}{colon}{body}");
        Err(RequestError { text, timed_out: false, retryable })
    }

    /// Reads the files, and creates an HTTP client if the certificates differ from those of the cached one. Returns it with
    /// the value of the header `Authorization`.
    async fn prepare(&self, is_encrypted: bool) -> Result<(Client, Option<String>), RequestError> {
        let cached = lock(&self.cached).clone();
        if let Some((client, _)) = &cached
            && self.access == Access::default()
        {
            return Ok((client.clone(), None));
        }
        let permit = Arc::clone(&self.blocking_permit).acquire_owned().await;
        let (access, blocking_permit) = (self.access.clone(), Arc::clone(&self.blocking_permit));
        let prepared = spawn_blocking(move || {
            let _permit = permit;
            let authorization = read_authorization(&access.credentials)?;
            let trusted = access.ca_file.as_deref().map(read).transpose()?;
            let client = match cached.filter(|(_, before)| *before == trusted) {
                Some((client, _)) => client,
                None => build(&access, trusted.as_deref(), is_encrypted, BlockingResolver(blocking_permit))?,
            };
            Ok(((client, trusted), authorization))
        });
        let prepared = prepared.await.unwrap_or_else(|_| Err("the request was cancelled".to_owned()));
        let (cached, authorization) = prepared.map_err(RequestError::local)?;
        let client = cached.0.clone();
        *lock(&self.cached) = Some(cached);
        Ok((client, authorization))
    }
}

fn build(
    access: &Access,
    trusted: Option<&[u8]>,
    is_encrypted: bool,
    resolver: BlockingResolver,
) -> Result<Client, String> {
    // Requests are rare: keeping an idle connection would only cause a wake-up when it is closed. A redirected request
    // becomes a GET that succeeds without an effect.
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .dns_resolver(resolver)
        .user_agent(concat!("mount_status_monitor/", env!("CARGO_PKG_VERSION")));
    let _ = rustls::crypto::ring::default_provider().install_default(); // fails if it is installed already
    let builder = match (trusted, &access.ca_file) {
        (Some(pem), Some(path)) => {
            let certificates = Certificate::from_pem_bundle(pem).ok().filter(|all| !all.is_empty());
            let certificates =
                certificates.ok_or_else(|| format!("{} holds no certificate", escape_os(path)))?;
            builder.tls_certs_only(certificates)
        }
        // Loading the system's many certificates is expensive.
        _ if !is_encrypted => builder.tls_certs_only([]),
        _ => builder,
    };
    builder.build().map_err(|error| root_cause(&error))
}

/// Looks up names in the client's blocking thread, one at a time.
struct BlockingResolver(Arc<Semaphore>);

impl Resolve for BlockingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let blocking_permit = Arc::clone(&self.0);
        Box::pin(async move {
            let permit = blocking_permit.acquire_owned().await?;
            let addresses = spawn_blocking(move || {
                let _permit = permit;
                (name.as_str(), 0).to_socket_addrs()
            });
            Ok(Box::new(addresses.await??) as Addrs)
        })
    }
}

/// The beginning of the body, on one line.
async fn error_body(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ERROR_BODY
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(MAX_ERROR_BODY);
    String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn root_cause(error: &reqwest::Error) -> String {
    let cause = iter::successors(error.source(), |&cause| cause.source()).last();
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

fn read_authorization(credentials: &Credentials) -> Result<Option<String>, String> {
    Ok(match credentials {
        Credentials::None => None,
        Credentials::User(path) => {
            let line = read_line(path)?;
            if !line.contains(':') {
                return Err(format!("{} does not hold USER:PASSWORD", escape_os(path)));
            }
            Some(format!("Basic {}", STANDARD.encode(line)))
        }
        Credentials::Token(path) => Some(format!("Bearer {}", read_line(path)?)),
    })
}

fn read_line(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(read(path)?).map_err(|_| format!("{} is not text", escape_os(path)))?;
    let text = text.trim();
    if text.is_empty() || text.contains(['\n', '\r']) {
        return Err(format!("{} does not hold one line", escape_os(path)));
    }
    Ok(text.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |error: std::io::Error| format!("cannot read {}: {error}", escape_os(path));
    let mut bytes = Vec::new();
    File::open(path).map_err(describe)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(describe)?;
    Ok(bytes)
}
