//! Mount points with arbitrary bytes: each message stays one line, and JSON stays valid.

use crate::common::{CommandOutput, Lab, display_path, ms, run_isolated};
use crate::{QUICK, QUICK_HANG};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const ODD: &[&[u8]] = &[
    b"with spaces and\ttabs",
    b"two\nlines",
    b"back\\slash and \\040",
    b"latin1 \xe9\xff",
    b"quotes \"'; $(reboot) <b>",
    b"ends with a blank ",
    "Grüße 日本".as_bytes(),
    b"hash # and 100% {}",
];

#[test]
fn unusual_names_are_logged_on_one_line() {
    run_isolated(|lab| {
        let paths = odd_mounts(lab);
        let daemon = lab.start_daemon(QUICK);
        for path in &paths {
            lab.set_fault("errno EIO", path);
        }
        for path in &paths {
            daemon.wait_for_failure(path, "io_error", QUICK_HANG);
        }
        let lines = daemon.stderr.all();
        let known = |text: &str| text.contains("Mount ") || text.contains("Checked ");
        assert!(
            lines
                .iter()
                .filter(|l| l.text.contains("io_error") || l.text.contains("slash"))
                .all(|l| known(&l.text))
        );
        for path in &paths {
            lab.set_fault("ok", path);
            daemon.wait_for_recovery(path, ms(4000));
            lab.detach(path);
            daemon.wait_for_mount_line("Mount disappeared", path, ms(500));
        }
        daemon.stop();
    });
}

#[test]
fn unusual_names_are_correct_in_check_output() {
    run_isolated(|lab| {
        let paths = odd_mounts(lab);
        lab.set_fault("errno EIO", &paths[1]);
        let result = check(lab, &["--json"]);
        let mounts = super::check::mounts_of(&result.stdout);
        for (n, path) in paths.iter().enumerate() {
            let found = mounts.iter().find(|mount| mount["mountpoint"] == display_path(path).as_str());
            let found = found.unwrap_or_else(|| panic!("{} is not in {}", display_path(path), result.stdout));
            assert_eq!(found["state"], if n == 1 { "failed" } else { "ok" });
        }
        assert_eq!(mounts.len(), paths.len());

        let table = check(lab, &[]).stdout;
        for path in &paths {
            let shown =
                table.lines().filter(|line| line.trim_end().ends_with(display_path(path).trim_end())).count();
            assert_eq!(shown, 1, "{} in\n{table}", display_path(path));
        }
    });
}

#[test]
fn mount_point_of_maximum_length_is_probed() {
    run_isolated(|lab| {
        let mut name = PathBuf::new();
        while lab.mount_point(&name).as_os_str().len() + 250 < 4095 {
            name.push("n".repeat(240));
        }
        let path = lab.mount_fuse(&name);
        assert!(path.as_os_str().len() > 3800);
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        daemon.stop();
    });
}

fn odd_mounts(lab: &mut Lab) -> Vec<PathBuf> {
    ODD.iter().map(|name| lab.mount_fuse(Path::new(OsStr::from_bytes(name)))).collect()
}

fn check(lab: &Lab, arguments: &[&str]) -> CommandOutput {
    CommandOutput::run(super::check::command(lab, arguments), ms(10_000))
}
