//! Mounts that an automounter takes away when they are idle. A probe walks the trigger's path, and the kernel takes
//! that for use: asked at each run, such a mount would never go. So it is asked so seldom that the automounter finds it
//! idle in between, if nobody else uses it.

use super::Monitor;
use platform::Mount;
use std::time::Duration;

/// An automounter looks for idle mounts from time to time: automount(8) each quarter of the limit, systemd each third.
/// A part of the limit that is more than either …
const LOOKS_WITHIN: u32 = 2;
/// … and room for one that is late.
const LATE: Duration = Duration::from_secs(5);

/// From one probe to the next of a mount whose trigger lets go of it after `limit` without use.
fn seldom(limit: Duration) -> Duration {
    limit.saturating_add(limit / LOOKS_WITHIN).saturating_add(LATE)
}

impl Monitor {
    /// From one probe of a mount to the next while it is well, where `wanted` is what was asked for.
    pub(super) fn pause_between(&self, mount: &Mount, wanted: Duration) -> Duration {
        let trigger = self.by_id.get(&mount.parent).and_then(|&key| self.table.get(key));
        trigger.and_then(|trigger| trigger.idle_timeout()).map_or(wanted, |limit| wanted.max(seldom(limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automounter_finds_it_idle_between_two_probes() {
        for (limit, expected) in [(1, 6.5), (40, 65.0), (300, 455.0)] {
            let pause = seldom(Duration::from_secs(limit));
            assert_eq!(pause, Duration::from_secs_f64(expected));
            assert!(pause > Duration::from_secs(limit + limit.div_ceil(3)), "{limit}");
        }
        assert_eq!(seldom(Duration::MAX), Duration::MAX);
    }
}
