//! What the service manager shows of us: one line in `systemctl status`.

use super::escape::escape_os;
use crate::monitor::Status;
use std::fmt::Write;

/// Paths of dead mounts in the line: as many as people read.
const MAX_PATHS: usize = 10;
/// No path leads beyond this. A datagram to systemd may have 4,096 bytes, and one path alone may be so long.
const MAX_BYTES: usize = 512;

/// How many mounts are watched, and which are dead.
#[must_use]
pub fn line(status: &Status) -> String {
    let mut text =
        format!("Watching {} {}; ", status.total, if status.total == 1 { "mount" } else { "mounts" });
    if status.last_run.is_none() && status.dead == 0 {
        text.push_str("first run in progress");
        return text;
    }
    write!(text, "{} {} dead", status.dead, if status.dead == 1 { "is" } else { "are" })
        .expect("a String takes everything");
    let mut shown = 0;
    for mount in status.mounts.iter().filter(|mount| mount.health.failure().is_some()) {
        let path = escape_os(&mount.mount.mountpoint);
        if shown == MAX_PATHS {
            break;
        }
        if text.len() + path.len() > MAX_BYTES {
            continue;
        }
        text.push_str(if shown == 0 { ": " } else { ", " });
        text.push_str(&path);
        shown += 1;
    }
    if shown > 0 && shown < status.dead {
        write!(text, ", and {} more", status.dead - shown).expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples::{at, failure, mount, status, status_of};
    use super::*;
    use crate::monitor::{Health, LastRun, Reason};
    use std::time::Duration;

    fn dead(path: &str) -> crate::monitor::MountStatus {
        let failure = failure(Reason::Hung, None, 3.0);
        status_of(mount(path, "nfs", "s:/", "rw", "rw"), Health::Dead(failure))
    }

    fn after_a_run(mounts: Vec<crate::monitor::MountStatus>) -> Status {
        Status { last_run: Some(LastRun { at: at(1.0), took: Duration::ZERO }), ..status(mounts) }
    }

    #[test]
    fn before_the_first_run_is_complete() {
        let none = Status { last_run: None, ..status(vec![]) };
        assert_eq!(line(&none), "Watching 0 mounts; first run in progress");
        let one = Status { last_run: None, ..status(vec![dead("/mnt/a")]) };
        assert_eq!(line(&one), "Watching 1 mount; 1 is dead: /mnt/a");
    }

    #[test]
    fn the_dead_are_named_and_a_line_is_a_line() {
        assert_eq!(line(&after_a_run(vec![])), "Watching 0 mounts; 0 are dead");
        let two = after_a_run(vec![dead("/mnt/a"), dead("/mnt/b\nREADY=1")]);
        assert_eq!(line(&two), "Watching 2 mounts; 2 are dead: /mnt/a, /mnt/b\\012READY=1");
    }

    #[test]
    fn it_stays_short() {
        let many = after_a_run((0..40).map(|n| dead(&format!("/mnt/{n}"))).collect());
        let text = line(&many);
        assert!(text.starts_with("Watching 40 mounts; 40 are dead: /mnt/0, /mnt/1, "), "{text}");
        assert!(text.ends_with(", /mnt/8, /mnt/9, and 30 more"), "{text}");
        let long = after_a_run(vec![dead(&format!("/{}", "x\n".repeat(3_000))), dead("/b")]);
        assert_eq!(line(&long), "Watching 2 mounts; 2 are dead: /b, and 1 more");
    }
}
