//! The real daemon on real FUSE mounts with injected faults.
//!
//! A single test binary, because linking is slow. Each test runs in its own namespaces (see `common`). Tests that
//! cannot run here print `SKIPPED <test>: <reason>`.

#![cfg(target_os = "linux")] // needs FUSE and mount namespaces
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod automount;
mod binds;
mod check;
mod completion;
mod configuration;
mod data_path;
mod demo;
mod diagnose;
mod drill;
mod early_signs;
mod evidence;
mod expected;
mod fault_injection;
mod flapping;
mod freshness;
mod fuse_owners;
mod hangs;
mod harness;
mod hooks;
mod hostile_users;
mod hpc;
mod http;
mod interruptions;
mod long_paths;
mod many_mounts;
mod mount_table;
mod namespace;
mod no_remedy;
mod once;
mod own_files;
mod own_storage;
mod plugin;
mod proxy;
mod remedy;
mod remedy_outputs;
mod remedy_rules;
mod resources;
mod restart;
mod rsyslog;
mod run_offset;
mod sinks;
mod soak;
mod stopping;
mod trust;
mod unusual_names;
mod wait;

/// Options that keep a test short.
const QUICK: &[&str] = &["--timeout", "500ms", "--slow-after", "450ms", "--poll-interval", "1"];

/// With these options, a hang is logged within this time.
const QUICK_HANG: std::time::Duration = common::ms(1500);
