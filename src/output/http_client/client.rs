//! One request at a time to one server. Credentials and certificates are read from their files for each request, so
//! that they can be replaced while the daemon runs.
//!
//! Reading a file and looking up a name may hang. A child does both; a blocking thread, one per client, waits for it.

use super::{Access, Credentials, ProxyChoice};
use crate::children::files::{FileSession, FileWorker};
use crate::output::lock;
use crate::render::escape::escape_os;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Certificate, Client, Method, Proxy, Response, Url, redirect};
use std::error::Error as _;
use std::io::ErrorKind;
use std::iter;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Timeout of connecting, which begins with looking up a name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Reading files may take this long: storage that takes longer is dead.
const FILE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum length shown of the body of an error response.
const MAX_ERROR_BODY: usize = 200;

/// A client of one server, for URLs with the same scheme. Clones share the HTTP client and the blocking thread.
#[derive(Clone, Debug)]
pub(crate) struct CachedClient {
    access: Access,
    cached: Arc<Mutex<Option<Cached>>>,
    files: Arc<FileWorker>,
    names: Arc<FileWorker>,
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
        CachedClient {
            access,
            cached: Arc::default(),
            files: Arc::default(),
            names: Arc::default(),
            blocking_permit: Arc::new(Semaphore::new(1)),
        }
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
            && !self.access.needs_files()
        {
            return Ok((client.clone(), None));
        }
        let permit = Arc::clone(&self.blocking_permit).acquire_owned().await;
        let (access, files) = (self.access.clone(), Arc::clone(&self.files));
        let resolver =
            ChildResolver { names: Arc::clone(&self.names), permit: Arc::clone(&self.blocking_permit) };
        let prepared = spawn_blocking(move || {
            let _permit = permit;
            prepare(&access, &files, cached, is_encrypted, resolver)
        });
        let prepared = prepared.await.unwrap_or_else(|_| Err("the request was cancelled".to_owned()));
        let (cached, authorization) = prepared.map_err(RequestError::local)?;
        let client = cached.0.clone();
        *lock(&self.cached) = Some(cached);
        Ok((client, authorization))
    }
}

/// Reads the files of one request. Blocks.
fn prepare(
    access: &Access,
    files: &FileWorker,
    cached: Option<Cached>,
    is_encrypted: bool,
    resolver: ChildResolver,
) -> Result<(Cached, Option<String>), String> {
    let mut reader = FileReader { files, session: None };
    let authorization = read_authorization(&access.credentials, &mut reader)?;
    let trusted = access.ca_file.as_deref().map(|path| reader.read(path)).transpose()?;
    let client = match cached.filter(|(_, before)| *before == trusted) {
        Some((client, _)) => client,
        None => {
            let certificates = match (&access.ca_file, &trusted) {
                (Some(path), Some(pem)) => Certificate::from_pem_bundle(pem)
                    .ok()
                    .filter(|all| !all.is_empty())
                    .ok_or_else(|| format!("{} holds no certificate", escape_os(path)))?,
                _ if is_encrypted => reader.system_certificates()?,
                _ => Vec::new(),
            };
            build(access, certificates, resolver)?
        }
    };
    Ok(((client, trusted), authorization))
}

fn build(access: &Access, trusted: Vec<Certificate>, resolver: ChildResolver) -> Result<Client, String> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // fails if it is installed already
    // Requests are rare: keeping an idle connection would only cause a wake-up when it is closed. A redirected request
    // becomes a GET that succeeds without an effect.
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .dns_resolver(resolver)
        .tls_certs_only(trusted)
        .user_agent(concat!("mount_status_monitor/", env!("CARGO_PKG_VERSION")));
    let builder = match &access.proxy {
        ProxyChoice::Off => builder.no_proxy(),
        ProxyChoice::Environment => builder,
        ProxyChoice::At(address) => {
            builder.proxy(Proxy::all(address.url().clone()).map_err(|error| root_cause(&error))?)
        }
    };
    builder.build().map_err(|error| root_cause(&error))
}

/// Looks up names in a child; the client's blocking thread waits for it, one name at a time.
struct ChildResolver {
    names: Arc<FileWorker>,
    permit: Arc<Semaphore>,
}

impl Resolve for ChildResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, permit) = (Arc::clone(&self.names), Arc::clone(&self.permit));
        Box::pin(async move {
            let permit = permit.acquire_owned().await?;
            let addresses = spawn_blocking(move || {
                let _permit = permit;
                let found = names.begin(CONNECT_TIMEOUT)?.resolve(&format!("{}:0", name.as_str()));
                found.map_err(|error| match error.kind() {
                    ErrorKind::TimedOut => std::io::Error::other(format!("looking up the name: {error}")),
                    _ => error,
                })
            });
            Ok(Box::new(addresses.await??.into_iter()) as Addrs)
        })
    }
}

/// Reads files in one child, which is started by the first.
struct FileReader<'w> {
    files: &'w FileWorker,
    session: Option<FileSession<'w>>,
}

impl<'w> FileReader<'w> {
    fn session(&mut self) -> std::io::Result<&mut FileSession<'w>> {
        Ok(match &mut self.session {
            Some(session) => session,
            none => none.insert(self.files.begin(FILE_TIMEOUT)?),
        })
    }

    fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let bytes = self.session().and_then(|session| session.read(path));
        bytes.map_err(|error| format!("cannot read {}: {error}", escape_os(path)))
    }

    fn system_certificates(&mut self) -> Result<Vec<Certificate>, String> {
        let encoded = self.session().and_then(FileSession::certificates);
        let encoded = encoded.map_err(|error| format!("cannot read the system's certificates: {error}"))?;
        // The system may trust certificates that this library cannot use.
        Ok(encoded.iter().filter_map(|certificate| Certificate::from_der(certificate).ok()).collect())
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

fn read_authorization(
    credentials: &Credentials,
    reader: &mut FileReader<'_>,
) -> Result<Option<String>, String> {
    Ok(match credentials {
        Credentials::None => None,
        Credentials::User(path) => {
            let line = read_line(path, reader)?;
            if !line.contains(':') {
                return Err(format!("{} does not hold USER:PASSWORD", escape_os(path)));
            }
            Some(format!("Basic {}", STANDARD.encode(line)))
        }
        Credentials::Token(path) => Some(format!("Bearer {}", read_line(path, reader)?)),
    })
}

fn read_line(path: &Path, reader: &mut FileReader<'_>) -> Result<String, String> {
    let text =
        String::from_utf8(reader.read(path)?).map_err(|_| format!("{} is not text", escape_os(path)))?;
    let text = text.trim();
    if text.is_empty() || text.contains(['\n', '\r']) {
        return Err(format!("{} does not hold one line", escape_os(path)));
    }
    Ok(text.to_owned())
}
