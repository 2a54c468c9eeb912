//! Hooks as an operator configures them: which events of which mounts they are told, and that nobody waits for them.

use crate::common::{Lab, isolated, ms, printed, slack, soon};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that writes down what it is told; `more` comes after that.
fn hook(lab: &Lab, name: &str, more: &str) -> (PathBuf, PathBuf) {
    let (program, log) = (lab.aside(name), lab.aside(&format!("{name}.log")));
    // In one write: whoever reads sees a whole line or none.
    let start = r#"line="$MSM_EVENT $MSM_MOUNTPOINT $MSM_SEVERITY $(cat)""#;
    let log_line = format!("{start}\nprintf '%s\\n' \"$line\" >> {}", log.display());
    std::fs::write(&program, format!("#!/bin/sh\n{log_line}\n{more}\n")).expect("a program can be written");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("and be made one");
    (program, log)
}

fn config(lab: &Lab, text: &str) -> PathBuf {
    let path = lab.aside("config.toml");
    std::fs::write(&path, format!("timeout = \"400ms\"\npoll_interval = \"400ms\"\n{text}")).expect("a file");
    path
}

fn lines(log: &Path) -> Vec<String> {
    std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn rules_choose_hooks_and_say_how_bad_it_is() {
    isolated(this_test!(), |lab| {
        let (loud, quiet) = (lab.fuse("loud"), lab.fuse("quiet"));
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
        let daemon = lab.daemon(&["--config", file.to_str().unwrap(), "--log-format", "json"]);
        for path in [&loud, &quiet] {
            lab.order("errno EIO", path);
            daemon.told(&format!("Mount failed health-check: {} (io_error:", printed(path)), ms(2000));
        }
        soon(ms(5000) + slack(), "mail has both, page has one", || {
            (lines(&mailed).len(), lines(&paged).len()) == (2, 1)
        });
        let told = lines(&mailed).join("\n");
        for (path, severity) in [(&loud, "critical"), (&quiet, "info")] {
            let line = format!("failed {} {severity} {{", path.display());
            let found =
                told.lines().find(|told| told.starts_with(&line)).unwrap_or_else(|| panic!("{line}\n{told}"));
            let json: serde_json::Value = serde_json::from_str(&found[line.len() - 1..]).expect("JSON");
            assert_eq!((&json["event"], &json["severity"]), (&"failed".into(), &severity.into()));
            assert_eq!(json["reason"], "io_error");
        }
        // A line about what is only information is no error.
        let quiet_line = daemon.told(&format!("Mount failed health-check: {}", printed(&quiet)), ms(10));
        assert!(quiet_line.text.contains(r#""priority":"notice""#), "{}", quiet_line.text);
        lab.order("ok", &loud);
        soon(ms(8000) + slack(), "page is told of the recovery", || lines(&paged).len() == 2);
        assert!(lines(&paged)[1].starts_with(&format!("recovered {} critical ", loud.display())));
        assert_eq!(lines(&mailed).len(), 2, "mail wants failures alone");
        daemon.stop();
    });
}

#[test]
fn a_hook_that_hangs_delays_nobody_and_is_ended() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let (stuck, called) = hook(lab, "stuck", "trap '' TERM; while :; do sleep 100; done");
        let (fine, told) = hook(lab, "fine", "");
        let text = format!(
            "[[hook]]\nname = \"stuck\"\ncommand = [\"{}\"]\ntimeout = \"1s\"\n\
             [[hook]]\nname = \"fine\"\ncommand = [\"{}\"]\n",
            stuck.display(),
            fine.display()
        );
        let file = config(lab, &text);
        let daemon = lab.daemon(&["--config", file.to_str().unwrap()]);
        lab.say_range("errno", 0, 5, " EIO");
        daemon.told_failed(&mounts[4], "io_error", ms(2000));
        soon(ms(4000) + slack(), "the other hook is told of all", || lines(&told).len() == 5);
        daemon.told("Hook stuck failed for ", ms(8000));
        assert!(!lines(&called).is_empty());
        daemon.stop();
    });
}

#[test]
fn a_single_run_waits_for_its_hooks() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        lab.order("errno EIO", &path);
        let (page, paged) = hook(lab, "page", "");
        let file = config(lab, &format!("[[hook]]\nname = \"page\"\ncommand = [\"{}\"]\n", page.display()));
        let command = lab.command(&["--once-only", "--config", file.to_str().unwrap()]);
        let run = crate::common::Finished::run(command, ms(8000));
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert_eq!(lines(&paged).len(), 1);
    });
}
