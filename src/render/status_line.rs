//! The status line for the service manager, shown by `systemctl status`.

use super::ConfigState;
use super::escape::escape_os;
use super::status_summary::{are_dead, mounts};
use crate::monitor::{Health, MountStatus, Status};

/// Maximum number of paths; nobody reads more.
const MAX_PATHS: usize = 10;
/// Maximum length; a path that would exceed it is omitted. The datagram to systemd is limited to 4,096 bytes, and so is
/// a path.
const MAX_BYTES: usize = 512;

/// `Watching 5 mounts; 1 is dead: /mnt/a`
#[must_use]
pub fn line(status: &Status, config: &ConfigState) -> String {
    let rejected = if config.rejected_at.is_some() { "; the new configuration is rejected" } else { "" };
    mounts_line(status) + rejected
}

fn mounts_line(status: &Status) -> String {
    let watching = format!("Watching {}; ", mounts(status.total));
    if status.last_run.is_none() && status.dead == 0 {
        return watching + "first run in progress";
    }
    let mut text = watching + &are_dead(status.dead);
    let mut shown = 0;
    for mount in status.mounts.iter().filter(|mount| mount.health.failure().is_some()) {
        let path = escape_os(&mount.mount.mountpoint);
        if shown < MAX_PATHS && text.len() + path.len() <= MAX_BYTES {
            text.push_str(if shown == 0 { ": " } else { ", " });
            text.push_str(&path);
            shown += 1;
        }
    }
    if shown > 0 && shown < status.dead {
        text.push_str(&format!(", and {} more", status.dead - shown));
    }
    let is_unknown = |mount: &&MountStatus| matches!(mount.health, Health::Unknown { .. });
    match status.mounts.iter().filter(is_unknown).count() {
        0 => {}
        unknown => text.push_str(&format!("; {unknown} could not be judged")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples::{at, failure, mount, status, status_of};
    use super::*;
    use crate::monitor::Time;
    use crate::monitor::{LastRun, Reason};
    use std::time::Duration;

    fn dead(path: &str) -> MountStatus {
        let failure = failure(Reason::Hung, None, 3.0);
        status_of(mount(path, "nfs", "s:/", "rw", "rw"), Health::Dead(failure.into()))
    }

    fn after_a_run(mounts: Vec<MountStatus>) -> Status {
        Status { last_run: Some(LastRun { at: at(1.0), took: Duration::ZERO }), ..status(mounts) }
    }

    #[test]
    fn first_run_is_reported_unless_mounts_are_dead() {
        let none = Status { last_run: None, ..status(vec![]) };
        assert_eq!(mounts_line(&none), "Watching 0 mounts; first run in progress");
        let one = Status { last_run: None, ..status(vec![dead("/mnt/a")]) };
        assert_eq!(mounts_line(&one), "Watching 1 mount; 1 is dead: /mnt/a");
    }

    #[test]
    fn dead_mounts_are_named_in_one_line() {
        assert_eq!(mounts_line(&after_a_run(vec![])), "Watching 0 mounts; 0 are dead");
        let two = after_a_run(vec![dead("/mnt/a"), dead("/mnt/b\nREADY=1")]);
        assert_eq!(mounts_line(&two), "Watching 2 mounts; 2 are dead: /mnt/a, /mnt/b\\012READY=1");
    }

    #[test]
    fn line_is_bounded() {
        let many = after_a_run((0..40).map(|n| dead(&format!("/mnt/{n}"))).collect());
        let text = mounts_line(&many);
        assert!(text.starts_with("Watching 40 mounts; 40 are dead: /mnt/0, /mnt/1, "), "{text}");
        assert!(text.ends_with(", /mnt/8, /mnt/9, and 30 more"), "{text}");
        let long = after_a_run(vec![dead(&format!("/{}", "x\n".repeat(3_000))), dead("/b")]);
        assert_eq!(mounts_line(&long), "Watching 2 mounts; 2 are dead: /b, and 1 more");
    }

    #[test]
    fn a_rejected_configuration_is_named() {
        let rejected = ConfigState { rejected_at: Some(Time::default()), ..ConfigState::default() };
        assert!(
            line(&after_a_run(vec![]), &rejected).ends_with("0 are dead; the new configuration is rejected")
        );
        assert!(line(&after_a_run(vec![]), &ConfigState::default()).ends_with("0 are dead"));
    }
}
