//! Mount points that are longer than any call accepts: users make them by renaming directories above mounts.

use crate::QUICK_HANG;
use crate::common::{is_release_build, ms, run_isolated_for};
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

const MOUNTS: usize = 200;
const PATH_LENGTH: usize = 120_000;

/// A new directory whose path is this long.
fn deep_directory(top: &Path, length: usize) -> OwnedFd {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut directory = open(top, flags, Mode::empty()).expect("open");
    let name = "d".repeat(99);
    for _ in 0..length / 100 {
        mkdirat(&directory, name.as_str(), Mode::S_IRWXU).expect("mkdir");
        directory = openat(&directory, name.as_str(), flags, Mode::empty()).expect("open");
    }
    directory
}

/// Mounts named by these numbers, in new directories.
fn mount_in(directory: &OwnedFd, from: usize, to: usize) {
    for n in from..to {
        mkdirat(directory, n.to_string().as_str(), Mode::S_IRWXU).expect("mkdir");
        let target = format!("/proc/self/fd/{}/{n}", directory.as_raw_fd());
        mount(Some("deep"), target.as_str(), Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
    }
}

#[test]
fn they_are_shown_and_neither_probed_nor_costly() {
    run_isolated_for(Duration::from_secs(180), |lab| {
        let path = lab.mount_fuse("a");
        let top = lab.mount_point("deep");
        lab.mount_tmpfs(&top);
        let deep = deep_directory(&top, PATH_LENGTH);
        let mount_all = |from: usize, to: usize| mount_in(&deep, from, to);
        mount_all(0, MOUNTS - 1);
        let (daemon, address) = crate::http::start_with_http(
            lab,
            &["--timeout", "500ms", "--slow-after", "450ms", "--poll-interval", "1"],
        );
        daemon.wait_for_line(": its path is too long for system calls", ms(5000));
        // A new one, among all the others.
        mount_all(MOUNTS - 1, MOUNTS);
        daemon.wait_for_line(&format!("d/{} (tmpfs from deep)", MOUNTS - 1), ms(2000));
        daemon.wait_for_line(&format!("Checked {} mounts; 0 are dead", MOUNTS + 2), ms(3000));
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);

        let shown = crate::http::get(address, "/api/v1/mounts?state=denied").json();
        let shown = shown["mounts"].as_array().expect("mounts");
        assert_eq!(shown.len(), MOUNTS);
        assert!(shown.iter().all(|mount| mount["errno"] == "ENAMETOOLONG"), "{:?}", shown[0]);
        for target in ["/metrics", "/"] {
            assert_eq!(crate::http::get(address, target).status, 200);
        }
        let rss = daemon.process.peak_rss_kib();
        let limit = if is_release_build() { 24 } else { 40 };
        assert!(rss <= limit << 10, "the daemon took up to {rss} KiB");
        daemon.stop();
    });
}

#[test]
fn paths_that_calls_accept_are_kept_once() {
    run_isolated_for(Duration::from_secs(180), |lab| {
        const MOUNTS: usize = 5_000;
        let top = lab.mount_point("deep");
        lab.mount_tmpfs(&top);
        mount_in(&deep_directory(&top, 3_900), 0, MOUNTS);
        let daemon = lab.start_daemon(&["--timeout", "2", "--poll-interval", "60"]);
        daemon.assert_no_line("Mount cannot be checked");
        // Twenty MiB of paths.
        let rss = daemon.process.rss_kib();
        let limit = if is_release_build() { 45 } else { 64 };
        assert!(rss <= limit << 10, "the daemon takes {rss} KiB");
        daemon.stop();
    });
}
