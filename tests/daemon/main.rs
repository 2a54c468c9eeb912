//! The real daemon on real FUSE mounts with real faults, held against what it promises to people and their scripts.
//!
//! One program and not one per theme, so that it is linked once. Each test runs in namespaces of its own; see
//! `common`. Those that cannot run here say so: `SKIPPED <test>: <reason>`.

#![cfg(target_os = "linux")] // file systems that hang on command, in namespaces
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
#[macro_use]
mod common;

mod binds;
mod check;
mod configuration;
mod diagnose;
mod evidence;
mod expected;
mod fault_injection;
mod fleet;
mod foreign;
mod hangs;
mod harness;
mod hooks;
mod http;
mod many;
mod names;
mod namespace;
mod once;
mod resources;
mod rsyslog;
mod sinks;
mod stopping;
mod table;

/// Settings under which a test does not take long.
const QUICK: &[&str] = &["--timeout", "500ms", "--slow-after", "450ms", "--poll-interval", "1"];

/// The longest time until a hang is told under these settings.
const QUICK_HANG: std::time::Duration = common::ms(1500);
