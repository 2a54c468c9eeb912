//! JSON for programs: events (logs, hooks, the event stream) and statuses (`check --json`, the API).

mod event;
mod evidence;
mod remedy;
mod status;

pub(crate) use event::EventRecord;
pub use event::{HOOK_VERSION, event, host_event};
pub(super) use status::MountObject;
pub use status::{StatusText, status};

use super::escape::escape_os;
use serde::Serialize;
use std::ffi::OsStr;
use std::time::Duration;

/// One line without a line end.
pub(super) fn to_line(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("strings and finite numbers are valid JSON")
}

/// Seconds, to the microsecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Escaped as in log lines: always text, and reversible.
fn name(name: impl AsRef<OsStr>) -> String {
    escape_os(name.as_ref()).into_owned()
}
