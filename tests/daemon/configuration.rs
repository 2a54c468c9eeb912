//! The configuration file of a running daemon: read again when it changes or when somebody asks, taken over at once
//! or not at all.

use crate::common::{
    CommandOutput, Daemon, Lab, display_path, ms, run_isolated, run_isolated_for, slack, wait_until,
};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How soon a change of a file is in force: it is waited for to be complete.
const TAKEN_OVER: Duration = ms(3000);
const RELOADS: usize = 1000;

/// A configuration with these lines; what is written by one call is there as a whole or not at all.
fn write(path: &Path, lines: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, lines).expect("a file can be written");
    std::fs::rename(&next, path).expect("and put in its place");
}

fn config(lab: &Lab, lines: &str) -> PathBuf {
    let directory = lab.scratch_path("etc");
    std::fs::create_dir_all(directory.join("conf.d")).expect("a directory can be made");
    let path = directory.join("config.toml");
    write(&path, lines);
    path
}

fn daemon(lab: &Lab, config: &Path) -> Daemon {
    lab.start_daemon(&["--config", config.to_str().expect("UTF-8")])
}

#[test]
fn a_change_of_the_file_is_in_force_at_once() {
    run_isolated(test_name!(), |lab| {
        let path = lab.mount_fuse("a");
        let file = config(lab, "timeout = \"20s\"\npoll_interval = \"500ms\"\n");
        let daemon = daemon(lab, &file);
        write(&file, "timeout = \"500ms\"\npoll_interval = \"500ms\"\n");
        daemon.wait_for_line("Configuration reloaded: timeout 20s -> 500ms", TAKEN_OVER);
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", ms(2000));
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(6000));
        daemon.stop();
    });
}

#[test]
fn a_probe_under_way_keeps_its_deadline() {
    run_isolated(test_name!(), |lab| {
        let path = lab.mount_fuse("a");
        let file = config(lab, "timeout = \"4s\"\npoll_interval = \"500ms\"\n");
        let daemon = daemon(lab, &file);
        lab.set_fault("mute", &path);
        // Its probe is on its way; a shorter timeout comes too late for it.
        wait_until(ms(3000), "a probe hangs", || {
            crate::common::count_threads_stuck_in_fuse(&daemon.process.descendants()) > 0
        });
        write(&file, "timeout = \"100ms\"\npoll_interval = \"500ms\"\n");
        daemon.wait_for_line("Configuration reloaded: ", TAKEN_OVER);
        let failed = daemon.wait_for_failure(&path, "hung", ms(6000));
        assert!(failed.text.contains("no response in 4"), "{}", failed.text);
        daemon.stop();
    });
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    run_isolated(test_name!(), |lab| {
        let path = lab.mount_fuse("a");
        let file = config(lab, "timeout = \"400ms\"\npoll_interval = \"300ms\"\n");
        let daemon = daemon(lab, &file);
        let shown = display_path(&file);
        let refused = |lines: &str, complaint: &str| {
            daemon.skip_earlier_lines();
            write(&file, lines);
            let text = format!("Configuration not reloaded, the old one stays in force: {shown}{complaint}");
            daemon.wait_for_line(&text, TAKEN_OVER);
        };
        refused("timout = 5\n", ":1: unknown key timout; did you mean timeout?");
        refused(
            "\ntimeout = [1]\n",
            ":2: timeout: has to be a text, a number, or true or false, not an array",
        );
        refused("timeout = \"soon\"\n", ":1: timeout: write a number of seconds");
        refused("timeout = 5\n[[rule]\n", ":2: this is no TOML: ");
        refused("[[rule]]\nfstyp = \"nfs\"\n", ":2: [[rule]] unknown key fstyp; did you mean fstype?");
        refused("[[rule]]\ntimeout = 3\n", ":1: [[rule]] matches by nothing");
        refused("[[rule]]\nmountpoint = \"/a/[\"\n", ":2: [[rule]] mountpoint: /a/[ is no glob");
        refused(&"#".repeat(10_000_000), ": cannot read this file: it is larger than 1024 KiB");
        daemon.skip_earlier_lines();
        std::fs::remove_file(&file).expect("it can be taken away");
        daemon.wait_for_line("cannot read this file: No such file or directory", TAKEN_OVER);
        // All the while the old settings hold.
        lab.set_fault("mute", &path);
        let failed = daemon.wait_for_failure(&path, "hung", ms(1500));
        assert!(failed.text.contains("no response in 4"), "{}", failed.text);
        daemon.skip_earlier_lines();
        write(&file, "timeout = \"600ms\"\npoll_interval = \"300ms\"\n");
        daemon.wait_for_line("Configuration reloaded: timeout 400ms -> 600ms", TAKEN_OVER);
        daemon.stop();
    });
}

#[test]
fn a_bad_file_at_the_start_is_an_end_with_one_line() {
    run_isolated(test_name!(), |lab| {
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
fn rules_decide_and_a_reload_applies_them() {
    run_isolated(test_name!(), |lab| {
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
        // A mount that was excluded is watched from the reload on, without having appeared.
        daemon.skip_earlier_lines();
        let without = rules("400ms").replace("exclude = true", "timeout = \"500ms\"");
        write(&file, &without);
        daemon.wait_for_line("Configuration reloaded: rules changed", TAKEN_OVER);
        daemon.wait_for_failure(&out, "hung", ms(2000));
        daemon.assert_no_line("Mount appeared");
        lab.set_fault("ok", &out);
        assert!(!daemon.transcript().contains(&format!("{} (hung", display_path(&slow))));
        daemon.stop();
    });
}

#[test]
fn drop_ins_come_and_go() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuse("a");
        let file = config(lab, "timeout = 7\n");
        let daemon = daemon(lab, &file);
        let drop_in = file.with_file_name("conf.d").join("50-site.toml");
        write(&drop_in, "timeout = 8\n");
        daemon.wait_for_line("Configuration reloaded: timeout 7 -> 8", TAKEN_OVER);
        // The later of two files wins; what is no .toml is nobody's.
        write(&drop_in.with_file_name("60-later.toml"), "timeout = 9\n");
        daemon.wait_for_line("Configuration reloaded: timeout 8 -> 9", TAKEN_OVER);
        daemon.skip_earlier_lines();
        std::fs::write(drop_in.with_file_name("70.toml.bak"), "nonsense").expect("a file can be written");
        std::fs::remove_dir_all(drop_in.parent().unwrap()).expect("the directory can go");
        daemon.wait_for_line("Configuration reloaded: timeout 9 -> 7", TAKEN_OVER);
        daemon.assert_no_line("not reloaded");
        daemon.stop();
    });
}

/// The next start would refuse it, so it is told now; and that all is well again, though nothing is different.
#[test]
fn a_drop_in_that_leads_nowhere_is_told_and_so_is_its_end() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuse("a");
        let file = config(lab, "timeout = 7\n");
        let daemon = daemon(lab, &file);
        let link = file.with_file_name("conf.d").join("50-gone.toml");
        std::os::unix::fs::symlink("/nowhere/at/all", &link).expect("a link can be made");
        daemon.wait_for_line("Configuration not reloaded, the old one stays in force: ", TAKEN_OVER);
        std::fs::remove_file(&link).expect("and removed");
        daemon.wait_for_line("Configuration reloaded: nothing has changed", TAKEN_OVER);
        write(&file, "timeout = 7\nonce_only = true\n");
        daemon.wait_for_line("once_only takes effect at the next start", TAKEN_OVER);
        daemon.stop();
    });
}

/// As Kubernetes mounts a ConfigMap: the file is a link through a link, and only the latter is replaced.
#[test]
fn a_link_that_is_replaced_is_a_change() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuse("a");
        let directory = lab.scratch_path("map");
        for (version, timeout) in [("1", 7), ("2", 8)] {
            std::fs::create_dir_all(directory.join(version)).expect("a directory can be made");
            std::fs::write(directory.join(version).join("config.toml"), format!("timeout = {timeout}\n"))
                .expect("a file can be written");
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, directory.join(name));
        link("1", "..data").expect("a link can be made");
        link("..data/config.toml", "config.toml").expect("a link can be made");
        let daemon = daemon(lab, &directory.join("config.toml"));
        link("2", "..next").expect("a link can be made");
        std::fs::rename(directory.join("..next"), directory.join("..data")).expect("and replaced");
        daemon.wait_for_line("Configuration reloaded: timeout 7 -> 8", TAKEN_OVER);
        daemon.stop();
    });
}

#[test]
fn a_hang_up_reads_again_even_without_a_file() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuse("a");
        let daemon = lab.start_daemon(&[]);
        daemon.send_signal(Signal::SIGHUP);
        daemon.wait_for_line("Configuration reloaded: nothing has changed", TAKEN_OVER);
        daemon.stop();
    });
}

#[test]
fn sinks_servers_and_outlets_follow() {
    run_isolated(test_name!(), |lab| {
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
        // The lab's own options would go before the file.
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
        command
            .args(["--syslog", "off", "--listen-address", "off", "--poll-interval", "1", "--config"])
            .arg(&file);
        let daemon = Daemon::start(command);
        wait_until(ms(3000) + slack(), "the first file is written", || one.exists());
        wait_until(ms(3000) + slack(), "the first socket is there", || lab.scratch_path("s1").exists());
        write(&file, &lines("json", &two, "s2"));
        daemon.wait_for_line(r#""message":"Configuration reloaded: "#, TAKEN_OVER);
        wait_until(ms(3000) + slack(), "the second file is written", || two.exists());
        wait_until(ms(3000) + slack(), "the sockets are exchanged", || {
            lab.scratch_path("s2").exists() && !lab.scratch_path("s1").exists()
        });
        let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
        status.args(["status", "--config"]).arg(&file);
        let status = CommandOutput::run(status, ms(5000));
        assert_eq!(status.code, Some(0), "{}", status.stderr);
        daemon.stop();
    });
}

/// What must hold: no growth, no lost event, no false verdict.
#[test]
fn a_thousand_reloads_under_load() {
    run_isolated_for(Duration::from_secs(240), test_name!(), |lab| {
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
            std::fs::write(&file, lines(n)).expect("a file can be written");
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
        // A prober more or less is no growth; a leak would show a thousand times.
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
