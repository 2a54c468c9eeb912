//! A bench inside a mount, pid and (so) process world of its own: what it mounts and starts ends with it.

use std::process::Command;

const INSIDE: &str = "MSM_BENCH_INSIDE";

/// Runs `bench` inside, or says by name that it is skipped.
pub(crate) fn inside(name: &str, bench: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return bench();
    }
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED {name}: needs root for mounts in a namespace of its own");
        return;
    }
    let program = std::env::current_exe().expect("the bench has a path");
    let flags = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let status = Command::new("unshare").args(flags).arg(program).env(INSIDE, "1").status().expect("unshare");
    assert!(status.success(), "{name} failed inside its namespaces");
}
