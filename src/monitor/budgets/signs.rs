//! How often early signs cause probes. A sign is no proof: a long wait for a lock, or many clients of a busy server, look
//! the same. So each superblock is probed ever more seldom while its signs last, and the probes of a user are limited.

use super::{Bucket, MAX_IDLE_USERS, Rate};
use crate::backoff::Backoff;
use crate::monitor::Time;
use platform::{DeviceNumber, User};
use rustc_hash::FxHashMap;
use std::time::Duration;

/// The pause after the first probe of a superblock because of a sign. It doubles up to the maximum: so much later than
/// promised a hang is found after it was busy for minutes.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(16);
/// The probes of one user because of signs: their servers decide when requests wait.
const OF_USER: Rate = Rate { burst: 32.0, per_second: 2.0 };
/// Superblocks without a recent sign are forgotten when there are more than this many.
const MAX_IDLE_SUPERBLOCKS: usize = 1024;

#[derive(Default)]
pub(crate) struct SignBudget {
    superblocks: FxHashMap<DeviceNumber, Backoff<Time>>,
    users: FxHashMap<u32, Bucket>,
}

impl SignBudget {
    /// May this superblock be probed now because of a sign? Counts the probe if so.
    pub(crate) fn admit(&mut self, now: Time, superblock: DeviceNumber, user: User) -> bool {
        let is_early = |pauses: &Backoff<Time>| pauses.retry_at().is_some_and(|at| now < at);
        if self.superblocks.get(&superblock).is_some_and(is_early) || !self.take_token(now, user) {
            return false;
        }
        if self.superblocks.len() > MAX_IDLE_SUPERBLOCKS {
            let is_recent = |at: Time| now < at + MAX_PAUSE;
            self.superblocks.retain(|_, pauses| pauses.retry_at().is_some_and(is_recent));
        }
        let new = || Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        self.superblocks.entry(superblock).or_insert_with(new).next(now);
        true
    }

    fn take_token(&mut self, now: Time, user: User) -> bool {
        let User::Foreign(uid) = user else { return true };
        if self.users.len() > MAX_IDLE_USERS {
            self.users.retain(|_, bucket| {
                bucket.fill(now, OF_USER);
                bucket.tokens < OF_USER.burst
            });
        }
        let bucket = self.users.entry(uid).or_insert(Bucket { tokens: OF_USER.burst, filled_at: now });
        bucket.fill(now, OF_USER);
        let has_token = bucket.tokens >= 1.0;
        bucket.tokens -= if has_token { 1.0 } else { 0.0 };
        has_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    const fn superblock(minor: u32) -> DeviceNumber {
        DeviceNumber { major: 0, minor }
    }

    #[test]
    fn pause_grows_while_signs_last_and_starts_anew_later() {
        let mut budget = SignBudget::default();
        let mut admitted = |from: u64, until: u64| -> Vec<u64> {
            (from..until)
                .filter(|second| budget.admit(at(second * 1000), superblock(1), User::System))
                .collect()
        };
        assert_eq!(admitted(0, 60), [0, 2, 6, 14, 30, 46]);
        assert_eq!(admitted(200, 205), [200, 202]);
    }

    #[test]
    fn probes_of_a_user_are_limited_and_nothing_is_remembered_for_ever() {
        let mut budget = SignBudget::default();
        let mut admitted = |ms, user, first| {
            (first..first + 100).filter(|&n| budget.admit(at(ms), superblock(n), user)).count()
        };
        let user = User::Foreign(1001);
        assert_eq!([0, 0, 5000].map(|ms| admitted(ms, user, 0)), [32, 0, 42 - 32]);
        assert_eq!(admitted(5000, User::System, 1000), 100);
        assert_eq!(admitted(5000, User::Foreign(1002), 2000), 32);
        for n in 0..5000 {
            let now = at(100_000 + u64::from(n) * 100);
            assert!(budget.admit(now, superblock(n), User::Foreign(n)), "{n}");
        }
        let (superblocks, users) = (budget.superblocks.len(), budget.users.len());
        assert!(
            superblocks <= MAX_IDLE_SUPERBLOCKS + 1 && users <= MAX_IDLE_USERS + 1,
            "{superblocks} {users}"
        );
    }
}
