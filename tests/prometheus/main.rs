//! The daemon with Prometheus, Alertmanager, push gateway and node_exporter, real and simulated.

#![cfg(target_os = "linux")] // needs FUSE and mount namespaces
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
#[allow(dead_code, unused_imports)] // used by other test binaries
mod common;
#[path = "../common/samples.rs"]
mod samples;

mod alertmanager;
mod alerts;
mod contrib;
mod dashboard;
mod drill;
mod fleet;
mod gateway;
mod hostile;
mod once;
mod peer;
mod statuses;
mod textfile;
mod web_security;

/// Options that keep a test short.
const QUICK: &[&str] = &["--timeout", "500ms", "--slow-after", "450ms", "--poll-interval", "1"];

/// With these options, a hang is logged within this time.
const QUICK_HANG: std::time::Duration = common::ms(1500);

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}
