//! Hooks with real commands, real servers and real hung storage: each gets its events, and one that hangs, fails or
//! floods delays nothing else.

#![cfg(target_os = "linux")] // file systems that hang on command, in namespaces
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "../common/mod.rs"]
#[allow(dead_code, unused_imports)] // other tests use the rest of it
mod common;
#[path = "../prometheus/fake.rs"]
#[allow(dead_code)]
mod fake;
#[path = "../common/samples.rs"]
mod samples;

mod commands;
mod fixture;
mod hung;
mod posts;
mod reload;
