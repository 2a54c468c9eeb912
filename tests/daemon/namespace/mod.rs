//! Mounts of another mount namespace: the daemon is in one, what it watches in another, under other paths.

mod container;
mod end;
mod kubernetes;
mod oci;
mod rights;

use crate::common::{CommandOutput, display_path, ms, run_isolated, skip_test, wait_until};
use crate::{QUICK, QUICK_HANG};
use container::Container;

#[test]
fn what_hangs_in_another_namespace_is_told() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        let path = container.place(0);
        let daemon = container.daemon(lab, QUICK);
        daemon
            .wait_for_line(&format!("Watching the mount namespace of {} (mnt:[", container.file()), ms(500));
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        let entered = std::fs::read_link(format!("/proc/{}/ns/mnt", daemon.prober().0)).expect("it lives");
        assert_eq!(entered, std::fs::read_link(container.file()).expect("it lives"));

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
fn changes_of_its_table_are_told_and_ours_are_not() {
    run_isolated(test_name!(), |lab| {
        let container = Container::with(lab, &[]);
        let daemon = container.daemon(lab, &["--timeout", "500ms", "--poll-interval", "60"]);
        daemon.wait_for_line("Checked 0 mounts; 0 are dead", ms(2000));
        let there = container.place(7);
        container.run(&["mkdir", &display_path(&there)]);
        container.run(&["mount", "-t", "tmpfs", "new", &display_path(&there)]);
        daemon.wait_for_line(&format!("Mount appeared: {} (tmpfs from new)", display_path(&there)), ms(500));
        container.run(&["mount", "-o", "remount,bind,ro", &display_path(&there)]);
        daemon.wait_for_line(&format!("Mount changed: {} (", display_path(&there)), ms(1500));
        // The same path with us is another.
        lab.mount_tmpfs(&there);
        container.run(&["umount", &display_path(&there)]);
        daemon.wait_for_line(&format!("Mount disappeared: {} (", display_path(&there)), ms(500));
        assert_eq!(daemon.stderr.count("Mount appeared"), 1, "{}", daemon.transcript());
        daemon.stop();
    });
}

#[test]
fn a_mount_made_again_at_once_is_another() {
    if !has_namespace_ids() {
        return skip_test(test_name!(), "before Linux 6.11 a mount of another namespace has no unique id");
    }
    run_isolated(test_name!(), |lab| {
        let container = Container::with(lab, &[]);
        let daemon = container.daemon(lab, &["--poll-interval", "60"]);
        let there = display_path(&container.place(7));
        container.run(&["mkdir", &there]);
        container.run(&["mount", "-t", "tmpfs", "new", &there]);
        daemon.wait_for_line(&format!("Mount appeared: {there} ("), ms(500));
        daemon.skip_earlier_lines();
        container.run(&["sh", "-c", &format!("umount {there} && mount -t tmpfs new {there}")]);
        daemon.wait_for_line(&format!("Mount appeared: {there} ("), ms(1500));
        daemon.stop();
    });
}

#[test]
fn a_users_own_mount_is_asked_as_its_owner_there_too() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse_with("a", "owner=1000");
        let container = Container::with(lab, &[&inner]);
        let daemon = container.daemon(lab, QUICK);
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&container.place(0), "hung", QUICK_HANG);
        daemon.assert_no_line("Mount cannot be checked");
        daemon.stop();
    });
}

#[test]
fn a_process_in_a_root_of_its_own_shows_the_whole_namespace() {
    run_isolated(test_name!(), |lab| {
        let container = Container::with(lab, &[]);
        let root = container.place(7);
        container.run(&["mkdir", &display_path(&root)]);
        container.run(&["mount", "-t", "tmpfs", "new", &display_path(&root)]);
        let mut chrooted = container.chrooted(&root);
        let mut command = lab.daemon_command(&["--once-only", "--timeout", "5"]);
        command.args(["--mount-points-include", &format!("^{}$", display_path(&root))]);
        command.args(["--mount-namespace", &format!("/proc/{}/ns/mnt", chrooted.id())]);
        let done = CommandOutput::run(command, ms(5000));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.assert_stderr_contains("Checked 1 mount; 0 are dead");
        chrooted.kill().expect("it lives");
        chrooted.wait().expect("it is ours");
    });
}

#[test]
fn one_run_and_a_check_of_another_namespace() {
    run_isolated(test_name!(), |lab| {
        let inner = [lab.mount_fuse("a"), lab.mount_fuse("b")];
        let container = Container::with(lab, &[&inner[0], &inner[1]]);
        lab.set_fault("mute", &inner[1]);
        let (well, hung) = (display_path(&container.place(0)), display_path(&container.place(1)));

        let mut command =
            container.command(lab, &["--timeout", "500ms", "--once-only", "--print-bad-mounts"]);
        let done = CommandOutput::run(command, ms(5000));
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(1), format!("{hung}\n").as_str()),
            "{}",
            done.stderr
        );
        done.assert_stderr_contains(&format!("Mount failed health-check: {hung} (hung: no response in "));

        command = container.check(&["--timeout", "500ms", &well]);
        let done = CommandOutput::run(command, ms(5000));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains(&well) && !done.stdout.contains(&hung), "{}", done.stdout);
        // Without a / at its start a path begins at the root of that namespace: our directory is none of it.
        let relative = &hung[1..];
        let done = CommandOutput::run(container.check(&["--timeout", "500ms", "--json", relative]), ms(5000));
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stdout.contains("\"hung\""), "{}", done.stdout);
        let done = CommandOutput::run(container.check(&["/no/such/mount"]), ms(5000));
        assert_eq!(done.code, Some(2), "{}", done.stdout);
        done.assert_stderr_contains("/no/such/mount is no mount point");
    });
}

fn has_namespace_ids() -> bool {
    let release = nix::sys::utsname::uname().expect("uname").release().to_owned();
    let mut numbers =
        release.to_str().unwrap_or_default().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 11)
}

/// A text file is written in our own namespace, where paths mean something else.
#[test]
fn the_text_file_is_judged_by_our_own_paths() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        // Here a local folder, there a FUSE mount.
        let folder = container.place(0);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = display_path(&folder.join("m.prom"));
        let quick = [QUICK, &["--textfile", &file]].concat();
        let daemon = container.daemon(lab, &quick);
        wait_until(ms(5000), "the file is written", || std::fs::exists(&file).unwrap_or(false));
        daemon.stop();

        container.end();

        // Here the file system that is watched there under another path.
        let inner = lab.mount_fuse("b");
        let container = Container::sharing(lab, &[&inner]);
        let file = display_path(&inner.join("m.prom"));
        let quick = [QUICK, &["--textfile", &file]].concat();
        let daemon = container.daemon(lab, &quick);
        daemon.wait_for_line(
            &format!("{file} is not written any more: it lies on {}", display_path(&inner)),
            ms(3000),
        );
        daemon.stop();
    });
}
