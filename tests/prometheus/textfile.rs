//! The text file, and the real node_exporter that serves it.

use crate::common::{
    CommandOutput, Lab, display_path, ms, pause, run_isolated, skip_test, slack, wait_until,
};
use crate::peer::{Peer, free_port, missing};
use crate::{QUICK, QUICK_HANG, with};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const EXPORTER: &str = "prometheus-node-exporter";

#[test]
fn node_exporter_serves_the_file() {
    if let Some(reason) = missing(&[EXPORTER]) {
        return skip_test(test_name!(), &reason);
    }
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        let (folder, file) = folder(lab);
        let exporter = start(lab, &folder);
        let daemon = lab.start_daemon(&with(QUICK, &["--textfile", plain(&file)]));
        let shown = exporter.shows("/metrics", "\ntotal_mountpoints 3\n", ms(10_000));
        assert!(shown.contains("\nnode_textfile_scrape_error 0\n"), "{shown}");
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        let labels = format!(
            "device=\"nowhere:/x\",fstype=\"fuse.fault\",mountpoint=\"{}\"",
            display_path(&mounts[0])
        );
        let up = format!("mountstatus_mount_up{{{labels}}} 0\n");
        let shown = exporter.shows("/metrics", &up, ms(2000) + slack());
        assert!(
            shown.contains("\ndead_mountpoints 1\n") && shown.contains("reason=\"hung\"} 1\n"),
            "{shown}"
        );
        daemon.stop();
    });
}

fn start(lab: &Lab, folder: &Path) -> Peer {
    let port = free_port();
    let arguments = [
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--collector.disable-defaults".into(),
        "--collector.textfile".into(),
        format!("--collector.textfile.directory={}", folder.display()),
    ];
    Peer::start(lab, EXPORTER, port, &arguments, "/metrics")
}

#[test]
fn the_file_is_replaced_whole_and_readable_by_all() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(3);
        let (folder, file) = folder(lab);
        let mut command = std::process::Command::new("sh");
        let daemon = lab.daemon_command(&with(QUICK, &["--textfile", plain(&file)]));
        command
            .args(["-c", "umask 077; exec \"$0\" \"$@\""])
            .arg(daemon.get_program())
            .args(daemon.get_args());
        let daemon = crate::common::Daemon::start(command);
        let inode = || std::fs::File::open(&file).and_then(|file| file.metadata()).ok();
        wait_until(ms(2000) + slack(), "a first file", || inode().is_some());
        let first = inode().expect("just seen");
        assert_eq!(first.permissions().mode() & 0o777, 0o644);
        wait_until(ms(5000), "a second file", || inode().is_some_and(|now| now.ino() != first.ino()));
        for _ in 0..20 {
            let text = std::fs::read_to_string(&file).expect("it is always there");
            assert!(text.contains("\ntotal_mountpoints 3\n"), "{text}");
            pause(ms(50));
        }
        daemon.stop();
        wait_until(ms(1000), "nothing else is left", || {
            std::fs::read_dir(&folder).expect("a folder").count() == 1
        });
    });
}

#[test]
fn a_file_on_a_watched_mount_that_may_hang_is_refused() {
    run_isolated(test_name!(), |lab| {
        let mount = lab.mount_fuse("a");
        lab.set_fault("mute", &mount);
        let file = mount.join("deep/m.prom");
        let done = CommandOutput::run(
            lab.daemon_command(&["--syslog", "off", "--textfile", plain(&file)]),
            ms(2000),
        );
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        done.assert_stderr_contains(&format!(
            "cannot write --textfile {}: it lies on {}",
            display_path(&file),
            display_path(&mount)
        ));
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    });
}

#[test]
fn a_mount_that_comes_over_the_folder_stops_the_writing() {
    run_isolated(test_name!(), |lab| {
        let folder = lab.mount_point("metrics");
        std::fs::create_dir(&folder).expect("a directory can be made");
        let file = folder.join("m.prom");
        let daemon = lab.start_daemon(&with(QUICK, &["--textfile", plain(&file)]));
        wait_until(ms(2000) + slack(), "a file", || std::fs::File::open(&file).is_ok());
        let mount = lab.mount_fuse("metrics");
        lab.set_fault("mute", &mount);
        daemon.wait_for_failure(&mount, "hung", QUICK_HANG);
        daemon
            .wait_for_line(&format!("{} is not written any more: it lies on", display_path(&file)), ms(3000));
        lab.clear_fault(&mount);
        lab.unmount_when_idle(&mount);
        daemon.wait_for_line(&format!("{} is written again", display_path(&file)), ms(3000));
        daemon.stop();
    });
}

#[test]
fn a_folder_that_is_not_there_is_told_once_and_found_later() {
    run_isolated(test_name!(), |lab| {
        let folder = lab.scratch_path("later");
        let file = folder.join("mounts.txt");
        let daemon = lab.start_daemon(&with(QUICK, &["--textfile", plain(&file)]));
        daemon.wait_for_line("node_exporter reads only files that end in .prom", ms(0));
        daemon.wait_for_line(&format!("Cannot write {}: No such file", display_path(&file)), ms(2000));
        daemon.wait_for_line("Checked ", ms(2000));
        std::fs::create_dir(&folder).expect("a directory can be made");
        daemon.wait_for_line(&format!("{} is written again", display_path(&file)), ms(3000));
        let told = daemon.stderr.all().iter().filter(|line| line.text.contains("Cannot write")).count();
        assert_eq!(told, 1, "{}", daemon.transcript());
        daemon.stop();
    });
}

fn folder(lab: &Lab) -> (PathBuf, PathBuf) {
    let folder = lab.scratch_path("metrics");
    std::fs::create_dir(&folder).expect("a directory can be made");
    let file = folder.join("mounts.prom");
    (folder, file)
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("plain")
}
