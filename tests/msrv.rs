//! The oldest Rust that compiles this (`rust-version` in Cargo.toml): no dependency needs a newer one, and the documents
//! name the same. `tests/checks/msrv` compiles everything with that version; clippy's `incompatible_msrv` finds newer
//! functions of the standard library.

#![forbid(unsafe_code)]

use regex::Regex;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

type Version = [u32; 3];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `1.88` or `1.88.0`.
fn version(text: &str) -> Version {
    let mut version = [0; 3];
    for (part, number) in text.split('.').zip(&mut version) {
        *number = part.parse().unwrap_or_else(|_| panic!("{text} is no version"));
    }
    version
}

fn ours() -> Version {
    version(env!("CARGO_PKG_RUST_VERSION"))
}

#[test]
fn dependencies_need_no_newer_rust() {
    // On Linux. The registry was asked when this test was compiled.
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo compiled this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    assert!(packages.len() > 100, "{} packages", packages.len());
    let too_new: Vec<_> = packages
        .iter()
        .filter_map(|package| {
            Some((&package["name"], &package["version"], package["rust_version"].as_str()?))
        })
        .filter(|(.., needed)| version(needed) > ours())
        .collect();
    assert!(too_new.is_empty(), "{too_new:?}");
}

#[test]
fn documents_name_the_same_version() {
    let pattern = Regex::new(r#"(?:\bRust |rust-version = "|\bRust toolchain \()(1\.\d+(?:\.\d+)?)\b"#)
        .expect("it is valid");
    for (name, is_named) in [
        ("README.md", true),
        ("CONTRIBUTING.md", true),
        ("Cargo.toml", true),
        ("CHANGELOG.md", false),
        ("platform/Cargo.toml", false),
        ("clippy.toml", false),
    ] {
        let text = fs::read_to_string(root().join(name)).expect("it is there");
        let named: Vec<&str> = pattern.captures_iter(&text).map(|found| found.extract::<1>().1[0]).collect();
        assert!(!is_named || !named.is_empty(), "{name} names no version of Rust");
        assert!(named.iter().all(|named| version(named) == ours()), "{name}: {named:?}");
    }
}

#[test]
fn clippy_knows_the_version() {
    // A `msrv` there would replace that of Cargo.toml, and the lint is in the group `all`.
    let text = fs::read_to_string(root().join("clippy.toml")).expect("it is there");
    assert!(!text.contains("msrv"));
    for name in ["Cargo.toml", "platform/Cargo.toml"] {
        let text = fs::read_to_string(root().join(name)).expect("it is there");
        assert!(text.contains("rust-version.workspace = true"), "{name}");
        assert!(text.contains("[lints]\nworkspace = true"), "{name}");
        assert!(!text.contains("incompatible_msrv = \"allow\""), "{name}");
    }
}
