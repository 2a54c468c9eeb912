//! The harness of the tests that run the real daemon on real mounts: a private mount and process namespace for each
//! test, a file server with faults on command, and the daemon with its messages as they come.

#[macro_use]
mod isolation;
mod daemon;
mod lab;
mod lines;
mod process;
mod server;

pub(crate) use daemon::{Daemon, Finished};
pub(crate) use isolation::{isolated, isolated_for, skipped};
pub(crate) use lab::Lab;
pub(crate) use lines::Lines;
pub(crate) use process::{Process, stuck_in_fuse};
pub(crate) use server::Server;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a loaded machine may add to any promised time. The promises themselves are in the tests.
pub(crate) fn slack() -> Duration {
    let asked = std::env::var("MSM_TEST_SLACK_MS").ok().and_then(|ms| ms.parse().ok());
    Duration::from_millis(asked.unwrap_or(if cfg!(debug_assertions) { 2000 } else { 1000 }))
}

/// Lets time pass while something is watched that gives no sign when all is well.
pub(crate) fn pause(span: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(span);
}

/// Asks again and again until it is so; for what can only be asked.
pub(crate) fn soon(limit: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        pause(Duration::from_millis(10));
    }
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A path as the daemon prints it.
pub(crate) fn printed(path: &Path) -> String {
    escaped(path.as_os_str(), |byte| byte.is_ascii_control() || byte == b'\\')
}

/// As valid text: bytes that are not UTF-8, and the ASCII ones that are asked for, become `\ooo`.
pub(crate) fn escaped(text: &OsStr, which: impl Fn(u8) -> bool) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().utf8_chunks() {
        for char in chunk.valid().chars() {
            match u8::try_from(char) {
                Ok(byte) if byte.is_ascii() && which(byte) => out += &format!("\\{byte:03o}"),
                _ => out.push(char),
            }
        }
        for byte in chunk.invalid() {
            out += &format!("\\{byte:03o}");
        }
    }
    out
}
