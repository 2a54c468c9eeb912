//! The address of a server.

use reqwest::Url;
use std::fmt;
use std::str::FromStr;

/// The error for a URL with a user or a password.
pub(crate) const NO_PASSWORD: &str =
    "a URL cannot hold a password, which everybody could read: write it to a file";

/// `host:port` or a URL, which may have a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Without the path, which is a secret in chat URLs.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let text = text.trim();
        // `localhost:9091` would be parsed as a URL with the scheme `localhost`.
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).map_err(|error| format!("{error}; write host:port or a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http and https are supported".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NO_PASSWORD.to_owned());
        }
        if url.fragment().is_some() {
            return Err(
                "a URL cannot have a fragment (what follows #): it is not sent to the server".to_owned()
            );
        }
        Ok(Address(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Address {
    pub(crate) const fn url(&self) -> &Url {
        &self.0
    }

    /// The URL with these segments appended to its path, escaped where necessary.
    pub(crate) fn below(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Whether it has a query (what follows `?`).
    pub(crate) fn has_query(&self) -> bool {
        self.0.query().is_some()
    }

    /// Scheme, host and port. The rest may be a secret.
    pub(crate) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_checked_and_completed() {
        for (text, below) in [
            ("localhost:9093", "http://localhost:9093/a/b%2Fc"),
            ("http://p/", "http://p/a/b%2Fc"),
            ("https://p:1/x/", "https://p:1/x/a/b%2Fc"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.below(&["a", "b/c"]).as_str(), below, "{text}");
        }
        for (text, expected) in [
            ("", "empty host"),
            ("ftp://p", "only http and https"),
            ("http://me:secret@p", "write it to a file"),
            ("http://me@p", "write it to a file"),
            ("http://p/#a", "fragment"),
            ("host:port", "invalid port"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let address: Address = "https://p/x?token=abc".parse().unwrap();
        assert!(address.has_query());
        assert_eq!((address.origin().as_str(), address.url().query()), ("https://p", Some("token=abc")));
    }
}
