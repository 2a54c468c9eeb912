//! The steps of remedies, by real children on real FUSE mounts.

#![cfg(all(target_os = "linux", not(feature = "interval")))] // remedies need this back-end
#![allow(clippy::unwrap_used)] // also in helpers

mod accidents;
mod attempts;
#[allow(dead_code, unused_imports)] // used by other test binaries
#[path = "../common/mod.rs"]
mod common;
mod facts;
mod harness;
mod steps;
