//! Nothing that can change a mount is called without `mode = "act"` or `--act`: strace(1) sees all processes of the
//! program.

use crate::common::{Daemon, Lab, display_path, ms, program, run_isolated, utf8, wait_until};
use crate::evidence::mount_fusectl;
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The calls that change mounts, and those that open files, which may be control files of the kernel.
const TRACED: &str = "trace=?umount,umount2,mount,move_mount,open_tree,?open_tree_attr,fsopen,fspick,fsconfig,fsmount,\
                      ?mount_setattr,pidfd_send_signal,?open,openat,?openat2,?creat";
const OPENS: [&str; 4] = ["open", "openat", "openat2", "creat"];

/// The program under strace, which is no parent of it and writes to this file; also of the processes that it starts.
fn traced(lab: &Lab, name: &str) -> (Command, PathBuf) {
    let file = lab.scratch_path(name);
    let mut command = Command::new("strace");
    command.args([
        "-DDD",
        "-f",
        "-q",
        "-s",
        "4096",
        "--seccomp-bpf",
        "-e",
        TRACED,
        "-e",
        "signal=none",
        "-o",
    ]);
    command.arg(&file).arg(program()).env("LC_ALL", "C").current_dir("/");
    (command, file)
}

/// Those that strace has no name for: it shows all of them. `statmount` and `listmount`, on every architecture.
const UNNAMED_READERS: [&str; 2] = ["syscall_0x1c9", "syscall_0x1ca"];

/// A process that strace let go between two calls, at the end.
const NO_CALL: &str = "???";

/// A plan asks whether the kernel knows a flag, with descriptors that do not exist. It moves nothing.
const ASKS_THE_KERNEL: &str = "move_mount(-1, \"\", -1, \"\", ";

/// Lines `PID CALL(ARGUMENTS) = RESULT` of calls that can change a mount, and the number of all.
fn forbidden(file: &Path) -> (Vec<String>, usize) {
    let text = fs::read_to_string(file).expect("the output of strace");
    let is_forbidden = |line: &&str| {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        // The rest of a call whose beginning has a line of its own.
        let Some((name, _)) = call.split_once('(') else { return false };
        if name == NO_CALL || UNNAMED_READERS.contains(&name) || line.contains(ASKS_THE_KERNEL) {
            return false;
        }
        !OPENS.contains(&name) || line.contains("/abort\"") || line.contains("/shutdown\"")
    };
    (text.lines().filter(is_forbidden).map(str::to_owned).collect(), text.lines().count())
}

fn assert_none(file: &Path) {
    let (calls, all) = forbidden(file);
    assert!(all > 0, "{}: nothing was seen", file.display());
    assert!(calls.is_empty(), "{}: {calls:#?}", file.display());
}

/// Runs a command; its output. strace keeps that open as long as a process hangs, so it is a file.
fn run(lab: &Lab, name: &str, arguments: &[&str]) -> (String, PathBuf) {
    let (mut command, file) = traced(lab, name);
    let said = lab.scratch_path(&format!("{name}.output"));
    let output = fs::File::create(&said).expect("create a file");
    command.args(arguments).stderr(output.try_clone().expect("a descriptor")).stdout(output);
    command.status().expect("strace starts");
    wait_until(ms(5000), "strace has seen the end", || has_ended(&file));
    (fs::read_to_string(said).expect("the output"), file)
}

/// False, loudly, where strace cannot be used.
fn can_trace(lab: &Lab) -> bool {
    let works = Command::new("strace")
        .args(["-f", "-qq", "--seccomp-bpf", "-e", TRACED, "-o", "/dev/null", "true"])
        .status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        lab.skip("strace is missing, or may not trace");
    }
    works
}

/// A hang, a recovery, a reload, and a plan for a dead mount that is never carried out.
fn watch_a_hung_mount(lab: &mut Lab, daemon: &Daemon, path: &Path, planned: Option<&str>) {
    lab.set_fault("mute", path);
    daemon.wait_for_failure(path, "hung", ms(20_000));
    if let Some(line) = planned {
        daemon.wait_for_mount_line(line, path, ms(30_000));
    }
    daemon.send_signal(Signal::SIGHUP);
    daemon.wait_for_line("Configuration", ms(20_000));
    daemon.wait_for_line("Checked ", ms(20_000));
    lab.clear_fault(path);
    daemon.wait_for_recovery(path, ms(20_000));
}

/// A mount whose remedy would have what it needs. `None` where calls cannot be traced.
fn prepare(lab: &mut Lab) -> Option<PathBuf> {
    if !can_trace(lab) {
        return None;
    }
    lab.mount_tmpfs_over(Path::new("/run"));
    mount_fusectl();
    Some(lab.mount_fuse("a"))
}

#[test]
fn daemon_without_act_makes_no_call_that_changes_a_mount() {
    run_isolated(|lab| {
        let Some(path) = prepare(lab) else { return };
        let mounts = lab.mount_point("*");
        let rule = |mode| {
            let remedy = format!(
                "remedy = {{ mode = \"{mode}\", after = \"1s\", \
                                  allow = [\"not_mounted_again\", \"copies\"] }}"
            );
            format!("[[rule]]\nmountpoint = {:?}\nfstype = \"fuse*\"\n{remedy}\n", utf8(&mounts))
        };
        for (name, text, planned) in [
            ("default", String::new(), None),
            ("off", rule("off"), None),
            ("dry-run", rule("dry-run"), Some("Remedy would begin")),
        ] {
            let config = lab.write_file("c.toml", text);
            let options = ["--config", utf8(&config), "--poll-interval", "1", "--timeout", "0.5"];
            let (command, file) = traced(lab, name);
            let daemon = Daemon::start(lab.extend_command(command, &options));
            watch_a_hung_mount(lab, &daemon, &path, planned);
            daemon.stop();
            wait_until(ms(5000), "strace has seen the end", || has_ended(&file));
            assert_none(&file);
        }
    });
}

/// Whether strace has written the end of the first process.
fn has_ended(file: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let first = text.split_whitespace().next().unwrap_or_default();
    text.lines().any(|line| line.split_whitespace().next() == Some(first) && line.contains("+++ exited with"))
}

#[test]
fn commands_without_act_make_no_call_that_changes_a_mount() {
    run_isolated(|lab| {
        let Some(path) = prepare(lab) else { return };
        lab.set_fault("mute", &path);
        let path = utf8(&path);
        let allow = ["--allow", "not_mounted_again,copies"];
        for (name, arguments) in [
            ("check", vec!["check", path]),
            ("diagnose", vec!["diagnose", path]),
            ("plan", [&["remedy", path][..], &allow].concat()),
        ] {
            let (output, file) = run(lab, name, &arguments);
            assert!(output.contains(&display_path(Path::new(path))), "{name}: {output}");
            assert_none(&file);
        }
        // The same plan, carried out: what is looked for is seen.
        let (output, file) = run(lab, "act", &[&["remedy", path, "--act"][..], &allow].concat());
        assert!(output.contains("UMOUNT_NOFOLLOW): succeeded"), "{output}");
        let (calls, _) = forbidden(&file);
        for part in [" umount2(", "/abort\"", " move_mount(", " fsmount("] {
            assert!(calls.iter().any(|line| line.contains(part)), "{part}: {calls:#?}");
        }
    });
}
