//! One request at a time to the gateway. What is needed from files is read for each, so that secrets and certificates
//! can be replaced while the daemon runs.

use super::{Credentials, Settings};
use crate::metrics::CONTENT_TYPE;
use crate::report::escape::escape_os;
use reqwest::header::{CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue};
use reqwest::{Certificate, Method, RequestBuilder, Response, Url, redirect};
use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// A gateway that takes no connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A push that is not done by then never will be.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The group is taken back while the daemon stops, which has a second for everything.
const DELETE_TIMEOUT: Duration = Duration::from_millis(350);
/// Secrets and bundles of certificates are smaller than this; what is larger is a mistake.
const MAX_FILE: u64 = 1 << 20;
/// So much of what the gateway says when it refuses is shown.
const MAX_COMPLAINT: usize = 200;

pub(super) struct Client {
    settings: Settings,
    /// The client, and the private certificates that it trusts.
    made: Option<(reqwest::Client, Option<Vec<u8>>)>,
}

impl Client {
    pub(super) fn new(settings: Settings) -> Client {
        Client { settings, made: None }
    }

    /// Replaces everything in the group.
    pub(super) async fn put(&mut self, body: Vec<u8>) -> Result<(), String> {
        let request = self.request(Method::PUT, TOTAL_TIMEOUT)?;
        let content_type = HeaderValue::from_static(CONTENT_TYPE);
        send(request.header(CONTENT_TYPE_HEADER, content_type).body(body), TOTAL_TIMEOUT).await
    }

    /// Takes the group back.
    pub(super) async fn delete(&mut self) -> Result<(), String> {
        send(self.request(Method::DELETE, DELETE_TIMEOUT)?, DELETE_TIMEOUT).await
    }

    fn request(&mut self, method: Method, timeout: Duration) -> Result<RequestBuilder, String> {
        let url = self.url()?;
        let request = self.client()?.request(method, url).timeout(timeout);
        Ok(match &self.settings.credentials {
            Credentials::None => request,
            Credentials::User(path) => {
                let secret = secret(path)?;
                let (user, password) = secret
                    .split_once(':')
                    .ok_or_else(|| format!("{} does not hold USER:PASSWORD", escape_os(path)))?;
                request.basic_auth(user, Some(password))
            }
            Credentials::Token(path) => request.bearer_auth(secret(path)?),
        })
    }

    /// The name of the machine may change while we run.
    fn url(&self) -> Result<Url, String> {
        let instance = hostname::get().map_err(|error| format!("this machine has no name: {error}"))?;
        Ok(self.settings.gateway.group(&instance))
    }

    fn client(&mut self) -> Result<&reqwest::Client, String> {
        let trusted = self.settings.ca_file.as_deref().map(read).transpose()?;
        if self.made.as_ref().is_some_and(|(_, with)| *with != trusted) {
            self.made = None;
        }
        if self.made.is_none() {
            let client = self.make(trusted.as_deref())?;
            self.made = Some((client, trusted));
        }
        self.made.as_ref().map(|(client, _)| client).ok_or_else(|| "no client".to_owned())
    }

    fn make(&self, trusted: Option<&[u8]>) -> Result<reqwest::Client, String> {
        // Pushes are rare: a connection that is kept would only wake us up when it is closed. A redirected PUT
        // becomes a GET that succeeds and stores nothing.
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("mount_status_monitor/", env!("CARGO_PKG_VERSION")));
        // Whoever asked for another provider before us has it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = match (trusted, &self.settings.ca_file) {
            (Some(pem), Some(path)) => {
                let certificates = Certificate::from_pem_bundle(pem).ok().filter(|all| !all.is_empty());
                let certificates =
                    certificates.ok_or_else(|| format!("{} holds no certificate", escape_os(path)))?;
                builder.tls_certs_only(certificates)
            }
            // The certificates of the system are many: not for a gateway that does not encrypt.
            _ if !self.settings.gateway.is_encrypted() => builder.tls_certs_only([]),
            _ => builder,
        };
        builder.build().map_err(|error| describe(&error, TOTAL_TIMEOUT))
    }
}

async fn send(request: RequestBuilder, timeout: Duration) -> Result<(), String> {
    let response = request.send().await.map_err(|error| describe(&error, timeout))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let complaint = complaint(response).await;
    let colon = if complaint.is_empty() { "" } else { ": " };
    Err(format!("it answered {status}{colon}{complaint}"))
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

/// What went wrong, without the address, which the reader is told anyway.
fn describe(error: &reqwest::Error, timeout: Duration) -> String {
    if error.is_connect() && error.is_timeout() {
        return format!("no connection in {}s", CONNECT_TIMEOUT.min(timeout).as_secs_f64());
    }
    if error.is_timeout() {
        return format!("no answer in {}s", timeout.as_secs_f64());
    }
    let mut deepest = error.source();
    while let Some(next) = deepest.and_then(std::error::Error::source) {
        deepest = Some(next);
    }
    deepest.map_or_else(|| error.to_string(), ToString::to_string)
}

fn secret(path: &Path) -> Result<String, String> {
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
