//! The check of the `Host` header. A web page that a user of this machine visits can make the browser send requests to
//! any address by its own name (DNS rebinding), but only with that name in the header.

use super::response;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::Arc;

/// Allows every name.
const ANY: &str = "*";
const LOCALHOST: &str = "localhost";

/// Names, besides addresses, that a request may address this server by: in lower case.
#[derive(Clone, Debug)]
pub(super) struct AllowedHosts(Arc<[String]>);

impl AllowedHosts {
    /// These names, `localhost` and the name of this machine.
    pub(super) fn new(configured: &[String]) -> AllowedHosts {
        let machine = hostname::get().ok().and_then(|name| name.into_string().ok());
        let names = configured.iter().cloned().chain(machine).chain([LOCALHOST.to_owned()]);
        AllowedHosts(names.map(|name| name.to_ascii_lowercase()).collect())
    }

    fn contains(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        // Browsers send no user name.
        !host.contains('@')
            && (address.parse::<IpAddr>().is_ok()
                || self.0.iter().any(|allowed| *allowed == name || allowed == ANY))
    }

    /// The name by which a request addresses the server, if that is not allowed. Without a name it comes from no browser.
    fn refused<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
        let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("(not ASCII)"));
        named.chain(uri.authority().map(Authority::as_str)).find(|host| !self.contains(host))
    }
}

pub(super) async fn refuse_other_hosts(
    State(allowed): State<AllowedHosts>,
    request: Request,
    next: Next,
) -> Response {
    match allowed.refused(request.uri(), request.headers()) {
        None => next.run(request).await,
        Some(host) => {
            let text = format!(
                "{} is not an allowed host: use an address of this machine, or add the name to allowed_hosts",
                host.escape_default()
            );
            response::text(StatusCode::FORBIDDEN, &text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_allowed_names_are_accepted() {
        let allowed = AllowedHosts::new(&["Mon.Example.org".to_owned()]);
        for (host, expected) in [
            ("127.0.0.1:9817", true),
            ("192.0.2.7", true),
            ("[::1]:9817", true),
            ("localhost:9817", true),
            ("LOCALHOST", true),
            ("mon.example.org:80", true),
            ("mon.example.org.", true),
            ("evil.example", false),
            ("evil.example:9817", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("evil.example@127.0.0.1", false),
            ("127.0.0.1@evil.example", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(allowed.contains(host), expected, "{host}");
        }
        assert!(AllowedHosts::new(&["*".to_owned()]).contains("evil.example"));
        let machine = hostname::get().unwrap().into_string().unwrap();
        assert!(allowed.contains(&machine));
    }
}
