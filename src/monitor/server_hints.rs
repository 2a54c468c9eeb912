//! Hints from the kernel about file servers, and how often they cause probes of their mounts.

use super::Time;
use platform::evidence::StalledStorage;
use std::collections::BTreeMap;
use std::time::Duration;

/// Minimum interval between used hints about one server, or one kind of storage: the probes that they cause take time.
const HINT_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of servers whose last hint is remembered.
const MAX_RECENT: usize = 64;
/// When the kernel repeats that some server does not respond, network mounts are probed again only after this time.
const STALL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct ServerHints {
    /// The last hint about each server, with its time.
    recent: Vec<(Time, Vec<u8>, bool)>,
    last_stall: Option<Time>,
    last_stalls: BTreeMap<StalledStorage, Option<Time>>,
}

impl ServerHints {
    /// Remembers the hint and returns true if it is new.
    pub(super) fn is_new(&mut self, now: Time, server: &[u8], responds: bool) -> bool {
        self.recent.retain(|(at, ..)| now.since(*at) < HINT_INTERVAL);
        let is_known = self.recent.iter().any(|(_, name, state)| name == server && *state == responds);
        let is_new = !is_known && self.recent.len() < MAX_RECENT;
        if is_new {
            self.recent.push((now, server.to_vec(), responds));
        }
        is_new
    }

    /// Some storage of this kind does not respond.
    pub(super) fn is_new_stall_of(&mut self, now: Time, storage: StalledStorage) -> bool {
        renew(self.last_stalls.entry(storage).or_default(), now, HINT_INTERVAL)
    }

    /// Some server does not respond.
    pub(super) fn is_new_stall(&mut self, now: Time) -> bool {
        renew(&mut self.last_stall, now, STALL_INTERVAL)
    }
}

/// Whether the last time was at least so long ago. Then this is the last time.
fn renew(last: &mut Option<Time>, now: Time, interval: Duration) -> bool {
    let is_new = last.is_none_or(|before| now >= before + interval);
    if is_new {
        *last = Some(now);
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_servers_are_limited_until_the_interval_is_over() {
        let mut hints = ServerHints::default();
        let mut count_new = |ms| {
            let now = Time::after_start(Duration::from_millis(ms));
            (0..100_u8).filter(|&server| hints.is_new(now, &[server], false)).count()
        };
        assert_eq!([0, 1_999, 2_000].map(&mut count_new), [MAX_RECENT, 0, MAX_RECENT]);
    }
}
