//! Numbers and names as all JSON of this program has them.

use super::escape::escape_os;
use std::ffi::OsStr;
use std::time::Duration;

/// Seconds as JSON has them, to the microsecond.
pub(super) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e6
}

/// Names are escaped as in lines, so that they are always text and can be turned back into bytes.
pub(super) fn name(name: &OsStr) -> String {
    escape_os(name).into_owned()
}
