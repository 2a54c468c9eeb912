//! `diagnose`, with and without a daemon.

use crate::common::{CommandOutput, display_path, monitor_command, ms, run_isolated, slack};
use crate::evidence::{PATIENT, PATIENT_HANG, Victim};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[test]
fn diagnosis_by_the_daemon_is_fresh_and_lists_next_steps() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        let socket = lab.scratch_path("socket").display().to_string();
        let mut arguments = vec!["--socket", &socket];
        arguments.extend(PATIENT);
        let daemon = lab.start_daemon(&arguments);
        let healthy = diagnose(&mounts[1], &["--socket", &socket]);
        healthy.assert_code(0);
        healthy.assert_stdout_contains(" is ok: responds in ");

        lab.fuse_server().freeze();
        daemon.wait_for_failure(&mounts[0], "hung", PATIENT_HANG);
        // Blocked only after the failure was logged.
        let victim = Victim::reader(&mounts[0]);
        let by_daemon = diagnose(&mounts[0], &["--socket", &socket]);
        by_daemon.assert_code(1);
        let command = format!("umount -f -l {}", display_path(&mounts[0]));
        for part in [
            " has been dead since ",
            " UTC (hung: no response in 4",
            "] is stopped (T)",
            ". kill -CONT ",
            ". echo 1 > /sys/fs/fuse/connections/",
            &command,
        ] {
            assert!(by_daemon.stdout.contains(part), "{part} is not in\n{}", by_daemon.stdout);
        }
        drop(victim);
        let json = diagnose(&mounts[0], &["--socket", &socket, "--json"]);
        let json: Value = json.json();
        assert_eq!(json["mount"]["state"], "hung");
        assert!(json["next_steps"].as_array().is_some_and(|steps| steps.len() == 4), "{json}");
        lab.fuse_server().thaw();
        daemon.stop();
    });
}

#[test]
fn direct_diagnosis_collects_evidence_without_hanging() {
    run_isolated(|lab| {
        let outer = lab.mount_fuse("a");
        let inner = lab.mount_point("a/file");
        lab.bind_mount_file(&inner);
        lab.fuse_server().freeze();
        let victim = Victim::of(Command::new("stat").arg(&outer));
        let start = Instant::now();
        let result = diagnose(&outer, &["--direct"]);
        result.assert_code(1);
        assert!(start.elapsed() < ms(9000) + slack(), "{:?}", start.elapsed());
        for part in
            [" UTC (hung: no response in ", "] is stopped (T)", "blocked: stat[", "in request_wait_answer"]
        {
            assert!(result.stdout.contains(part), "{part} is not in\n{}", result.stdout);
        }
        let result = diagnose(&inner, &["--direct"]);
        result.assert_code(1);
        let next_step = format!("mount_status_monitor diagnose {}", display_path(&outer));
        result.assert_stdout_contains(&next_step);

        let not_a_mount = diagnose(&lab.mount_point("a/b/c"), &["--direct"]);
        assert_eq!(not_a_mount.code, Some(2));
        let next_step = format!("it is inside the mount {}, diagnose that one", display_path(&outer));
        not_a_mount.assert_stderr_contains("is not a mount point").assert_stderr_contains(&next_step);
        drop(victim);
    });
}

fn diagnose(path: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = monitor_command();
    command.arg("diagnose").arg(path).args(arguments).env("LC_ALL", "C").current_dir("/");
    CommandOutput::run(command, ms(20_000))
}
