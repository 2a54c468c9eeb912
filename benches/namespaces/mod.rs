//! A bench inside a mount, pid and (so) process world of its own: what it mounts and starts ends with it.

use std::path::Path;
use std::process::Command;

const INSIDE: &str = "MSM_BENCH_INSIDE";

/// Runs `bench` inside, with a folder for its mounts that goes with it, or says by name that it is skipped.
pub(crate) fn inside(name: &str, bench: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return bench(Path::new(&folder));
    }
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED {name}: needs root for mounts in a namespace of its own");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = std::env::current_exe().expect("the bench has a path");
    let flags = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let status = Command::new("unshare")
        .args(flags)
        .arg(program)
        .env(INSIDE, folder.path())
        .status()
        .expect("unshare");
    assert!(status.success(), "{name} failed inside its namespaces");
}
