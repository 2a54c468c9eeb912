//! A mount that fails and recovers again and again.

use crate::common::{Lab, ms, pause, run_isolated};
use serde_json::Value;
use std::path::Path;

/// Flapping after 4 changes within 12 s, steady after 6 s. A failure of 3.5 s ends the silence.
const OPTIONS: &[&str] = &[
    "--timeout",
    "1",
    "--poll-interval",
    "500ms",
    "--flap-changes",
    "4",
    "--flap-window",
    "12",
    "--log-format",
    "json",
];
/// More than an interval: each phase is seen.
const PHASE: std::time::Duration = ms(800);

fn flap(lab: &mut Lab, path: &Path, times: usize) {
    for _ in 0..times {
        lab.set_fault("errno EIO", path);
        pause(PHASE);
        lab.set_fault("ok", path);
        pause(PHASE);
    }
}

#[test]
fn flapping_mount_is_reported_once_until_it_is_steady_or_stays_dead() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(OPTIONS);
        flap(lab, &path, 2);
        daemon.wait_for_line("Mount is flapping: ", ms(1000));
        daemon.skip_earlier_lines();
        flap(lab, &path, 2);
        for line in ["Mount failed", "Mount recovered", "Mount is flapping", "Mount still failing"] {
            daemon.assert_no_line(line);
        }
        let line = daemon.wait_for_line("Mount is steady: ", ms(8000));
        let steady: Value = serde_json::from_str(&line.text).expect("JSON");
        assert_eq!((&steady["event"], &steady["state"]), (&"steady".into(), &"ok".into()), "{steady}");
        assert_eq!(steady["changes"], 8, "{steady}");
        daemon.skip_earlier_lines();
        flap(lab, &path, 2);
        daemon.wait_for_line("Mount is flapping: ", ms(1000));
        daemon.skip_earlier_lines();
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", ms(6000));
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(3000));
        daemon.assert_no_line("Mount is steady");
        daemon.stop();
    });
}
