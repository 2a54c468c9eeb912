//! Mounts of another mount namespace: the daemon is in one, what it watches in another, under other paths.

mod container;
mod end;
mod kubernetes;
mod oci;
mod rights;

use crate::common::{Finished, isolated, ms, printed, skipped, soon};
use crate::{QUICK, QUICK_HANG};
use container::Container;

#[test]
fn what_hangs_in_another_namespace_is_told() {
    isolated(this_test!(), |lab| {
        let inner = lab.fuse("a");
        let container = Container::with(lab, &[&inner]);
        let path = container.place(0);
        let daemon = container.daemon(lab, QUICK);
        daemon.told(&format!("Watching the mount namespace of {} (mnt:[", container.file()), ms(500));
        daemon.told("Checked 1 mounts; 0 are dead", ms(2000));
        let entered = std::fs::read_link(format!("/proc/{}/ns/mnt", daemon.prober().0)).expect("it lives");
        assert_eq!(entered, std::fs::read_link(container.file()).expect("it lives"));

        lab.order("mute", &inner);
        daemon.told_failed(&path, "hung", QUICK_HANG);
        daemon.told("Checked 1 mounts; 1 are dead", ms(2000));
        daemon.mark();
        lab.order("ok", &inner);
        lab.order("release", &inner);
        daemon.told_recovered(&path, ms(3000));

        lab.server().freeze();
        daemon.mark();
        daemon.told_failed(&path, "hung", QUICK_HANG);
        lab.server().thaw();
        daemon.told_recovered(&path, ms(4000));
        daemon.stop();
    });
}

#[test]
fn changes_of_its_table_are_told_and_ours_are_not() {
    isolated(this_test!(), |lab| {
        let container = Container::with(lab, &[]);
        let daemon = container.daemon(lab, &["--timeout", "500ms", "--poll-interval", "60"]);
        daemon.told("Checked 0 mounts; 0 are dead", ms(2000));
        let there = container.place(7);
        container.run(&["mkdir", &printed(&there)]);
        container.run(&["mount", "-t", "tmpfs", "new", &printed(&there)]);
        daemon.told(&format!("Mount appeared: {} (tmpfs from new)", printed(&there)), ms(500));
        container.run(&["mount", "-o", "remount,bind,ro", &printed(&there)]);
        daemon.told(&format!("Mount changed: {} (", printed(&there)), ms(1500));
        // The same path with us is another.
        lab.tmpfs(&there);
        container.run(&["umount", &printed(&there)]);
        daemon.told(&format!("Mount disappeared: {} (", printed(&there)), ms(500));
        assert_eq!(daemon.stderr.count("Mount appeared"), 1, "{}", daemon.transcript());
        daemon.stop();
    });
}

#[test]
fn a_mount_made_again_at_once_is_another() {
    if !has_namespace_ids() {
        return skipped(this_test!(), "before Linux 6.11 a mount of another namespace has no unique id");
    }
    isolated(this_test!(), |lab| {
        let container = Container::with(lab, &[]);
        let daemon = container.daemon(lab, &["--poll-interval", "60"]);
        let there = printed(&container.place(7));
        container.run(&["mkdir", &there]);
        container.run(&["mount", "-t", "tmpfs", "new", &there]);
        daemon.told(&format!("Mount appeared: {there} ("), ms(500));
        daemon.mark();
        container.run(&["sh", "-c", &format!("umount {there} && mount -t tmpfs new {there}")]);
        daemon.told(&format!("Mount appeared: {there} ("), ms(1500));
        daemon.stop();
    });
}

#[test]
fn a_users_own_mount_is_asked_as_its_owner_there_too() {
    isolated(this_test!(), |lab| {
        let inner = lab.fuse_with("a", "owner=1000");
        let container = Container::with(lab, &[&inner]);
        let daemon = container.daemon(lab, QUICK);
        daemon.told("Checked 1 mounts; 0 are dead", ms(2000));
        lab.order("mute", &inner);
        daemon.told_failed(&container.place(0), "hung", QUICK_HANG);
        daemon.silent_about("Mount cannot be checked");
        daemon.stop();
    });
}

#[test]
fn a_process_in_a_root_of_its_own_shows_the_whole_namespace() {
    isolated(this_test!(), |lab| {
        let container = Container::with(lab, &[]);
        let root = container.place(7);
        container.run(&["mkdir", &printed(&root)]);
        container.run(&["mount", "-t", "tmpfs", "new", &printed(&root)]);
        let mut chrooted = container.chrooted(&root);
        let mut command = lab.command(&["--once-only", "--timeout", "5"]);
        command.args(["--mount-points-include", &format!("^{}$", printed(&root))]);
        command.args(["--mount-namespace", &format!("/proc/{}/ns/mnt", chrooted.id())]);
        let done = Finished::run(command, ms(5000));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.says("Checked 1 mounts; 0 are dead");
        chrooted.kill().expect("it lives");
        chrooted.wait().expect("it is ours");
    });
}

#[test]
fn one_run_and_a_check_of_another_namespace() {
    isolated(this_test!(), |lab| {
        let inner = [lab.fuse("a"), lab.fuse("b")];
        let container = Container::with(lab, &[&inner[0], &inner[1]]);
        lab.order("mute", &inner[1]);
        let (well, hung) = (printed(&container.place(0)), printed(&container.place(1)));

        let mut command =
            container.command(lab, &["--timeout", "500ms", "--once-only", "--print-bad-mounts"]);
        let done = Finished::run(command, ms(5000));
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(1), format!("{hung}\n").as_str()),
            "{}",
            done.stderr
        );
        done.says(&format!("Mount failed health-check: {hung} (hung: no answer in "));

        command = container.check(&["--timeout", "500ms", &well]);
        let done = Finished::run(command, ms(5000));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains(&well) && !done.stdout.contains(&hung), "{}", done.stdout);
        // Without a / at its start a path begins at the root of that namespace: our directory is none of it.
        let relative = &hung[1..];
        let done = Finished::run(container.check(&["--timeout", "500ms", "--json", relative]), ms(5000));
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stdout.contains("\"hung\""), "{}", done.stdout);
        let done = Finished::run(container.check(&["/no/such/mount"]), ms(5000));
        assert_eq!(done.code, Some(2), "{}", done.stdout);
        done.says("/no/such/mount is no mount point");
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
    isolated(this_test!(), |lab| {
        let inner = lab.fuse("a");
        let container = Container::with(lab, &[&inner]);
        // Here a local folder, there a FUSE mount.
        let folder = container.place(0);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = printed(&folder.join("m.prom"));
        let quick = [QUICK, &["--textfile", &file]].concat();
        let daemon = container.daemon(lab, &quick);
        soon(ms(5000), "the file is written", || std::fs::exists(&file).unwrap_or(false));
        daemon.stop();

        container.end();

        // Here the file system that is watched there under another path.
        let inner = lab.fuse("b");
        let container = Container::sharing(lab, &[&inner]);
        let file = printed(&inner.join("m.prom"));
        let quick = [QUICK, &["--textfile", &file]].concat();
        let daemon = container.daemon(lab, &quick);
        daemon.told(&format!("{file} is not written any more: it lies on {}", printed(&inner)), ms(3000));
        daemon.stop();
    });
}
