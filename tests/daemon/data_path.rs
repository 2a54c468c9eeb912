//! Data-path probes: storage that answers about files but does not deliver them.

use crate::common::{
    CommandOutput, Daemon, Lab, free_address, monitor_command, ms, pause, run_isolated, utf8,
};
use crate::http::get;
use crate::{QUICK, QUICK_HANG};
use nix::mount::{MsFlags, mount};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

fn configure(lab: &Lab, lines: &str) -> String {
    let file = lab.write_file("data.toml", lines);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    utf8(&file).to_owned()
}

fn rule(path: &Path, kind: &str, probe_path: &str) -> String {
    let path = utf8(path);
    format!(
        "[[rule]]\nmountpoint = \"{path}\"\nprobe = \"{kind}\"\nprobe_path = \"{probe_path}\"\nprobe_interval = \"1s\"\n"
    )
}

fn start(lab: &Lab, lines: &str) -> Daemon {
    let config = configure(lab, lines);
    lab.start_daemon(&[QUICK, &["--config", &config]].concat())
}

/// The files of ours in a directory.
fn own_files(directory: &Path) -> usize {
    let names = std::fs::read_dir(directory).expect("list a directory");
    names
        .filter(|entry| {
            entry.as_ref().is_ok_and(|it| it.file_name().as_encoded_bytes().starts_with(b".mount_"))
        })
        .count()
}

#[test]
fn dead_data_with_living_metadata_is_found_by_read_and_by_write_and_by_nothing_else() {
    run_isolated(|lab| {
        let [read, write, stat] = ["read", "write", "stat"].map(|name| lab.mount_fuse(name));
        let daemon = start(lab, &(rule(&read, "read", "data") + &rule(&write, "write", "directory")));
        daemon.assert_no_line("Mount failed");
        for path in [&read, &write, &stat] {
            lab.set_fault("data_mute", path);
        }
        let line = daemon.wait_for_failure(&read, "hung", QUICK_HANG + ms(1000));
        assert!(line.text.contains("no response to read in "), "{line:?}");
        let line = daemon.wait_for_failure(&write, "hung", QUICK_HANG + ms(1000));
        assert!(line.text.contains("no response to write in "), "{line:?}");
        pause(ms(2500));
        daemon.assert_no_line(utf8(&stat));
        for path in [&read, &write, &stat] {
            lab.clear_fault(path);
        }
        daemon.wait_for_recovery(&read, ms(6000));
        daemon.wait_for_recovery(&write, ms(6000));
        daemon.stop();
    });
}

#[test]
fn writes_that_hang_are_found_by_write_only() {
    run_isolated(|lab| {
        let [read, write] = ["read", "write"].map(|name| lab.mount_fuse(name));
        let daemon = start(lab, &(rule(&read, "read", "data") + &rule(&write, "write", "directory")));
        lab.set_fault("write_mute", &read);
        lab.set_fault("write_mute", &write);
        daemon.wait_for_failure(&write, "hung", QUICK_HANG + ms(1000));
        pause(ms(2000));
        daemon.assert_no_line(utf8(&read));
        lab.clear_fault(&write);
        daemon.wait_for_recovery(&write, ms(6000));
        daemon.stop();
    });
}

#[test]
fn quota_and_full_and_read_only_storage_are_warnings() {
    run_isolated(|lab| {
        let fuse = lab.mount_fuse("fuse");
        let full = lab.mount_point("full");
        std::fs::create_dir(&full).expect("create a directory");
        mount(Some("full"), &full, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).expect("tmpfs mounts");
        let daemon = start(lab, &(rule(&fuse, "write", "directory") + &rule(&full, "write", ".")));
        for (errno, text) in [
            ("EDQUOT", "EDQUOT from write: the quota is used up"),
            ("ENOSPC", "ENOSPC from write: the file system is full"),
            ("EROFS", "EROFS from write: the file system is read-only"),
        ] {
            lab.set_fault(&format!("write_errno {errno}"), &fuse);
            daemon.wait_for_line(text, ms(4000));
        }
        lab.clear_fault(&fuse);
        daemon.wait_for_recovery(&fuse, ms(4000));
        std::fs::write(full.join("filler"), vec![0; 128 * 1024]).expect_err("no room is left");
        let line = daemon.wait_for_mount_line("Mount cannot be checked", &full, ms(4000));
        assert!(line.text.contains("ENOSPC from write: the file system is full"), "{line:?}");
        assert_eq!(own_files(&full), 0, "nothing is left on storage that is full");
        std::fs::remove_file(full.join("filler")).expect("remove");
        daemon.wait_for_recovery(&full, ms(4000));
        daemon.assert_no_line("Mount failed");
        daemon.stop();
    });
}

#[test]
fn paths_over_links_and_other_mounts_are_refused() {
    run_isolated(|lab| {
        let path = lab.mount_point("a");
        lab.mount_tmpfs(&path);
        let (directory, victim) = (path.join("health"), lab.scratch_path("victim"));
        std::fs::create_dir(&directory).expect("create a directory");
        std::fs::create_dir(&victim).expect("create a directory");
        let daemon = start(lab, &rule(&path, "write", "health"));
        std::fs::rename(&directory, path.join("moved")).expect("rename");
        symlink(&victim, &directory).expect("link");
        let line = daemon.wait_for_mount_line("Mount cannot be checked", &path, ms(4000));
        assert!(line.text.contains("ELOOP from open: probe_path leads over a symbolic link"), "{line:?}");
        std::fs::remove_file(&directory).expect("remove");
        std::fs::rename(path.join("moved"), &directory).expect("rename");
        daemon.wait_for_recovery(&path, ms(4000));
        let changed = || {
            let found = std::fs::File::open(&victim).and_then(|it| it.metadata()).expect("stat");
            (found.mtime(), found.mtime_nsec())
        };
        let before = changed();
        lab.bind_mount(&victim, &directory);
        daemon.wait_for_line(
            "EXDEV from open: probe_path leads over a symbolic link or another mount",
            ms(4000),
        );
        assert_eq!(changed(), before, "nothing was made there");
        daemon.stop();
    });
}

#[test]
fn file_is_accessed_as_the_user_of_the_rule() {
    run_isolated(|lab| {
        let path = lab.mount_point("a");
        lab.mount_tmpfs(&path);
        let directory = path.join("health");
        std::fs::create_dir(&directory).expect("create a directory");
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        let daemon = start(lab, &(rule(&path, "write", "health") + "probe_uid = 4321\nprobe_gid = 4322\n"));
        let line = daemon.wait_for_mount_line("Mount cannot be checked", &path, ms(4000));
        assert!(line.text.contains("EACCES from open: its rule's user has no access"), "{line:?}");
        chown(&directory, Some(4321), Some(4322)).expect("chown");
        daemon.wait_for_recovery(&path, ms(4000));
        daemon.stop();
    });
}

#[test]
fn status_says_what_is_probed() {
    run_isolated(|lab| {
        let [path, other] = ["a", "b"].map(|name| lab.mount_fuse(name));
        let (socket, config) = (lab.scratch_path("socket"), configure(lab, &rule(&path, "read", "data")));
        let (address, mut options) = (free_address(), [QUICK, &["--config", &config]].concat());
        let listen = address.to_string();
        options.extend(["--socket", utf8(&socket), "--listen-address", &listen]);
        let daemon = lab.start_daemon(&options);
        let ask = |arguments: &[&str]| {
            let mut command = monitor_command();
            command.args(arguments).args(["--socket", utf8(&socket)]);
            CommandOutput::run(command, ms(5000))
        };
        let document = ask(&["status", "--json"]).json();
        let of = |path: &Path| {
            let mounts = document["mounts"].as_array().expect("a list");
            mounts.iter().find(|it| it["mountpoint"] == utf8(path)).expect("the mount")["data_probe"].clone()
        };
        assert_eq!(of(&other), Value::Null);
        let probe = of(&path);
        assert_eq!((&probe["kind"], &probe["path"]), (&"read".into(), &"data".into()));
        assert_eq!((&probe["past_cache"], &probe["interval_seconds"]), (&true.into(), &1.0.into()));
        assert!(probe["last_success"].is_string(), "{probe}");
        let diagnosis = ask(&["diagnose", utf8(&path)]);
        diagnosis.assert_stdout_contains("data path: read data every 1s; last success at ");
        diagnosis.assert_stdout_contains(", past the page cache");
        assert!(!ask(&["diagnose", utf8(&other)]).stdout.contains("data path"));
        let metrics = get(address, "/metrics").text().to_owned();
        let name = "mountstatus_mount_data_probe_last_success_timestamp_seconds{";
        let series: Vec<&str> = metrics.lines().filter(|line| line.starts_with(name)).collect();
        assert!(
            series.len() == 1 && series[0].contains("kind=\"read\"") && !series[0].ends_with(" 0"),
            "{series:?}"
        );
        daemon.stop();
    });
}

#[test]
fn check_of_the_configuration_refuses_to_write_to_what_is_read_only_on_purpose() {
    run_isolated(|lab| {
        let path = lab.mount_point("a");
        lab.mount_tmpfs(&path);
        let (absent, fstab) = (lab.scratch_path("absent"), lab.scratch_path("fstab"));
        let rules = rule(&path, "write", ".") + &rule(&absent, "write", ".");
        let config = configure(lab, &format!("expect_fstab = \"{}\"\n{rules}", utf8(&fstab)));
        let set_fstab = |options: &str| {
            let line = format!("nas:/a {} nfs {options} 0 0\n", utf8(&absent));
            std::fs::write(&fstab, line).expect("write the fstab");
        };
        set_fstab("noauto,rw");
        let check = || {
            let mut command = monitor_command();
            command.args(["--check-config", "--explain", utf8(&path), "--config", &config]);
            CommandOutput::run(command, ms(5000))
        };
        let checked = check();
        checked.assert_code(0);
        checked.assert_stdout_contains("  data path: write, read and remove a file in . every 1s");
        set_fstab("noauto,ro");
        let checked = check();
        assert_ne!(checked.code, Some(0));
        let problem = format!("probe = \"write\": {} is read-only by {}:1", utf8(&absent), utf8(&fstab));
        checked.assert_stderr_contains(&problem);
        set_fstab("noauto,rw");
        lab.remount_read_only(&path);
        let checked = check();
        assert_ne!(checked.code, Some(0));
        checked.assert_stderr_contains("[[rule]] probe = \"write\": ");
        checked.assert_stderr_contains(" is mounted read-only");
    });
}
