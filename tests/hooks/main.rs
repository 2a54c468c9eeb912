//! Hooks with real commands, real servers and real hung storage: each gets its events, and one that hangs, fails or
//! floods delays nothing else.

#![cfg(target_os = "linux")] // needs FUSE and mount namespaces
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // helpers may fail like tests

#[path = "../common/mod.rs"]
#[allow(dead_code, unused_imports)] // used by other test binaries
mod common;
#[path = "../common/samples.rs"]
mod samples;

mod commands;
mod fixture;
mod hung;
mod posts;
mod reload;
