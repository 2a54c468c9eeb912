//! What the kernel says about file servers, and how often that is a reason to probe their mounts.

use super::Time;
use std::time::Duration;

/// A hint about one server is used at most this often: the probes that follow from it take their time.
const HINT_INTERVAL: Duration = Duration::from_secs(2);
/// Servers whose last hint is remembered.
const MAX_RECENT: usize = 64;
/// When the kernel repeats that some server does not respond, network mounts are probed at most this often.
const STALL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct ServerHints {
    recent: Vec<Hint>,
    last_stall: Option<Time>,
}

#[derive(Debug)]
struct Hint {
    server: Vec<u8>,
    responds: bool,
    at: Time,
}

impl ServerHints {
    /// Is this hint new? Then it is remembered.
    pub(super) fn is_new(&mut self, now: Time, server: &[u8], responds: bool) -> bool {
        self.recent.retain(|hint| now.since(hint.at) < HINT_INTERVAL);
        let is_known = self.recent.iter().any(|hint| hint.server == server && hint.responds == responds);
        let is_new = !is_known && self.recent.len() < MAX_RECENT;
        if is_new {
            self.recent.push(Hint { server: server.to_vec(), responds, at: now });
        }
        is_new
    }

    /// Is this the first message about an unnamed server for a while?
    pub(super) fn is_new_stall(&mut self, now: Time) -> bool {
        let is_new = self.last_stall.is_none_or(|before| now >= before + STALL_INTERVAL);
        if is_new {
            self.last_stall = Some(now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    #[test]
    fn repeated_hint_is_not_new_until_the_interval_is_over() {
        let mut hints = ServerHints::default();
        assert!(hints.is_new(at(0), b"a", false));
        assert!(!hints.is_new(at(1_999), b"a", false));
        assert!(hints.is_new(at(1_999), b"a", true), "another state");
        assert!(hints.is_new(at(1_999), b"b", false), "another server");
        assert!(hints.is_new(at(2_000), b"a", false));
    }

    #[test]
    fn remembered_servers_are_limited() {
        let mut hints = ServerHints::default();
        let new = (0..100_u8).filter(|&server| hints.is_new(at(0), &[server], false)).count();
        assert_eq!((new, hints.recent.len()), (MAX_RECENT, MAX_RECENT));
    }

    #[test]
    fn repeated_stall_is_not_new_until_the_interval_is_over() {
        let mut hints = ServerHints::default();
        let new: Vec<bool> = [0, 999, 1_000].map(|ms| hints.is_new_stall(at(ms))).into();
        assert_eq!(new, [true, false, true]);
    }
}
