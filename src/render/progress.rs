//! The progress line of `check`.

use super::HumanDuration;
use super::escape::escape_os;
use super::status_summary::mounts;
use super::table::fit;
use crate::monitor::{Health, Status, Time};
use std::time::Duration;

/// Minimum wait before progress is shown, so that the line does not flicker.
const MIN_WAIT: Duration = Duration::from_millis(300);

/// `Waiting for 2 of 12 mounts; /mnt/x for 1.4s`, in fewer than `width` columns; `None` if no probe is pending.
#[must_use]
pub fn line(status: &Status, now: Time, width: usize) -> Option<String> {
    let pending = || status.mounts.iter().filter(|mount| mount.health == Health::Pending);
    let slowest =
        pending().filter(|mount| mount.waiting_since.is_some()).min_by_key(|mount| mount.waiting_since)?;
    let waited = now.since(slowest.waiting_since?);
    if waited < MIN_WAIT {
        return None;
    }
    let (waiting, total) = (pending().count(), mounts(status.total));
    let path = escape_os(&slowest.mount.mountpoint);
    // Tenths show that the check is alive. The last column stays empty, because some terminals wrap there.
    let waited = if waited.as_secs() < 10 {
        format!("{:.1}s", waited.as_secs_f64())
    } else {
        HumanDuration(waited).to_string()
    };
    let (start, end) = (format!("Waiting for {waiting} of {total}; "), format!(" for {waited}"));
    let path_width = width.saturating_sub(1 + start.len() + end.len());
    Some(fit(&format!("{start}{}{end}", fit(&path, path_width)), width.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{at, mount, status, status_of};

    #[test]
    fn line_names_the_slowest_mount() {
        let waiting = |path: &str, since: Option<f64>| {
            let mut one = status_of(mount(path, "nfs", "s:/", "rw", "rw"), Health::Pending);
            one.waiting_since = since.map(at);
            one
        };
        let ok = status_of(mount("/", "ext4", "d", "rw", "rw"), Health::Ok);
        let all = status(vec![ok, waiting("/a", Some(1.5)), waiting("/b\n", Some(1.0)), waiting("/c", None)]);
        for (now, width, text) in [
            (1.2, 80, None),
            (2.0, 80, Some(r"Waiting for 3 of 4 mounts; /b\012 for 1.0s")),
            (20.0, 80, Some(r"Waiting for 3 of 4 mounts; /b\012 for 19s")),
            (20.0, 40, Some(r"Waiting for 3 of 4 mounts; /…12 for 19s")),
            (20.0, 11, Some("Wait…r 19s")),
        ] {
            let shown = line(&all, at(now), width);
            assert_eq!(shown.as_deref(), text);
            assert!(shown.unwrap_or_default().chars().count() < width);
        }
        assert_eq!(line(&status(vec![]), at(9.0), 80), None);
    }
}
