//! FUSE mounts without `allow_other`, which deny access to every user except their owner, even to root.

use crate::common::{CommandOutput, Lab, display_path, ms, run_isolated};
use crate::{QUICK, QUICK_HANG};

const OWNER: u32 = 1000;
const OTHER_USER: u32 = 2000;

#[test]
fn root_detects_a_hang_of_a_users_mount() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", &format!("owner={OWNER}"));
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(3000));
        lab.set_fault("die", &path);
        daemon.wait_for_failure(&path, "disconnected", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn other_user_is_denied_without_an_alarm() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", &format!("owner={OWNER}"));
        lab.set_fault("mute", &path);
        let result = run_once_as(lab, OTHER_USER);
        result.assert_code(0);
        result.assert_stderr_contains(&format!("Mount cannot be checked: {} (EACCES", display_path(&path)));
        assert!(!result.stderr.contains("Mount failed"), "{}", result.stderr);
    });
}

#[test]
fn owner_detects_a_hang_of_the_own_mount() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", &format!("owner={OWNER}"));
        lab.set_fault("mute", &path);
        let result = run_once_as(lab, OWNER);
        result.assert_code(1);
        result.assert_stderr_contains(&format!("Mount failed health-check: {} (hung:", display_path(&path)));
    });
}

fn run_once_as(lab: &Lab, user: u32) -> CommandOutput {
    let mut command = lab.daemon_command_as(user, QUICK);
    command.arg("--once-only");
    CommandOutput::run(command, ms(5000))
}

/// An evicted client, an expired ticket: the mount worked before. A mount that refused from the start may never have been
/// meant for root.
#[test]
fn server_that_refuses_access_after_a_good_answer_is_a_failure() {
    run_isolated(|lab| {
        let (worked, never) = (lab.mount_fuse("worked"), lab.mount_fuse("never"));
        lab.set_fault("errno EACCES", &never);
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_mount_line("Mount cannot be checked", &never, ms(1000));
        for _ in 0..2 {
            daemon.skip_earlier_lines();
            lab.set_fault("errno EACCES", &worked);
            let line = daemon.wait_for_failure(&worked, "error", QUICK_HANG);
            assert!(line.text.contains("EACCES"), "{line:?}");
            lab.set_fault("ok", &worked);
            daemon.wait_for_recovery(&worked, ms(3000));
        }
        let failed = format!("Mount failed health-check: {} (", display_path(&never));
        assert_eq!(daemon.stderr.count(&failed), 0, "{}", daemon.transcript());
        daemon.stop();
    });
}
