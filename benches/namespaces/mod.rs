//! Runs a bench in its own mount and pid namespaces; its mounts and processes end with it.

#![allow(dead_code)] // no bench uses all of it

use nix::mount::{MsFlags, mount};
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

/// A tmpfs on this directory, which is made.
pub(crate) fn mount_tmpfs(path: &Path) {
    std::fs::create_dir_all(path).expect("create a directory");
    mount(Some("bench"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount a tmpfs");
}

/// The processes in this pid namespace except these: the argument of each (the task of a child), and its memory (PSS) in
/// KiB.
pub(crate) fn memory_of_processes(except: &[u32]) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let memory = |pid| {
        let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let (arguments, text) = (read("cmdline")?, read("smaps_rollup")?);
        let task = arguments.split('\0').nth(1).filter(|task| !task.starts_with('-')).unwrap_or("daemon");
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"))?;
        Some((task.to_owned(), pss.parse().ok()?))
    };
    pids.filter(|pid| !except.contains(pid)).filter_map(memory).collect()
}
