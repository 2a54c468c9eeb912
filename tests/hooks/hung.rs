//! Commands that touch hung storage, or lie on it.

use crate::common::{ms, run_isolated};
use crate::told::{Told, command, hook};
use mount_status_monitor::output::hooks::HookOutcome;
use mount_status_monitor::render::Priority;

#[test]
fn commands_that_cannot_be_killed_are_left_behind_and_bounded() {
    run_isolated(test_name!(), |lab| {
        let path = lab.mount_fuse("0");
        lab.set_fault("mute", &path);
        let path_text = path.to_str().expect("plain");
        let told = Told::start(vec![
            hook("stuck", command(&["/usr/bin/stat", "-f", path_text]), ms(300)),
            hook("page", command(&["/bin/true"]), ms(5000)),
        ]);
        for n in 0..8 {
            told.failed(&format!("/mnt/{n}"));
        }
        let (_, text) =
            told.line("Hook stuck failed for /mnt/0 (timeout): no end in 0.3s, and process ", ms(3000));
        assert!(text.ends_with(" cannot be killed; it is left behind"), "{text}");
        let (priority, _) = told.line("Hook stuck is not started any more", ms(3000));
        assert_eq!(priority, Priority::Error);
        let count = told.count("stuck");
        assert_eq!((count.left, count.waiting, count.runs(HookOutcome::Timeout)), (4, 4, 4));
        told.failed("/mnt/x");
        told.line("Hook page is done for /mnt/x", ms(1000));
        assert_eq!(told.count("page").runs(HookOutcome::Ok), 9);

        lab.clear_fault(&path);
        for _ in 0..4 {
            told.line("Process ", ms(3000));
        }
        told.done(ms(5000));
        let count = told.count("stuck");
        assert_eq!((count.left, count.runs(HookOutcome::Ok)), (0, 5), "those that waited ran");
        let ended = told
            .lines()
            .iter()
            .filter(|(_, text)| text.ends_with("which was left behind, has ended"))
            .count();
        assert_eq!(ended, 4);
        let said = told.lines().iter().filter(|(_, text)| text.contains("any more")).count();
        assert_eq!(said, 1);
    });
}

#[test]
fn a_program_on_hung_storage_delays_nobody() {
    run_isolated(test_name!(), |lab| {
        // Not even its first request is answered, so that looking for the program hangs.
        let path = lab.mount_fuse_with("0", "allow_other noinit");
        let program = path.join("program");
        let told = Told::start(vec![
            hook("there", command(&[program.to_str().expect("plain")]), ms(500)),
            hook("page", command(&["/bin/true"]), ms(5000)),
        ]);
        told.failed("/mnt/x");
        told.line("Hook page is done for /mnt/x", ms(1000));
        told.line("Hook there failed for /mnt/x (timeout): no end in 0.5s", ms(3000));
        told.failed("/mnt/y");
        told.line("Hook page is done for /mnt/y", ms(1000));
    });
}
