//! The text file, and the real node_exporter that serves it.

use crate::common::{Finished, Lab, isolated, ms, pause, printed, skipped, slack, soon};
use crate::peer::{Peer, free_port, missing};
use crate::{QUICK, QUICK_HANG, with};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const EXPORTER: &str = "prometheus-node-exporter";

#[test]
fn node_exporter_serves_the_file() {
    if let Some(reason) = missing(&[EXPORTER]) {
        return skipped(this_test!(), &reason);
    }
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(3);
        let (folder, file) = folder(lab);
        let exporter = start(lab, &folder);
        let daemon = lab.daemon(&with(QUICK, &["--textfile", plain(&file)]));
        let shown = exporter.shows("/metrics", "\ntotal_mountpoints 3\n", ms(10_000));
        assert!(shown.contains("\nnode_textfile_scrape_error 0\n"), "{shown}");
        lab.order("mute", &mounts[0]);
        daemon.told_failed(&mounts[0], "hung", QUICK_HANG);
        let labels =
            format!("device=\"nowhere:/x\",fstype=\"fuse.fault\",mountpoint=\"{}\"", printed(&mounts[0]));
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
    isolated(this_test!(), |lab| {
        lab.fuses(3);
        let (folder, file) = folder(lab);
        let mut command = std::process::Command::new("sh");
        let daemon = lab.command(&with(QUICK, &["--textfile", plain(&file)]));
        command
            .args(["-c", "umask 077; exec \"$0\" \"$@\""])
            .arg(daemon.get_program())
            .args(daemon.get_args());
        let daemon = crate::common::Daemon::start(command);
        let inode = || std::fs::File::open(&file).and_then(|file| file.metadata()).ok();
        soon(ms(2000) + slack(), "a first file", || inode().is_some());
        let first = inode().expect("just seen");
        assert_eq!(first.permissions().mode() & 0o777, 0o644);
        soon(ms(5000), "a second file", || inode().is_some_and(|now| now.ino() != first.ino()));
        for _ in 0..20 {
            let text = std::fs::read_to_string(&file).expect("it is always there");
            assert!(text.contains("\ntotal_mountpoints 3\n"), "{text}");
            pause(ms(50));
        }
        daemon.stop();
        soon(ms(1000), "nothing else is left", || std::fs::read_dir(&folder).expect("a folder").count() == 1);
    });
}

#[test]
fn a_file_on_a_watched_mount_that_may_hang_is_refused() {
    isolated(this_test!(), |lab| {
        let mount = lab.fuse("a");
        lab.order("mute", &mount);
        let file = mount.join("deep/m.prom");
        let done = Finished::run(lab.command(&["--syslog", "off", "--textfile", plain(&file)]), ms(2000));
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        done.says(&format!("cannot write --textfile {}: it lies on {}", printed(&file), printed(&mount)));
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    });
}

#[test]
fn a_mount_that_comes_over_the_folder_stops_the_writing() {
    isolated(this_test!(), |lab| {
        let folder = lab.at("metrics");
        std::fs::create_dir(&folder).expect("a directory can be made");
        let file = folder.join("m.prom");
        let daemon = lab.daemon(&with(QUICK, &["--textfile", plain(&file)]));
        soon(ms(2000) + slack(), "a file", || std::fs::File::open(&file).is_ok());
        let mount = lab.fuse("metrics");
        lab.order("mute", &mount);
        daemon.told_failed(&mount, "hung", QUICK_HANG);
        daemon.told(&format!("{} is not written any more: it lies on", printed(&file)), ms(3000));
        lab.order("ok", &mount);
        lab.order("release", &mount);
        lab.unmount_soon(&mount);
        daemon.told(&format!("{} is written again", printed(&file)), ms(3000));
        daemon.stop();
    });
}

#[test]
fn a_folder_that_is_not_there_is_told_once_and_found_later() {
    isolated(this_test!(), |lab| {
        let folder = lab.aside("later");
        let file = folder.join("mounts.txt");
        let daemon = lab.daemon(&with(QUICK, &["--textfile", plain(&file)]));
        daemon.told("node_exporter reads only files that end in .prom", ms(0));
        daemon.told(&format!("Cannot write {}: No such file", printed(&file)), ms(2000));
        daemon.told("Checked ", ms(2000));
        std::fs::create_dir(&folder).expect("a directory can be made");
        daemon.told(&format!("{} is written again", printed(&file)), ms(3000));
        let told = daemon.stderr.all().iter().filter(|line| line.text.contains("Cannot write")).count();
        assert_eq!(told, 1, "{}", daemon.transcript());
        daemon.stop();
    });
}

fn folder(lab: &Lab) -> (PathBuf, PathBuf) {
    let folder = lab.aside("metrics");
    std::fs::create_dir(&folder).expect("a directory can be made");
    let file = folder.join("mounts.prom");
    (folder, file)
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("plain")
}
