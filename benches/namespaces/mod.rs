//! Runs a bench in its own mount and pid namespaces; its mounts and processes end with it.

use std::path::Path;
use std::process::Command;

const DIRECTORY_VARIABLE: &str = "MSM_BENCH_DIRECTORY";

/// Runs `bench` in new namespaces with a temporary directory for its mounts, or prints that it is skipped.
pub(crate) fn run_in_namespaces(name: &str, bench: impl FnOnce(&Path)) {
    if let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) {
        return bench(Path::new(&directory));
    }
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED {name}: needs root for a mount namespace");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = std::env::current_exe().expect("the bench has a path");
    let flags = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let status = Command::new("unshare")
        .args(flags)
        .arg(program)
        .env(DIRECTORY_VARIABLE, directory.path())
        .status()
        .expect("unshare");
    assert!(status.success(), "{name} failed in its namespaces");
}
