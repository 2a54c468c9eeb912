//! Admits clients to the listener, or refuses them: the TLS handshake of a connection, and the password of a request.

use super::super::{WarnFn, limits, response};
use super::WebAccess;
use crate::output::lock;
use crate::output::token_bucket::TokenBucket;
use crate::render::escape::one_line;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"mount_status_monitor\", charset=\"UTF-8\"");

/// The client's address; None on the Unix socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::output::http) struct Peer(pub(in crate::output::http) Option<SocketAddr>);

#[derive(Clone)]
pub(in crate::output::http) struct Gate {
    access: Arc<WebAccess>,
    refusals: Arc<Mutex<Refusals>>,
    warn: WarnFn,
}

/// Limits the lines about refused clients.
struct Refusals {
    lines: TokenBucket,
    /// Since the last line.
    unreported: u64,
}

impl Gate {
    pub(in crate::output::http) fn new(access: Arc<WebAccess>, warn: WarnFn) -> Gate {
        let lines = TokenBucket::new(limits::REFUSALS_AT_ONCE, limits::REFUSALS_PER_SECOND);
        Gate { access, refusals: Arc::new(Mutex::new(Refusals { lines, unreported: 0 })), warn }
    }

    pub(in crate::output::http) fn is_encrypted(&self) -> bool {
        self.access.is_encrypted()
    }

    /// The encrypted stream, or None for a client that is refused or too slow.
    pub(in crate::output::http) async fn handshake<S>(&self, stream: S, peer: Peer) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(self.access.tls.as_ref()?));
        let why = match timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            // Whether a port is open is asked for this way; load balancers do it all the time.
            Ok(Err(error)) if is_gone(&error) => return None,
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("it takes longer than {}s", limits::HANDSHAKE_TIMEOUT.as_secs()),
        };
        self.report("TLS handshake", peer, &why);
        None
    }

    fn report(&self, what: &str, Peer(peer): Peer, why: &str) {
        let mut refusals = lock(&self.refusals);
        if !refusals.lines.take(Instant::now(), 1.0, 0.0) {
            refusals.unreported += 1;
            return;
        }
        let more = match std::mem::take(&mut refusals.unreported) {
            0 => String::new(),
            count => format!("; {count} more were refused since the last such line"),
        };
        drop(refusals);
        let from = peer.map_or_else(String::new, |peer| format!(" from {}", peer.ip().to_canonical()));
        (self.warn)(&format!("HTTP client refused: {what}{from}: {}{more}", one_line(why)));
    }
}

/// Whether the client has closed the connection without a reason.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Why the client is refused, or refuses.
fn reason(error: &io::Error) -> String {
    let text = match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(Error::AlertReceived(AlertDescription::CertificateExpired)) => {
            "it says that the certificate of this server has expired"
        }
        Some(Error::AlertReceived(AlertDescription::UnknownCA)) => {
            "it does not trust who signed the certificate of this server"
        }
        // Prometheus and other programs in Go say no more.
        Some(Error::AlertReceived(
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown,
        )) => {
            "it does not accept the certificate of this server (expired, for another name or of an unknown signer); \
             its own log says why"
        }
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS (use https)"
        }
        Some(Error::PeerIncompatible(why)) => {
            return format!("it offers no TLS version or cipher that is allowed here ({why:?})");
        }
        Some(Error::NoCertificatesPresented) => "it presents no certificate",
        Some(Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => "its certificate is not signed by client_ca_file",
            CertificateError::Other(why) => return format!("its certificate is refused: {}", why.0),
            _ => return error.to_string(),
        },
        _ => return error.to_string(),
    };
    text.to_owned()
}

/// Refuses requests without the password of a user, if there are users.
pub(in crate::output::http) async fn refuse_strangers(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Response {
    let Some(users) = &gate.access.users else { return next.run(request).await };
    let Some((name, password)) = credentials(request.headers()) else {
        // A browser asks like this first, so it is no news.
        return challenge("a user name and a password are needed");
    };
    if users.admits(&name, &password).await {
        return next.run(request).await;
    }
    let peer = request.extensions().get().copied().unwrap_or(Peer(None));
    // An unknown name may be a password in the wrong field.
    let user = if users.has(&name) { format!("user {name}") } else { "an unknown user".to_owned() };
    gate.report("wrong user name or password", peer, &user);
    challenge("wrong user name or password")
}

fn challenge(text: &str) -> Response {
    let mut response = response::text(StatusCode::UNAUTHORIZED, text);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    response
}

fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((name, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_the_header() {
        let read = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            credentials(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
        };
        assert_eq!(read("Basic YTpiOmM="), Some(("a".into(), b"b:c".to_vec())));
        assert_eq!(read("basic YTo="), Some(("a".into(), vec![])));
        for value in ["Bearer YTpi", "Basic", "Basic !", "Basic YQ==", "Basic /zpi"] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }

    #[test]
    fn reasons_are_those_of_the_client() {
        let of = |alert| reason(&io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert)));
        assert!(of(AlertDescription::CertificateExpired).ends_with("of this server has expired"));
        assert!(of(AlertDescription::BadCertificate).starts_with("it does not accept the certificate"));
        assert!(of(AlertDescription::InternalError).contains("InternalError"));
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            assert!(is_gone(&kind.into()), "{kind}");
        }
        assert!(!is_gone(&io::Error::new(io::ErrorKind::InvalidData, Error::NoCertificatesPresented)));
    }

    #[test]
    fn refusals_are_reported_at_a_limited_rate() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&lines);
        let gate =
            Gate::new(Arc::default(), Arc::new(move |line: &str| lock(&written).push(line.to_owned())));
        for _ in 0..100 {
            gate.report("TLS handshake", Peer(Some("192.0.2.1:5".parse().unwrap())), "odd\nline");
        }
        let lines = lock(&lines);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(lines[0], "HTTP client refused: TLS handshake from 192.0.2.1: odd\\012line");
        assert_eq!(lock(&gate.refusals).unreported, 95);
    }
}
