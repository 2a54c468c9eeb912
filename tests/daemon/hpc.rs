//! The samples for clusters in `contrib/hpc/`, with stand-ins for `scontrol` and for the driver of NHC.

use crate::common::{CommandOutput, Lab, display_path, ms, program, run_isolated, utf8};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROLOG: &str = include_str!("../../contrib/hpc/slurm-prolog");
const NHC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/hpc/mount_status_monitor.nhc");
const LIMIT: Duration = ms(15_000);

/// A directory with the program and this `scontrol`.
fn commands(lab: &Lab, scontrol: &str) -> PathBuf {
    let directory = lab.scratch_path("bin");
    fs::create_dir_all(&directory).expect("create a directory");
    let link = directory.join("mount_status_monitor");
    if !link.exists() {
        symlink(program(), link).expect("create a link");
    }
    let file = directory.join("scontrol");
    fs::write(&file, format!("#!/bin/sh\n{scontrol}\n")).expect("write a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    directory
}

fn bash(commands: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.args(arguments).env("PATH", format!("{}:/usr/bin:/bin", commands.display()));
    command.env("SLURMD_NODENAME", "node7");
    command
}

/// The prolog for these mounts, with shorter limits.
fn prolog(lab: &Lab, mounts: &[&Path]) -> PathBuf {
    let mounts: Vec<&str> = mounts.iter().map(|path| utf8(path)).collect();
    let mut text = PROLOG.to_owned();
    for (old, new) in [
        ("mounts=(/home /scratch)", format!("mounts=({})", mounts.join(" "))),
        ("wait=20", "wait=2".to_owned()),
        ("drain_limit=10", "drain_limit=1".to_owned()),
    ] {
        assert_eq!(text.matches(&format!("\n{old}\n")).count(), 1, "{old}");
        text = text.replace(old, &new);
    }
    lab.write_file("prolog", text)
}

#[test]
fn slurm_prolog_drains_a_node_whose_storage_hangs() {
    run_isolated(|lab| {
        let (home, scratch) = (lab.mount_fuse("home"), lab.mount_fuse("scratch"));
        let log = lab.scratch_path("scontrol.log");
        let commands = commands(lab, &format!("printf '%s\\n' \"$@\" >{}", log.display()));
        let file = prolog(lab, &[&home, &scratch]);
        let run = |commands: &Path| CommandOutput::run(bash(commands, &[utf8(&file)]), LIMIT);
        run(&commands).assert_code(0);
        assert!(!log.exists(), "a node whose mounts respond is not drained");

        lab.set_fault("mute", &scratch);
        let result = run(&commands);
        result.assert_code(1);
        let drained = fs::read_to_string(&log).expect("scontrol was called");
        let reason =
            format!("Reason=mount_status_monitor: {} after 2s: it has not responded", display_path(&scratch));
        let lines: Vec<&str> = drained.lines().collect();
        assert_eq!(lines[..3], ["update", "NodeName=node7", "State=DRAIN"], "{drained}");
        assert!(lines.len() == 4 && lines[3].starts_with(&reason), "{drained}");

        // The controller does not respond: the prolog ends, and fails.
        let commands = self::commands(lab, "exec sleep 60");
        let result = run(&commands);
        result.assert_code(1);
        result.assert_stderr_contains("cannot drain this node");
    });
}

#[test]
fn nhc_check_fails_with_the_line_of_the_plugin() {
    run_isolated(|lab| {
        let (home, scratch) = (lab.mount_fuse("home"), lab.mount_fuse("scratch"));
        let absent = lab.mount_point("absent");
        let commands = commands(lab, "exit 1");
        // NHC defines `die` and sources its scripts.
        let driver = format!("die() {{ echo \"died $1: $2\"; }}\n. {NHC}\ncheck_mounts_respond \"$@\"\n");
        let driver = lab.write_file("driver", driver);
        let run = |paths: &[&Path]| {
            let paths: Vec<&str> = paths.iter().map(|path| utf8(path)).collect();
            CommandOutput::run(bash(&commands, &[&[utf8(&driver), "10"], &*paths].concat()), LIMIT)
        };
        let result = run(&[&home, &scratch]);
        result.assert_code(0);
        assert_eq!(result.stdout, "");

        lab.set_fault("mute", &scratch);
        let result = run(&[&home, &scratch]);
        result.assert_code(1);
        result.assert_stdout_contains("died 1: check_mounts_respond: MOUNTS CRITICAL - ");
        result.assert_stdout_contains(&display_path(&scratch));
        assert!(!result.stdout.contains(" | "), "{}", result.stdout);

        let result = run(&[&home, &absent]);
        result.assert_code(1);
        result.assert_stdout_contains("died 1: check_mounts_respond: MOUNTS UNKNOWN - ");
    });
}
