//! Reloads of the configuration by a running daemon: after a change of the files and on SIGHUP.

use crate::common::{
    CommandOutput, Daemon, Lab, display_path, monitor_command, ms, run_isolated, run_isolated_for, wait_until,
};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Time limit from a change of a file to its effect, debouncing included.
const RELOAD_TIMEOUT: Duration = ms(3000);
const RELOADS: usize = 1000;

/// Replaces a file atomically.
fn write(path: &Path, lines: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, lines).expect("write");
    std::fs::rename(&next, path).expect("rename");
}

fn config(lab: &Lab, lines: &str) -> PathBuf {
    let directory = lab.scratch_path("etc");
    std::fs::create_dir_all(directory.join("conf.d")).expect("create a directory");
    let path = directory.join("config.toml");
    write(&path, lines);
    path
}

fn daemon(lab: &Lab, config: &Path) -> Daemon {
    lab.start_daemon(&["--config", config.to_str().expect("UTF-8")])
}

#[test]
fn changed_file_takes_effect_at_once() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let file = config(lab, "timeout = \"20s\"\npoll_interval = \"500ms\"\n");
        let daemon = daemon(lab, &file);
        write(&file, "timeout = \"500ms\"\npoll_interval = \"500ms\"\n");
        daemon.wait_for_line("Configuration reloaded: timeout 20s -> 500ms", RELOAD_TIMEOUT);
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", ms(2000));
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(6000));
        daemon.stop();
    });
}

#[test]
fn running_probe_keeps_its_deadline() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let file = config(lab, "timeout = \"4s\"\npoll_interval = \"500ms\"\n");
        let daemon = daemon(lab, &file);
        lab.set_fault("mute", &path);
        // The shorter timeout must not apply to the probe that is already running.
        wait_until(ms(3000), "a probe hangs", || {
            crate::common::count_threads_stuck_in_fuse(&daemon.process.descendants()) > 0
        });
        write(&file, "timeout = \"100ms\"\npoll_interval = \"500ms\"\n");
        daemon.wait_for_line("Configuration reloaded: ", RELOAD_TIMEOUT);
        let failed = daemon.wait_for_failure(&path, "hung", ms(6000));
        assert!(failed.text.contains("no response in 4"), "{}", failed.text);
        daemon.stop();
    });
}

#[test]
fn invalid_file_is_reported_and_keeps_the_old_configuration() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let file = config(lab, "timeout = \"400ms\"\npoll_interval = \"300ms\"\n");
        let daemon = daemon(lab, &file);
        let path_of_file = display_path(&file);
        let assert_refused = |lines: &str, problem: &str| {
            daemon.skip_earlier_lines();
            write(&file, lines);
            let text =
                format!("Configuration not reloaded, the old one stays in force: {path_of_file}{problem}");
            daemon.wait_for_line(&text, RELOAD_TIMEOUT);
        };
        assert_refused("timout = 5\n", ":1: unknown key timout; did you mean timeout?");
        assert_refused(
            "\ntimeout = [1]\n",
            ":2: timeout: must be a text, a number, or true or false, not an array",
        );
        assert_refused("timeout = \"soon\"\n", ":1: timeout: write a number of seconds");
        assert_refused("timeout = 5\n[[rule]\n", ":2: not valid TOML: ");
        assert_refused("[[rule]]\nfstyp = \"nfs\"\n", ":2: [[rule]] unknown key fstyp; did you mean fstype?");
        assert_refused("[[rule]]\ntimeout = 3\n", ":1: [[rule]] needs a mountpoint, fstype or device");
        assert_refused("[[rule]]\nmountpoint = \"/a/[\"\n", ":2: [[rule]] mountpoint: /a/[ is not a glob");
        assert_refused(&"#".repeat(10_000_000), ": cannot read this file: larger than 1024 KiB");
        daemon.skip_earlier_lines();
        std::fs::remove_file(&file).expect("remove");
        daemon.wait_for_line("cannot read this file: No such file or directory", RELOAD_TIMEOUT);
        // The old settings are still in force.
        lab.set_fault("mute", &path);
        let failed = daemon.wait_for_failure(&path, "hung", ms(1500));
        assert!(failed.text.contains("no response in 4"), "{}", failed.text);
        daemon.skip_earlier_lines();
        write(&file, "timeout = \"600ms\"\npoll_interval = \"300ms\"\n");
        daemon.wait_for_line("Configuration reloaded: timeout 400ms -> 600ms", RELOAD_TIMEOUT);
        daemon.stop();
    });
}

#[test]
fn invalid_file_at_the_start_is_one_line_and_status_2() {
    run_isolated(|lab| {
        let file = config(lab, "[[rule]]\nfstype = \"nfs4\"\ntimeuot = 5\n");
        let run = CommandOutput::run(
            lab.daemon_command(&["--config", file.to_str().unwrap(), "--once-only"]),
            ms(5000),
        );
        assert_eq!(run.code, Some(2));
        let line = format!(
            "mount_status_monitor: {}:3: [[rule]] unknown key timeuot; did you mean timeout?\n",
            display_path(&file)
        );
        assert_eq!(run.stderr, line);
        let missing = lab.scratch_path("none.toml");
        let run =
            CommandOutput::run(lab.daemon_command(&["--config", missing.to_str().unwrap(), "-1"]), ms(5000));
        assert_eq!(run.code, Some(2));
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        run.assert_stderr_contains("cannot read this file: No such file or directory");
    });
}

#[test]
fn changed_rules_apply_to_present_mounts() {
    run_isolated(|lab| {
        let (slow, quick, out) = (lab.mount_fuse("slow"), lab.mount_fuse("quick"), lab.mount_fuse("out"));
        let m = lab.mount_point("");
        let rules = |quick: &str| {
            format!(
                "poll_interval = 60\ntimeout = 60\n\
                 [[rule]]\nmountpoint = \"{m}quick\"\npoll_interval = \"300ms\"\ntimeout = \"{quick}\"\nseverity = \"warning\"\n\
                 [[rule]]\nmountpoint = \"{m}o*\"\nexclude = true\n\
                 [[rule]]\nmountpoint = \"{m}nowhere/**\"\ntimeout = 1\n",
                m = m.display()
            )
        };
        let file = config(lab, &rules("400ms"));
        let daemon = daemon(lab, &file);
        daemon.wait_for_line("Checked 2 mounts; 0 are dead", ms(3000));
        daemon.wait_for_line("config.toml:11: [[rule]] matches no mount now", ms(3000));
        lab.set_fault("mute", &quick);
        lab.set_fault("mute", &out);
        let failed = daemon.wait_for_failure(&quick, "hung", ms(2000));
        assert!(failed.text.contains("no response in 4"), "{}", failed.text);
        lab.clear_fault(&quick);
        daemon.wait_for_recovery(&quick, ms(6000));
        daemon.assert_no_line(&display_path(&out));
        // A mount that is no longer excluded is watched, but it has not appeared.
        daemon.skip_earlier_lines();
        let without = rules("400ms").replace("exclude = true", "timeout = \"500ms\"");
        write(&file, &without);
        daemon.wait_for_line("Configuration reloaded: rules changed", RELOAD_TIMEOUT);
        daemon.wait_for_failure(&out, "hung", ms(2000));
        daemon.assert_no_line("Mount appeared");
        lab.set_fault("ok", &out);
        assert!(!daemon.transcript().contains(&format!("{} (hung", display_path(&slow))));
        daemon.stop();
    });
}

#[test]
fn added_and_removed_drop_ins_are_reloaded() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let file = config(lab, "timeout = 7\n");
        let daemon = daemon(lab, &file);
        let drop_in = file.with_file_name("conf.d").join("50-site.toml");
        write(&drop_in, "timeout = 8\n");
        daemon.wait_for_line("Configuration reloaded: timeout 7 -> 8", RELOAD_TIMEOUT);
        // The last file counts, and only names in .toml are read.
        write(&drop_in.with_file_name("60-later.toml"), "timeout = 9\n");
        daemon.wait_for_line("Configuration reloaded: timeout 8 -> 9", RELOAD_TIMEOUT);
        daemon.skip_earlier_lines();
        std::fs::write(drop_in.with_file_name("70.toml.bak"), "nonsense").expect("write");
        std::fs::remove_dir_all(drop_in.parent().unwrap()).expect("remove");
        daemon.wait_for_line("Configuration reloaded: timeout 9 -> 7", RELOAD_TIMEOUT);
        daemon.assert_no_line("not reloaded");
        daemon.stop();
    });
}

#[test]
fn dangling_drop_in_is_reported_until_it_is_removed() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let file = config(lab, "timeout = 7\n");
        let daemon = daemon(lab, &file);
        let link = file.with_file_name("conf.d").join("50-gone.toml");
        std::os::unix::fs::symlink("/nowhere/at/all", &link).expect("create a link");
        daemon.wait_for_line("Configuration not reloaded, the old one stays in force: ", RELOAD_TIMEOUT);
        std::fs::remove_file(&link).expect("remove");
        daemon.wait_for_line("Configuration reloaded: nothing has changed", RELOAD_TIMEOUT);
        write(&file, "timeout = 7\nonce_only = true\n");
        daemon.wait_for_line("once_only takes effect at the next start", RELOAD_TIMEOUT);
        daemon.stop();
    });
}

#[test]
fn a_rejected_configuration_is_shown_until_it_is_mended() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let file = config(lab, "timeout = 7\n");
        let socket = lab.scratch_path("socket");
        let options = [&file, &socket].map(|path| path.to_str().expect("UTF-8"));
        let daemon = lab.start_daemon(&["--config", options[0], "--socket", options[1]]);
        let run = |arguments: &[&str]| {
            let mut command = monitor_command();
            command.args(arguments).arg("--socket").arg(&socket);
            CommandOutput::run(command, ms(5000))
        };
        let is_rejected = || !run(&["status", "--json"]).json()["daemon"]["config_rejected"].is_null();
        assert!(!is_rejected());
        write(&file, "timeout = \"soon\"\n");
        daemon.wait_for_line("timeout: write a number of seconds", RELOAD_TIMEOUT);
        wait_until(ms(5000), "it is shown", is_rejected);
        run(&["status"]).assert_stdout_contains("The configuration was rejected ");
        write(&file, "timeout = 8\n");
        wait_until(ms(5000), "it is mended", || !is_rejected());
        assert!(!run(&["status"]).stdout.contains("rejected"));
        daemon.stop();
    });
}

#[test]
fn a_rule_ends_by_itself_although_the_file_is_invalid_by_then() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let end = SystemTime::now() + Duration::from_secs(6);
        let until = mount_status_monitor::render::timestamp::rfc3339(end);
        let rule =
            format!("[[rule]]\nmountpoint = \"{}\"\nexclude = true\nuntil = {until}\n", path.display());
        let file = config(lab, &rule);
        let socket = lab.scratch_path("socket");
        let options = [&file, &socket].map(|path| path.to_str().expect("UTF-8"));
        let daemon = lab.start_daemon(&["--config", options[0], "--socket", options[1]]);
        let status = || {
            let mut command = monitor_command();
            command.arg("status").arg("--socket").arg(&socket);
            CommandOutput::run(command, ms(5000)).stdout
        };
        assert!(status().contains("applies: mountpoint = "), "{}", status());
        write(&file, "timeout = \"soon\"\n");
        daemon.wait_for_line("timeout: write a number of seconds", RELOAD_TIMEOUT);
        daemon.wait_for_line("Configuration reloaded: rules 1 -> 0", ms(10_000));
        assert!(SystemTime::now() >= end);
        wait_until(ms(5000), "the mount is watched", || status().contains(&*display_path(&path)));
        assert!(!status().contains("applies: "), "{}", status());
        assert!(status().contains("The configuration was rejected "), "{}", status());
        daemon.stop();
    });
}

#[test]
fn remedy_is_explained_for_each_state_and_never_of_the_root() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let check = |lines: &str, words: &[&str]| {
            let file = config(lab, lines);
            let mut command = monitor_command();
            command.arg("--check-config").arg("--config").arg(file).args(words);
            CommandOutput::run(command, ms(10_000))
        };
        let rule = |mountpoint: &str, mode: &str| {
            format!("[[rule]]\nmountpoint = \"{mountpoint}\"\nfstype = \"fuse*\"\nremedy.mode = \"{mode}\"\n")
        };
        let path = path.to_str().expect("UTF-8");
        for mode in ["dry-run", "act"] {
            let output = check(&rule(path, mode), &["--explain", path]);
            assert_eq!(output.code, Some(0), "{}", output.stderr);
            let settings = format!("  remedy: {mode} after 5m; steps: abort, unmount, detach; allow: none; ");
            assert!(output.stdout.contains(&settings), "{}", output.stdout);
            for state in ["    if its FUSE server is gone: ", "    if hung, and its FUSE server runs: "] {
                assert!(output.stdout.contains(state), "{}", output.stdout);
            }
            // Nothing tells how the mount of the test was made.
            assert!(output.stdout.contains("it would not be mounted again"), "{}", output.stdout);
            assert_eq!(output.stderr, "");
        }
        let off = check(&rule(path, "off"), &["--explain", path]);
        assert!(!off.stdout.contains("  remedy: ") && off.stderr.is_empty(), "{} {}", off.stdout, off.stderr);
        let root = check(&rule("/**", "act"), &[]);
        assert_eq!((root.code, root.stderr.lines().count()), (Some(2), 1), "{}", root.stderr);
        assert!(
            root.stderr.contains(":1: [[rule]] remedy: this mountpoint also matches /"),
            "{}",
            root.stderr
        );
    });
}

#[test]
fn receivers_of_events_are_shown_without_secrets() {
    run_isolated(|lab| {
        let lines = "[[hook]]\nname = \"page\"\ncommand = [\"/usr/bin/true\", \"secret\"]\nevents = [\"failed\"]\n\
                     [[hook]]\nname = \"chat\"\nurl = \"http://chat/secret\"\ntimeout = 5\n\
                     [alertmanager]\nurl = \"http://am:9093/secret\"\n";
        let mut command = monitor_command();
        command.arg("--check-config").arg("--config").arg(config(lab, lines));
        let output = CommandOutput::run(command, ms(10_000));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.assert_stdout_contains("\n# hooks\npage: /usr/bin/true, timeout 10s, for failed\n");
        output.assert_stdout_contains("\nchat: http://chat, timeout 5s, for failed, recovered, ");
        output.assert_stdout_contains("\n# Alertmanager\nhttp://am:9093: alerts are sent again every 1m\n");
        assert!(!output.stdout.contains("secret"), "{}", output.stdout);
    });
}

/// Kubernetes mounts a ConfigMap as a link through a link, and replaces only the latter.
#[test]
fn replaced_link_in_the_path_is_reloaded() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let directory = lab.scratch_path("map");
        for (version, timeout) in [("1", 7), ("2", 8)] {
            std::fs::create_dir_all(directory.join(version)).expect("create a directory");
            std::fs::write(directory.join(version).join("config.toml"), format!("timeout = {timeout}\n"))
                .expect("write");
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, directory.join(name));
        link("1", "..data").expect("create a link");
        link("..data/config.toml", "config.toml").expect("create a link");
        let daemon = daemon(lab, &directory.join("config.toml"));
        link("2", "..next").expect("create a link");
        std::fs::rename(directory.join("..next"), directory.join("..data")).expect("rename");
        daemon.wait_for_line("Configuration reloaded: timeout 7 -> 8", RELOAD_TIMEOUT);
        daemon.stop();
    });
}

#[test]
fn sighup_reloads_without_a_file() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let daemon = lab.start_daemon(&[]);
        daemon.send_signal(Signal::SIGHUP);
        daemon.wait_for_line("Configuration reloaded: nothing has changed", RELOAD_TIMEOUT);
        daemon.stop();
    });
}

#[test]
fn outputs_follow_the_configuration() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let (one, two) = (lab.scratch_path("one.prom"), lab.scratch_path("two.prom"));
        let lines = |log: &str, prom: &Path, socket: &str| {
            let socket = lab.scratch_path(socket);
            format!(
                "log_format = \"{log}\"\ntextfile = \"{}\"\nsocket = \"{}\"\n",
                prom.display(),
                socket.display()
            )
        };
        let file = config(lab, &lines("text", &one, "s1"));
        // Not lab.start_daemon: its options would override the file.
        let mut command = monitor_command();
        command
            .args(["--syslog", "off", "--listen-address", "off", "--poll-interval", "1", "--config"])
            .arg(&file);
        let daemon = Daemon::start(command);
        wait_until(ms(3000), "the first file is written", || one.exists());
        wait_until(ms(3000), "the first socket exists", || lab.scratch_path("s1").exists());
        write(&file, &lines("json", &two, "s2"));
        daemon.wait_for_line(r#""message":"Configuration reloaded: "#, RELOAD_TIMEOUT);
        wait_until(ms(3000), "the second file is written", || two.exists());
        wait_until(ms(3000), "the second socket replaces the first", || {
            lab.scratch_path("s2").exists() && !lab.scratch_path("s1").exists()
        });
        let mut status = monitor_command();
        status.args(["status", "--config"]).arg(&file);
        let status = CommandOutput::run(status, ms(5000));
        assert_eq!(status.code, Some(0), "{}", status.stderr);
        daemon.stop();
    });
}

#[test]
fn thousand_reloads_leak_nothing_and_lose_no_event() {
    run_isolated_for(Duration::from_secs(240), |lab| {
        let mounts = lab.mount_fuses(20);
        let lines = |n: usize| {
            format!(
                "timeout = \"2s\"\npoll_interval = \"{}ms\"\nsocket = \"off\"\n[[rule]]\nfstype = \"tmpfs\"\ntimeout = \"{}s\"\n",
                500 + n % 2 * 100,
                3 + n % 3
            )
        };
        let file = config(lab, &lines(0));
        let daemon = daemon(lab, &file);
        lab.set_fault("mute", &mounts[19]);
        daemon.wait_for_failure(&mounts[19], "hung", ms(5000));
        let counts = || (daemon.process.descriptor_count(), daemon.process.thread_count());
        let reload = |n: usize| {
            daemon.skip_earlier_lines();
            std::fs::write(&file, lines(n)).expect("write");
            daemon.send_signal(Signal::SIGHUP);
            daemon.wait_for_line("Configuration reloaded: ", ms(5000));
        };
        (0..50).for_each(reload);
        let (before, rss) = (counts(), daemon.process.rss_kib());
        let extra = lab.mount_point("extra");
        for n in 50..RELOADS {
            reload(n);
            if n % 100 == 0 {
                daemon.skip_earlier_lines();
                lab.mount_tmpfs(&extra);
                daemon.wait_for_line("Mount appeared: ", ms(3000));
                lab.unmount_when_idle(&extra);
                daemon.wait_for_line("Mount disappeared: ", ms(8000));
            }
        }
        // The number of probers may vary; a leak would add a thousand.
        let after = counts();
        assert!(after.0 <= before.0 + 4 && after.1 <= before.1 + 4, "{before:?} before, {after:?} after");
        let grown = daemon.process.rss_kib().saturating_sub(rss);
        assert!(grown < 2048, "{grown} KiB more");
        let failed = daemon.stderr.count("Mount failed health-check");
        assert_eq!(failed, 1, "{}", daemon.transcript());
        lab.clear_fault(&mounts[19]);
        daemon.skip_earlier_lines();
        daemon.wait_for_recovery(&mounts[19], ms(9000));
        daemon.stop();
    });
}
