//! Hooks configured by rules: which events they receive, and that a slow hook delays nothing.

use crate::common::{Lab, display_path, ms, run_isolated, utf8, wait_until};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Creates a hook that appends its event to a log and then runs `more`. Returns the program and the log.
pub(crate) fn hook(lab: &Lab, name: &str, more: &str) -> (PathBuf, PathBuf) {
    let (program, log) = (lab.scratch_path(name), lab.scratch_path(&format!("{name}.log")));
    // In a single write, so that a reader sees whole lines only.
    let start = r#"line="$MSM_EVENT $MSM_MOUNTPOINT $MSM_SEVERITY $(cat)""#;
    let log_line = format!("{start}\nprintf '%s\\n' \"$line\" >> {}", log.display());
    std::fs::write(&program, format!("#!/bin/sh\n{log_line}\n{more}\n")).expect("write a program");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("make it executable");
    (program, log)
}

fn config(lab: &Lab, text: &str) -> PathBuf {
    let path = lab.scratch_path("config.toml");
    std::fs::write(&path, format!("timeout = \"400ms\"\npoll_interval = \"400ms\"\n{text}"))
        .expect("write a file");
    path
}

pub(crate) fn lines(log: &Path) -> Vec<String> {
    std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn rules_select_hooks_and_severity() {
    run_isolated(|lab| {
        let (loud, quiet) = (lab.mount_fuse("loud"), lab.mount_fuse("quiet"));
        let (page, paged) = hook(lab, "page", "");
        let (mail, mailed) = hook(lab, "mail", "");
        let text = format!(
            "[[rule]]\nmountpoint = \"{}\"\nseverity = \"info\"\nhook = \"mail\"\n\
             [[hook]]\nname = \"page\"\ncommand = [\"{}\"]\n\
             [[hook]]\nname = \"mail\"\ncommand = [\"{}\"]\nevents = [\"failed\"]\n",
            quiet.display(),
            page.display(),
            mail.display()
        );
        let file = config(lab, &text);
        let daemon = lab.start_daemon(&["--config", utf8(&file), "--log-format", "json"]);
        for path in [&loud, &quiet] {
            lab.set_fault("errno EIO", path);
            daemon.wait_for_line(
                &format!("Mount failed health-check: {} (io_error:", display_path(path)),
                ms(2000),
            );
        }
        wait_until(ms(5000), "mail receives both events, page one", || {
            (lines(&mailed).len(), lines(&paged).len()) == (2, 1)
        });
        let log = lines(&mailed).join("\n");
        for (path, severity) in [(&loud, "critical"), (&quiet, "info")] {
            let line = format!("failed {} {severity} {{", path.display());
            let found =
                log.lines().find(|text| text.starts_with(&line)).unwrap_or_else(|| panic!("{line}\n{log}"));
            let json: serde_json::Value = serde_json::from_str(&found[line.len() - 1..]).expect("JSON");
            assert_eq!((&json["event"], &json["severity"]), (&"failed".into(), &severity.into()));
            assert_eq!(json["reason"], "io_error");
        }
        // Severity info lowers the priority of the line.
        let quiet_line =
            daemon.wait_for_line(&format!("Mount failed health-check: {}", display_path(&quiet)), ms(10));
        assert!(quiet_line.text.contains(r#""priority":"notice""#), "{}", quiet_line.text);
        lab.set_fault("ok", &loud);
        wait_until(ms(8000), "page receives the recovery", || lines(&paged).len() == 2);
        assert!(lines(&paged)[1].starts_with(&format!("recovered {} critical ", loud.display())));
        assert_eq!(lines(&mailed).len(), 2, "mail is configured for failures only");
        daemon.stop();
    });
}

#[test]
fn hung_hook_is_killed_and_delays_no_other_hook() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let (stuck, called) = hook(lab, "stuck", "trap '' TERM; while :; do sleep 100; done");
        let (fine, events) = hook(lab, "fine", "");
        let text = format!(
            "[[hook]]\nname = \"stuck\"\ncommand = [\"{}\"]\ntimeout = \"1s\"\n\
             [[hook]]\nname = \"fine\"\ncommand = [\"{}\"]\n",
            stuck.display(),
            fine.display()
        );
        let file = config(lab, &text);
        let daemon = lab.start_daemon(&["--config", utf8(&file)]);
        lab.set_faults("errno EIO", 0..5);
        daemon.wait_for_failure(&mounts[4], "io_error", ms(2000));
        wait_until(ms(4000), "the other hook receives all events", || lines(&events).len() == 5);
        daemon.wait_for_line("Hook stuck failed for ", ms(8000));
        assert!(!lines(&called).is_empty());
        daemon.stop();
    });
}

#[test]
fn single_run_waits_for_its_hooks() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("errno EIO", &path);
        let (page, paged) = hook(lab, "page", "");
        let file = config(lab, &format!("[[hook]]\nname = \"page\"\ncommand = [\"{}\"]\n", page.display()));
        let command = lab.daemon_command(&["--once-only", "--config", utf8(&file)]);
        let run = crate::common::CommandOutput::run(command, ms(8000));
        run.assert_code(1);
        assert_eq!(lines(&paged).len(), 1);
    });
}
