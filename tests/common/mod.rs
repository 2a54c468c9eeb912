//! The harness of the tests that run the real daemon on real mounts: a private mount and process namespace for each
//! test, a FUSE server with fault injection, and the daemon with its log lines.

mod daemon;
#[allow(dead_code)] // no test binary uses all of it
pub(crate) mod fake_server;
pub(crate) mod isolation;
mod lab;
mod lines;
mod process;
mod program;
mod server;

pub(crate) use daemon::{CommandOutput, Daemon};
pub(crate) use lab::{Lab, run_isolated, run_isolated_for};
pub(crate) use lines::Lines;
pub(crate) use process::{Process, count_threads_stuck_in_fuse};
pub(crate) use program::{is_release_build, monitor_command, program};
pub(crate) use server::FaultServer;

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Additional time that every promised limit gets on a loaded machine. The tests contain the promised limits.
pub(crate) fn slack() -> Duration {
    let configured = std::env::var("MSM_TEST_SLACK_MS").ok().and_then(|ms| ms.parse().ok());
    Duration::from_millis(configured.unwrap_or(if is_release_build() { 1000 } else { 2000 }))
}

/// Waits while a test checks that nothing happens.
pub(crate) fn pause(duration: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(duration);
}

/// Polls a condition that gives no notification. The limit is extended by [`slack`].
pub(crate) fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit + slack(), "not within {limit:?}: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Stops every thread of a process: the signal reaches each of them in its own time.
pub(crate) fn suspend(process: Process) {
    process.send_signal(nix::sys::signal::Signal::SIGSTOP);
    wait_until(ms(5000), "every thread is stopped", || process.is_suspended());
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A loopback address with a port that is free now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

pub(crate) fn free_port() -> u16 {
    free_address().port()
}

pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// A path as the daemon prints it.
pub(crate) fn display_path(path: &Path) -> String {
    escape_bytes(path.as_os_str(), |byte| byte.is_ascii_control() || byte == b'\\')
}

/// Writes bytes that are not UTF-8, and the chosen ASCII bytes, as `\ooo`.
pub(crate) fn escape_bytes(text: &OsStr, is_escaped: impl Fn(u8) -> bool) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().utf8_chunks() {
        for char in chunk.valid().chars() {
            match u8::try_from(char) {
                Ok(byte) if byte.is_ascii() && is_escaped(byte) => out += &format!("\\{byte:03o}"),
                _ => out.push(char),
            }
        }
        for byte in chunk.invalid() {
            out += &format!("\\{byte:03o}");
        }
    }
    out
}
