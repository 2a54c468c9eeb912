//! The checks of the fuzz targets (tests/fuzz) over their corpora. `cargo fuzz` finds new inputs.

#![forbid(unsafe_code)]
#![cfg(all(target_os = "linux", not(feature = "interval")))]

#[path = "fuzz/checks/mod.rs"]
mod checks;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

fn run(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut inputs: Vec<_> = entries.map(|entry| entry.expect("it was listed").path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", corpus.display());
    let failed: Vec<_> = inputs
        .iter()
        .filter(|path| {
            let input = fs::read(path).expect("it was listed");
            catch_unwind(AssertUnwindSafe(|| check(&input))).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn mount_table() {
    run("mount_table", checks::mount_table);
}

#[test]
fn prober_protocol() {
    run("prober_protocol", checks::prober_protocol);
}

#[test]
fn kernel_log() {
    run("kernel_log", checks::kernel_log);
}

#[test]
fn saved_state() {
    run("saved_state", checks::saved_state);
}
