//! The command `remedy` on real mounts.

use crate::automount::Trigger;
use crate::common::{
    CommandOutput, Lab, Process, count_threads_stuck_in_fuse, display_path, monitor_command, ms,
    run_isolated, utf8, wait_until,
};
use crate::remedy_rules::prepare;
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

fn remedy(path: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = monitor_command();
    command.arg("remedy").arg(path).args(arguments).env("LC_ALL", "C").current_dir("/");
    CommandOutput::run(command, ms(60_000))
}

fn table() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("the mount table")
}

/// Locks and records of remedies are those of the machine: not of this one.
fn hide_run(lab: &Lab) {
    lab.mount_tmpfs_over(Path::new("/run"));
}

#[test]
fn plan_changes_nothing_and_says_what_forbids_it() {
    run_isolated(|lab| {
        hide_run(lab);
        let path = lab.mount_fuse("a");
        let healthy = remedy(&path, &[]);
        healthy.assert_code(0);
        healthy.assert_stdout_contains("is not dead");
        healthy.assert_stdout_contains("Nothing to do.");
        lab.set_fault("mute", &path);
        let before = table();
        let plan = remedy(&path, &[]);
        plan.assert_code(2);
        for part in ["is dead: hung", "Nothing is done", "it would not be mounted again", "Mounted again"] {
            plan.assert_stdout_contains(part);
        }
        let json: Value = remedy(&path, &["--json"]).json();
        assert_eq!(json["refused"], true);
        assert_eq!(json["situation"], "fuse_hung");
        let refused = remedy(&path, &["--act"]);
        refused.assert_code(2);
        assert!(!refused.stdout.contains("succeeded"), "no call is made: {}", refused.stdout);
        assert_eq!(table(), before);
        lab.clear_fault(&path);
    });
}

/// Makes this script systemctl(1), and systemd the first process. False where it cannot be replaced.
fn provide_systemd(lab: &Lab, script: &str) -> bool {
    let directory = Path::new("/usr/local/sbin");
    if !directory.is_dir() {
        lab.skip("there is no /usr/local/sbin");
        return false;
    }
    fs::create_dir_all("/run/systemd/system").expect("create a directory");
    lab.mount_tmpfs_over(directory);
    let program = directory.join("systemctl");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("write a script");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("make it executable");
    true
}

#[test]
fn plan_knows_who_uses_the_mount_and_what_systemd_says() {
    run_isolated(|lab| {
        hide_run(lab);
        let stopping = "\
case $* in
*shutdown.target) printf 'Id=m.mount\\nActiveState=active\\nBoundBy=app.service\\n\\nId=shutdown.target\\nActiveState=inactive\\nJob=7\\n' ;;
*' -- app.service') printf 'Id=app.service\\nActiveState=active\\n' ;;
*) exit 1 ;;
esac";
        if !provide_systemd(lab, stopping) {
            return;
        }
        let path = lab.mount_fuse("a");
        let mut user = Command::new("sleep").arg("600").current_dir(&path).spawn().expect("sleep starts");
        let users = |json: &Value| json["users"].as_u64().expect("a number");
        let guards = |json: &Value| -> Vec<String> {
            let refusals = json["refusals"].as_array().expect("a list");
            refusals.iter().map(|refusal| refusal["guard"].as_str().expect("text").to_owned()).collect()
        };
        let has = |json: &Value, guard: &str| guards(json).iter().any(|it| it == guard);
        lab.set_fault("mute", &path);
        let json: Value = remedy(&path, &["--json"]).json();
        let with_user = users(&json);
        assert!(has(&json, "shutting_down") && has(&json, "units_active"), "{json}");
        user.kill().and_then(|()| user.wait()).expect("it ends");
        assert!(provide_systemd(lab, "exec sleep 600"));
        let json: Value = remedy(&path, &["--json"]).json();
        assert_eq!(users(&json), with_user - 1);
        assert!(!has(&json, "shutting_down") && has(&json, "units_unknown"), "{json}");
        fs::write("/run/nologin", "").expect("write a file");
        let json: Value = remedy(&path, &["--json"]).json();
        assert!(has(&json, "shutting_down"), "{json}");
        lab.clear_fault(&path);
    });
}

#[test]
fn hung_mount_is_replaced_and_whoever_waited_for_it_goes_on() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        lab.set_fault("mute", &path);
        let mut waiting = Command::new("stat").arg(path.join("file")).spawn().expect("stat starts");
        wait_until(ms(5000), "it waits", || count_threads_stuck_in_fuse(&[Process(waiting.id())]) == 1);
        let result = remedy(&path, &["--act", "--allow", "not_mounted_again,copies"]);
        // Nobody knows how to mount it again.
        result.assert_code(1);
        for part in ["/abort, 1): succeeded", "UMOUNT_NOFOLLOW): succeeded", "is not mounted again"] {
            result.assert_stdout_contains(part);
        }
        assert!(!waiting.wait().expect("it ends").success(), "its request has failed");
        let table = table();
        let here: Vec<&str> =
            table.lines().filter(|line| line.contains(&format!(" {} ", display_path(&path)))).collect();
        assert!(matches!(here[..], [line] if line.contains(" - tmpfs mount_status_monitor ro")), "{here:?}");
        let error = fs::write(path.join("x"), "").expect_err("nobody writes into the directory underneath");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(table.matches("mount_status_monitor/remedy").count(), 0, "the private place is gone");
        let json = remedy(&path, &["--json"]);
        json.assert_code(0);
        assert_eq!(json.json()["situation"], "not_dead");
    });
}

#[test]
fn mount_that_cannot_be_judged_has_no_remedy() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("errno EACCES", &path);
        let result = remedy(&path, &[]);
        result.assert_code(2);
        result.assert_stderr_contains("could not be judged: it is denied");
    });
}

#[test]
fn only_mount_points_have_a_remedy() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let inside = path.join("file");
        let result = remedy(&inside, &[]);
        result.assert_code(2);
        result.assert_stderr_contains(&format!("{} is not a mount point", display_path(&inside)));
        let result = remedy(&path, &["--steps", "unmout"]);
        result.assert_code(2);
        result.assert_stderr_contains("unmout").assert_stderr_contains("unmount");
    });
}

#[test]
fn reset_permits_remedies_after_another_mount_was_hit() {
    run_isolated(|lab| {
        hide_run(lab);
        let path = lab.mount_fuse("a");
        let reset = remedy(&path, &["--reset"]);
        reset.assert_code(0);
        reset.assert_stdout_contains("new attempts are permitted");
        assert!(!reset.stdout.contains("another mount"), "{}", reset.stdout);
        let file = Path::new("/run/mount_status_monitor/remedy/attempts.json");
        let hit =
            r#"{"version":1,"attempts":{"mounts":[],"running":[],"stranded":[],"total":1,"wrong_hit":true}}"#;
        fs::write(file, hit).expect("write a file");
        lab.set_fault("mute", &path);
        let act = ["--act", "--allow", "not_mounted_again,copies"];
        let refused = remedy(&path, &act);
        refused.assert_code(2);
        assert!(refused.stderr.contains("permit remedies with remedy --reset"), "{}", refused.stderr);
        let reset = remedy(&path, &["--reset"]);
        reset.assert_stdout_contains("remedies are permitted on this machine again");
        fs::write(file, "{").expect("write a file");
        let unknown = remedy(&path, &["--reset"]);
        unknown.assert_code(2);
        assert!(unknown.stderr.contains("attempts.json cannot be read"), "{}", unknown.stderr);
        remedy(&path, &["--reset", "--act"]).assert_code(2);
        lab.clear_fault(&path);
    });
}

/// The line of this mount point in the mount table of a process.
fn table_line_of(process: u32, path: &Path) -> Option<String> {
    let table = fs::read_to_string(format!("/proc/{process}/mountinfo")).expect("the mount table");
    let here = format!(" {} ", display_path(path));
    table.lines().find(|line| line.contains(&here)).map(str::to_owned)
}

#[test]
fn mount_of_another_namespace_is_only_aborted_and_unmounted() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let (path, other) = (lab.mount_fuse("a"), lab.mount_fuse("b"));
        let script = "umount $0 && echo ready; exec sleep 600";
        let mut inside = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(&other)
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut line = [0; 6];
        inside.stdout.take().expect("it is piped").read_exact(&mut line).expect("it is ready");
        lab.detach(&path);
        let (pid, before) = (inside.id(), table());
        let text = format!("mount_namespace = \"/proc/{pid}/ns/mnt\"\ntimeout = \"500ms\"\n");
        let file = lab.write_file("c.toml", text);
        lab.set_fault("mute", &path);
        let options = ["--config", utf8(&file)];
        let plan = remedy(&path, &[&options[..], &["--json"]].concat());
        plan.assert_code(1); // it may be aborted
        let plan: Value = plan.json();
        let guards: Vec<&str> = plan["refusals"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|it| it["guard"].as_str())
            .collect();
        assert!(guards.contains(&"foreign_namespace") && guards.contains(&"cannot_mount_again"), "{plan}");
        let act = ["--act", "--allow", "not_mounted_again,copies"];
        let result = remedy(&path, &[&options[..], &act[..]].concat());
        result.assert_code(1); // it is not mounted again
        for part in ["/abort, 1): succeeded", "UMOUNT_NOFOLLOW): succeeded", "is not mounted again"] {
            result.assert_stdout_contains(part);
        }
        assert_eq!(table_line_of(pid, &path), None);
        assert!(table_line_of(pid, Path::new("/")).is_some());
        assert_eq!(table(), before, "nothing of our own namespace was touched");
        inside.kill().and_then(|()| inside.wait()).expect("it ends");
        let gone = remedy(&path, &[&options[..], &act[..]].concat());
        gone.assert_code(2);
    });
}

#[test]
fn mount_of_autofs_is_left_to_autofs() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let trigger = match Trigger::mount(lab, "auto") {
            Ok(trigger) => trigger,
            Err(reason) => return lab.skip(&reason),
        };
        let (fuse, path) = (lab.mount_fuse("a"), trigger.path.join("a"));
        // Only processes of its daemon's group do not wait for the trigger.
        let made = Command::new("sh")
            .args(["-c", "mkdir \"$1\" && mount --move \"$0\" \"$1\""])
            .args([&fuse, &path])
            .process_group(trigger.daemon.id().try_into().expect("a process id"))
            .status();
        assert!(made.expect("sh starts").success());
        lab.set_fault("mute", &fuse);
        let result = remedy(&path, &["--act", "--allow", "copies"]);
        result.assert_code(1); // nobody has seen it work
        result.assert_stdout_contains("by autofs, at the next access");
        result.assert_stdout_contains("is unmounted; autofs mounts it again at the next access");
        let table = table();
        assert!(!table.contains(&format!(" {} ", display_path(&path))), "{table}");
        assert!(table.contains(&format!(" {} ", display_path(&trigger.path))), "{table}");
    });
}
