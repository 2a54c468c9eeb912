//! The address of a gateway, and of the group of this machine in it.

use crate::output::http_client::{Access, Address, NO_PASSWORD};
use crate::render::PROCESS_NAME;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use reqwest::Url;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The push gateway and its options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PushSettings {
    pub gateway: Address,
    /// Whether the group is deleted at a clean stop.
    pub delete_on_exit: bool,
    pub access: Access,
}

/// Parses the address of a gateway: `host:port`, or a URL, which may have a path.
pub fn parse_gateway(text: &str) -> Result<Address, String> {
    let address: Address = text.parse().map_err(|error| match error {
        error if error == NO_PASSWORD => format!("{error}; use --push-user-file"),
        error => error,
    })?;
    if address.has_query() { Err("a gateway has no query".to_owned()) } else { Ok(address) }
}

/// The group of a drill, beside that of this instance.
pub(super) fn drill_url(mut group: Url) -> Url {
    if let Ok(mut path) = group.path_segments_mut() {
        path.extend(["drill", "true"]);
    }
    group
}

/// The URL of the group of this instance. Unusual names are encoded in base64: the gateway accepts a slash or an empty
/// name in no other way.
pub(super) fn group_url(gateway: &Address, instance: &OsStr) -> Url {
    let bytes = instance.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let dots = matches!(bytes, b"." | b"..");
    let (label, value) = match bytes {
        b"" => ("instance@base64", "=".to_owned()),
        // Label values must be UTF-8.
        _ if dots || !bytes.iter().all(is_plain) => {
            ("instance@base64", URL_SAFE.encode(instance.to_string_lossy().as_bytes()))
        }
        _ => ("instance", instance.to_string_lossy().into_owned()),
    };
    gateway.below(&["metrics", "job", PROCESS_NAME, label, &value])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_address_is_checked_and_completed() {
        for (text, group) in [
            ("localhost:9091", "http://localhost:9091/metrics/job/mount_status_monitor/instance/h"),
            ("push.example", "http://push.example/metrics/job/mount_status_monitor/instance/h"),
            ("[::1]:9091", "http://[::1]:9091/metrics/job/mount_status_monitor/instance/h"),
            ("http://p/", "http://p/metrics/job/mount_status_monitor/instance/h"),
            ("https://p:1/a/b/", "https://p:1/a/b/metrics/job/mount_status_monitor/instance/h"),
        ] {
            let gateway = parse_gateway(text).unwrap();
            let url = group_url(&gateway, OsStr::new("h"));
            assert_eq!(url.as_str(), group, "{text}");
            assert_eq!(drill_url(url).as_str(), format!("{group}/drill/true"));
        }
        for (text, expected) in [
            ("", "empty host"),
            ("ftp://p", "only http and https"),
            ("http://me:secret@p", "--push-user-file"),
            ("http://p/?a", "no query"),
            ("host:port", "invalid port"),
        ] {
            let error = parse_gateway(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn unusual_instance_is_written_in_base64() {
        let gateway = parse_gateway("p").unwrap();
        for (bytes, end) in [
            (&b"web-1.example_x"[..], "/instance/web-1.example_x"),
            (b"", "/instance@base64/="),
            (b"a/b", "/instance@base64/YS9i"),
            (b"..", "/instance@base64/Li4="),
            (b"a b", "/instance@base64/YSBi"),
            ("ü??".as_bytes(), "/instance@base64/w7w_Pw=="),
            (b"\xff", "/instance@base64/77-9"),
        ] {
            let url = group_url(&gateway, OsStr::from_bytes(bytes));
            assert!(url.as_str().ends_with(end), "{url}");
        }
    }
}
