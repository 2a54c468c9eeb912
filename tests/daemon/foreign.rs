//! FUSE mounts that answer nobody but their owner, root included.

use crate::common::{Finished, isolated, ms, printed};
use crate::{QUICK, QUICK_HANG};

const OWNER: u32 = 1000;
const STRANGER: u32 = 2000;

#[test]
fn root_sees_a_users_mount_hang() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse_with("a", &format!("owner={OWNER}"));
        let daemon = lab.daemon(QUICK);
        daemon.told("Checked 1 mounts; 0 are dead", ms(2000));
        lab.order("mute", &path);
        daemon.told_failed(&path, "hung", QUICK_HANG);
        lab.order("ok", &path);
        lab.order("release", &path);
        daemon.told_recovered(&path, ms(3000));
        lab.order("die", &path);
        daemon.told_failed(&path, "disconnected", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn a_stranger_is_denied_and_alarms_nobody() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse_with("a", &format!("owner={OWNER}"));
        lab.order("mute", &path);
        let mut command = lab.command_of_user(STRANGER, QUICK);
        command.arg("--once-only");
        let done = Finished::run(command, ms(5000));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.says(&format!("Mount cannot be checked: {} (EACCES", printed(&path)));
        assert!(!done.stderr.contains("Mount failed"), "{}", done.stderr);
    });
}

#[test]
fn an_ordinary_user_sees_his_own_mount_hang() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse_with("a", &format!("owner={OWNER}"));
        lab.order("mute", &path);
        let mut command = lab.command_of_user(OWNER, QUICK);
        command.arg("--once-only");
        let done = Finished::run(command, ms(5000));
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.says(&format!("Mount failed health-check: {} (hung:", printed(&path)));
    });
}
