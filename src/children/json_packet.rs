//! Messages of remedies: one JSON text in each packet. There are few, and what they say changes more often than that of
//! probes.

use platform::process::MAX_PACKET;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// # Errors
/// It does not fit into a packet.
pub(super) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    if json.len() <= MAX_PACKET { Ok(json) } else { Err(ErrorKind::InvalidInput.into()) }
}

/// `None` if this is no such message.
pub(super) fn decode<T: for<'a> Deserialize<'a>>(packet: &[u8]) -> Option<T> {
    serde_json::from_slice(packet).ok()
}

/// A path may have bytes that are no text.
pub(super) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub(super) fn path(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_that_does_not_fit_is_not_encoded() {
        assert!(encode(&vec![0u8; MAX_PACKET]).is_err());
        assert_eq!(encode(&"a").ok().as_deref(), Some(&b"\"a\""[..]));
        assert_eq!(decode::<String>(b"{"), None);
    }
}
