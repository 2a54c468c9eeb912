//! Watching another mount namespace (`--mount-namespace`).

mod capabilities;
mod container;
mod end;
mod kubernetes;
mod oci;

use crate::common::{CommandOutput, display_path, ms, run_isolated, wait_until};
use crate::{QUICK, QUICK_HANG};
use container::Container;

#[test]
fn hang_in_another_namespace_is_logged() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        let path = container.mount_point(0);
        let daemon = container.daemon(lab, QUICK);
        daemon
            .wait_for_line(&format!("Watching the mount namespace of {} (mnt:[", container.file()), ms(500));
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        let entered =
            std::fs::read_link(format!("/proc/{}/ns/mnt", daemon.prober().0)).expect("the process runs");
        assert_eq!(entered, std::fs::read_link(container.file()).expect("the process runs"));

        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        daemon.wait_for_line("Checked 1 mount; 1 is dead", ms(2000));
        daemon.skip_earlier_lines();
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&path, ms(3000));

        lab.fuse_server().freeze();
        daemon.skip_earlier_lines();
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        lab.fuse_server().thaw();
        daemon.wait_for_recovery(&path, ms(4000));
        daemon.stop();
    });
}

#[test]
fn only_changes_of_the_watched_namespace_are_logged() {
    run_isolated(|lab| {
        let container = Container::with(lab, &[]);
        let daemon = container.daemon(lab, &["--timeout", "500ms", "--poll-interval", "60"]);
        daemon.wait_for_line("Checked 0 mounts; 0 are dead", ms(2000));
        let path = container.mount_point(7);
        container.run(&["mkdir", &display_path(&path)]);
        container.run(&["mount", "-t", "tmpfs", "new", &display_path(&path)]);
        daemon.wait_for_line(&format!("Mount appeared: {} (tmpfs from new)", display_path(&path)), ms(500));
        container.run(&["mount", "-o", "remount,bind,ro", &display_path(&path)]);
        daemon.wait_for_mount_line("Mount changed", &path, ms(1500));
        // The same path in the own namespace is another mount.
        lab.mount_tmpfs(&path);
        container.run(&["umount", &display_path(&path)]);
        daemon.wait_for_mount_line("Mount disappeared", &path, ms(500));
        assert_eq!(daemon.stderr.count("Mount appeared"), 1, "{}", daemon.transcript());
        daemon.stop();
    });
}

#[test]
fn immediate_remount_is_detected_as_a_new_mount() {
    run_isolated(|lab| {
        if !has_namespace_ids() {
            return lab.skip("before Linux 6.11 a mount of another namespace has no unique id");
        }
        if std::env::var_os("MSM_TEST_MOUNT_SOURCE").is_some_and(|source| source == "mountinfo") {
            return lab.skip("the mount source is forced to the text, which has no unique mount ids");
        }
        let container = Container::with(lab, &[]);
        let daemon = container.daemon(lab, &["--poll-interval", "60"]);
        let path = display_path(&container.mount_point(7));
        container.run(&["mkdir", &path]);
        container.run(&["mount", "-t", "tmpfs", "new", &path]);
        daemon.wait_for_line(&format!("Mount appeared: {path} ("), ms(500));
        daemon.skip_earlier_lines();
        container.run(&["sh", "-c", &format!("umount {path} && mount -t tmpfs new {path}")]);
        daemon.wait_for_line(&format!("Mount appeared: {path} ("), ms(1500));
        daemon.stop();
    });
}

#[test]
fn fuse_mount_in_another_namespace_is_probed_as_its_owner() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse_with("a", "owner=1000");
        let container = Container::with(lab, &[&inner]);
        let daemon = container.daemon(lab, QUICK);
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&container.mount_point(0), "hung", QUICK_HANG);
        daemon.assert_no_line("Mount cannot be checked");
        daemon.stop();
    });
}

#[test]
fn namespace_of_a_chrooted_process_is_watched_as_a_whole() {
    run_isolated(|lab| {
        let container = Container::with(lab, &[]);
        let root = container.mount_point(7);
        container.run(&["mkdir", &display_path(&root)]);
        container.run(&["mount", "-t", "tmpfs", "new", &display_path(&root)]);
        let mut chrooted = container.chrooted(&root);
        let mut command = lab.daemon_command(&["--once-only", "--timeout", "5"]);
        command.args(["--mount-points-include", &format!("^{}$", display_path(&root))]);
        command.args(["--mount-namespace", &format!("/proc/{}/ns/mnt", chrooted.id())]);
        let result = CommandOutput::run(command, ms(5000));
        result.assert_code(0);
        result.assert_stderr_contains("Checked 1 mount; 0 are dead");
        chrooted.kill().expect("the process runs");
        chrooted.wait().expect("it is a child");
    });
}

#[test]
fn single_run_and_check_work_in_another_namespace() {
    run_isolated(|lab| {
        let inner = [lab.mount_fuse("a"), lab.mount_fuse("b")];
        let container = Container::with(lab, &[&inner[0], &inner[1]]);
        lab.set_fault("mute", &inner[1]);
        let (healthy, hung) =
            (display_path(&container.mount_point(0)), display_path(&container.mount_point(1)));

        let mut command =
            container.command(lab, &["--timeout", "500ms", "--once-only", "--print-bad-mounts"]);
        let result = CommandOutput::run(command, ms(5000));
        assert_eq!(
            (result.code, result.stdout.as_str()),
            (Some(1), format!("{hung}\n").as_str()),
            "{}",
            result.stderr
        );
        result.assert_stderr_contains(&format!("Mount failed health-check: {hung} (hung: no response in "));

        command = container.check(&["--timeout", "500ms", &healthy]);
        let result = CommandOutput::run(command, ms(5000));
        result.assert_code(0);
        assert!(result.stdout.contains(&healthy) && !result.stdout.contains(&hung), "{}", result.stdout);
        // A relative path starts at the root of the watched namespace.
        let relative = &hung[1..];
        let result =
            CommandOutput::run(container.check(&["--timeout", "500ms", "--json", relative]), ms(5000));
        result.assert_code(1);
        result.assert_stdout_contains("\"hung\"");
        let result = CommandOutput::run(container.check(&["/no/such/mount"]), ms(5000));
        result.assert_code(2);
        result.assert_stderr_contains("/no/such/mount is not a mount point");
    });
}

fn has_namespace_ids() -> bool {
    let release = nix::sys::utsname::uname().expect("uname").release().to_owned();
    let mut numbers =
        release.to_str().unwrap_or_default().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 11)
}

#[test]
fn textfile_path_is_resolved_in_the_own_namespace() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        // A local directory here, a FUSE mount in the container.
        let folder = container.mount_point(0);
        std::fs::create_dir_all(&folder).expect("a directory");
        let file = display_path(&folder.join("m.prom"));
        let quick = [QUICK, &["--textfile", &file]].concat();
        let daemon = container.daemon(lab, &quick);
        wait_until(ms(5000), "the file is written", || std::fs::exists(&file).unwrap_or(false));
        daemon.stop();

        container.end();

        // The same file system is mounted here under another path.
        let inner = lab.mount_fuse("b");
        let container = Container::sharing(lab, &[&inner]);
        let file = display_path(&inner.join("m.prom"));
        let quick = [QUICK, &["--textfile", &file]].concat();
        let daemon = container.daemon(lab, &quick);
        daemon.wait_for_line(
            &format!("{file} is no longer written: it lies on {}", display_path(&inner)),
            ms(3000),
        );
        daemon.stop();
    });
}
