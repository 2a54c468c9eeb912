//! Commands that access hung storage, or whose program is on it.

use crate::common::{ms, run_isolated};
use crate::fixture::{HookFixture, command, hook};
use mount_status_monitor::render::Priority;

#[test]
fn unkillable_commands_are_left_behind_and_bounded() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("0");
        lab.set_fault("mute", &path);
        let path_text = path.to_str().expect("plain");
        let hooks = HookFixture::start(vec![
            hook("stuck", command(&["/usr/bin/stat", "-f", path_text]), ms(300)),
            hook("page", command(&["/bin/true"]), ms(5000)),
        ]);
        hooks.offer_failures(8);
        let (_, text) = hooks.wait_for_line(
            "Hook stuck failed for /mnt/0 (timeout): it did not exit in 0.3s, and process ",
            ms(3000),
        );
        assert!(text.ends_with(" cannot be killed; it is left behind"), "{text}");
        let (priority, _) = hooks.wait_for_line("Hook stuck is no longer started", ms(3000));
        assert_eq!(priority, Priority::Error);
        let stats = hooks.stats("stuck");
        assert_eq!((stats.stranded, stats.waiting, hooks.runs("stuck", "timeout")), (4, 4, 4));
        hooks.offer_failure("/mnt/x");
        hooks.wait_for_line("Hook page is done for /mnt/x", ms(1000));
        assert_eq!(hooks.runs("page", "ok"), 9);

        lab.clear_fault(&path);
        for _ in 0..4 {
            hooks.wait_for_line("Process ", ms(3000));
        }
        hooks.wait_until_idle(ms(5000));
        let stats = hooks.stats("stuck");
        assert_eq!((stats.stranded, hooks.runs("stuck", "ok")), (0, 5), "the waiting events ran");
        let exited = hooks
            .lines()
            .iter()
            .filter(|(_, text)| text.ends_with("which could not be killed, has exited"))
            .count();
        assert_eq!(exited, 4);
        let blocked = hooks.lines().iter().filter(|(_, text)| text.contains("is no longer started")).count();
        assert_eq!(blocked, 1);
    });
}

#[test]
fn program_on_hung_storage_delays_no_other_hook() {
    run_isolated(|lab| {
        // The file system does not respond even to its first request, so the lookup of the program hangs.
        let path = lab.mount_fuse_with("0", "allow_other noinit");
        let program = path.join("program");
        let hooks = HookFixture::start(vec![
            hook("there", command(&[program.to_str().expect("plain")]), ms(500)),
            hook("page", command(&["/bin/true"]), ms(5000)),
        ]);
        hooks.offer_failure("/mnt/x");
        hooks.wait_for_line("Hook page is done for /mnt/x", ms(1000));
        hooks.wait_for_line("Hook there failed for /mnt/x (timeout): it did not exit in 0.5s", ms(3000));
        hooks.offer_failure("/mnt/y");
        hooks.wait_for_line("Hook page is done for /mnt/y", ms(1000));
    });
}
