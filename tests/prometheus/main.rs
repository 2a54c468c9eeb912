//! Prometheus and its friends: the real ones, which take what the daemon says, and hostile ones, which delay nothing.

#![cfg(target_os = "linux")] // file systems that hang on command, in namespaces
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
#[macro_use]
#[allow(dead_code, unused_imports)] // other tests use the rest of it
mod common;

mod alertmanager;
mod alerts;
mod contrib;
mod fake;
mod gateway;
mod hostile;
mod once;
mod peer;
mod textfile;

/// Settings under which a test does not take long.
const QUICK: &[&str] = &["--timeout", "500ms", "--slow-after", "450ms", "--poll-interval", "1"];

/// The longest time until a hang is told under these settings.
const QUICK_HANG: std::time::Duration = common::ms(1500);

/// These arguments, and some more.
fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}
