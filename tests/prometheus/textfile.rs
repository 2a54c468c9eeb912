//! The textfile, and a real node_exporter that serves it.

use crate::common::{
    CommandOutput, Lab, display_path, free_port, ms, pause, run_isolated, slack, utf8, wait_until,
};
use crate::peer::{Peer, first_missing};
use crate::{QUICK, QUICK_HANG, with};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) const EXPORTER: &str = "prometheus-node-exporter";

#[test]
fn node_exporter_serves_the_textfile() {
    run_isolated(|lab| {
        if let Some(reason) = first_missing(&[EXPORTER]) {
            return lab.skip(&reason);
        }
        let mounts = lab.mount_fuses(3);
        let (directory, file) = create_directory(lab);
        let exporter = start_exporter(lab, &directory);
        let daemon = lab.start_daemon(&with(QUICK, &["--textfile", utf8(&file)]));
        let metrics = exporter.wait_for_text("/metrics", "\ntotal_mountpoints 3\n", ms(10_000));
        assert!(metrics.contains("\nnode_textfile_scrape_error 0\n"), "{metrics}");
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        let labels = format!(
            "device=\"nowhere:/x\",fstype=\"fuse.fault\",mountpoint=\"{}\"",
            display_path(&mounts[0])
        );
        let up = format!("mountstatus_mount_up{{{labels}}} 0\n");
        let metrics = exporter.wait_for_text("/metrics", &up, ms(2000) + slack());
        assert!(
            metrics.contains("\ndead_mountpoints 1\n") && metrics.contains("reason=\"hung\"} 1\n"),
            "{metrics}"
        );
        daemon.stop();
    });
}

pub(crate) fn start_exporter(lab: &Lab, directory: &Path) -> Peer {
    let port = free_port();
    let arguments = [
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--collector.disable-defaults".into(),
        "--collector.textfile".into(),
        format!("--collector.textfile.directory={}", directory.display()),
    ];
    Peer::start(lab, EXPORTER, port, &arguments, "/metrics")
}

#[test]
fn textfile_is_replaced_atomically_and_world_readable() {
    run_isolated(|lab| {
        lab.mount_fuses(3);
        let (directory, file) = create_directory(lab);
        let mut command = std::process::Command::new("sh");
        let daemon = lab.daemon_command(&with(QUICK, &["--textfile", utf8(&file)]));
        command
            .args(["-c", "umask 077; exec \"$0\" \"$@\""])
            .arg(daemon.get_program())
            .args(daemon.get_args());
        let daemon = crate::common::Daemon::start(command);
        let inode = || std::fs::File::open(&file).and_then(|file| file.metadata()).ok();
        wait_until(ms(2000), "a first file", || inode().is_some());
        let first = inode().expect("found above");
        assert_eq!(first.permissions().mode() & 0o777, 0o644);
        wait_until(ms(5000), "a second file", || inode().is_some_and(|now| now.ino() != first.ino()));
        for _ in 0..20 {
            let text = std::fs::read_to_string(&file).expect("the file always exists");
            assert!(text.contains("\ntotal_mountpoints 3\n"), "{text}");
            pause(ms(50));
        }
        daemon.stop();
        wait_until(ms(1000), "no temporary file remains", || {
            std::fs::read_dir(&directory).expect("a directory").count() == 1
        });
    });
}

#[test]
fn textfile_on_a_watched_mount_is_refused() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        lab.set_fault("mute", &mount);
        let file = mount.join("deep/m.prom");
        let result =
            CommandOutput::run(lab.daemon_command(&["--syslog", "off", "--textfile", utf8(&file)]), ms(2000));
        result.assert_code(2);
        result.assert_stderr_contains(&format!(
            "cannot write --textfile {}: it lies on {}",
            display_path(&file),
            display_path(&mount)
        ));
        assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
    });
}

#[test]
fn mount_over_the_textfile_directory_stops_writing() {
    run_isolated(|lab| {
        let directory = lab.mount_point("metrics");
        std::fs::create_dir(&directory).expect("create a directory");
        let file = directory.join("m.prom");
        let daemon = lab.start_daemon(&with(QUICK, &["--textfile", utf8(&file)]));
        wait_until(ms(2000), "a file", || std::fs::File::open(&file).is_ok());
        let mount = lab.mount_fuse("metrics");
        lab.set_fault("mute", &mount);
        daemon.wait_for_failure(&mount, "hung", QUICK_HANG);
        daemon.wait_for_line(&format!("{} is no longer written: it lies on", display_path(&file)), ms(3000));
        lab.clear_fault(&mount);
        lab.unmount_when_idle(&mount);
        daemon.wait_for_line(&format!("{} is written again", display_path(&file)), ms(3000));
        daemon.stop();
    });
}

#[test]
fn missing_textfile_directory_is_logged_once_and_retried() {
    run_isolated(|lab| {
        let directory = lab.scratch_path("later");
        let file = directory.join("mounts.txt");
        let daemon = lab.start_daemon(&with(QUICK, &["--textfile", utf8(&file)]));
        daemon.wait_for_line("node_exporter reads only files that end in .prom", ms(0));
        daemon.wait_for_line(&format!("Cannot write {}: No such file", display_path(&file)), ms(2000));
        daemon.wait_for_line("Checked ", ms(2000));
        std::fs::create_dir(&directory).expect("create a directory");
        daemon.wait_for_line(&format!("{} is written again", display_path(&file)), ms(3000));
        let count = daemon.stderr.all().iter().filter(|line| line.text.contains("Cannot write")).count();
        assert_eq!(count, 1, "{}", daemon.transcript());
        daemon.stop();
    });
}

fn create_directory(lab: &Lab) -> (PathBuf, PathBuf) {
    let directory = lab.scratch_path("metrics");
    std::fs::create_dir(&directory).expect("create a directory");
    let file = directory.join("mounts.prom");
    (directory, file)
}
