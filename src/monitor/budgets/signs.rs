//! How often early signs cause probes. A sign is no proof: a long wait for a lock, or many clients of a busy FUSE server,
//! look the same. So the probes of each superblock, of each user and of all superblocks are limited.

use super::{Bucket, MAX_IDLE_USERS, Rate};
use crate::monitor::Time;
use platform::{DeviceNumber, User};
use rustc_hash::FxHashMap;
use std::time::Duration;

/// The pause between two probes of a superblock because of signs: shorter than that between two signs (2 s), as both
/// are measured by different clocks. A hang is found that much later if it begins after a probe of a busy server.
const MIN_PAUSE: Duration = Duration::from_millis(1500);
/// With more superblocks than this that have signs, the pause is as many times longer: at most 67 probes each second.
const SUPERBLOCKS_PER_PAUSE: usize = 100;
/// A superblock without a sign for so long after its pause is forgotten. Looks are up to 3 s apart.
const MEMORY: Duration = Duration::from_secs(4);
/// The probes of one user because of signs: their servers decide when requests wait.
const OF_USER: Rate = Rate { burst: 32.0, per_second: 2.0 };

#[derive(Default)]
pub(crate) struct SignBudget {
    /// The last probe because of a sign.
    superblocks: FxHashMap<DeviceNumber, Time>,
    users: FxHashMap<u32, Bucket>,
    pause: Duration,
}

impl SignBudget {
    /// Must be called before [`SignBudget::admit`], once for all signs that arrive together.
    pub(crate) fn begin(&mut self, now: Time) {
        let memory = self.pause + MEMORY;
        self.superblocks.retain(|_, probed_at| now < *probed_at + memory);
        let factor = 1 + u32::try_from(self.superblocks.len() / SUPERBLOCKS_PER_PAUSE).unwrap_or(u32::MAX);
        self.pause = MIN_PAUSE.saturating_mul(factor);
    }

    /// May this superblock be probed now because of a sign? Counts the probe if so.
    pub(crate) fn admit(&mut self, now: Time, superblock: DeviceNumber, user: User) -> bool {
        let is_early = |probed_at: &Time| now < *probed_at + self.pause;
        if self.superblocks.get(&superblock).is_some_and(is_early) || !self.take_token(now, user) {
            return false;
        }
        self.superblocks.insert(superblock, now);
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

    /// How many of these superblocks are probed in each of the looks, which are two seconds apart.
    fn admitted(budget: &mut SignBudget, looks: std::ops::Range<u64>, superblocks: u32) -> Vec<usize> {
        let look = |look: u64| {
            budget.begin(at(look * 2000));
            let admitted = |&n: &u32| budget.admit(at(look * 2000), superblock(n), User::System);
            (0..superblocks).filter(admitted).count()
        };
        looks.map(look).collect()
    }

    #[test]
    fn superblock_with_signs_is_probed_every_two_seconds() {
        let mut budget = SignBudget::default();
        assert_eq!(admitted(&mut budget, 0..4, 1), [1; 4]);
        assert!(!budget.admit(at(6500), superblock(0), User::System));
        assert_eq!(admitted(&mut budget, 4..8, 99), [99; 4]);
    }

    #[test]
    fn many_superblocks_with_signs_are_probed_more_seldom_and_all_of_them() {
        let mut budget = SignBudget::default();
        let looks = admitted(&mut budget, 0..19, 1000);
        let expected = |look| if look % 9 == 0 { 1000 } else { 0 };
        assert_eq!(looks, (0..19).map(expected).collect::<Vec<usize>>());
        assert_eq!(admitted(&mut budget, 40..43, 5), [5; 3], "the others are forgotten");
        assert_eq!(budget.superblocks.len(), 5);
    }

    #[test]
    fn probes_of_a_user_are_limited_and_nothing_is_remembered_for_ever() {
        let mut budget = SignBudget::default();
        let mut admitted = |ms, user, first| {
            budget.begin(at(ms));
            (first..first + 100).filter(|&n| budget.admit(at(ms), superblock(n), user)).count()
        };
        let user = User::Foreign(1001);
        assert_eq!([0, 0, 5000].map(|ms| admitted(ms, user, 0)), [32, 0, 42 - 32]);
        assert_eq!(admitted(5000, User::System, 1000), 100);
        assert_eq!(admitted(5000, User::Foreign(1002), 2000), 32);
        for n in 0..5000 {
            let now = at(100_000 + u64::from(n) * 100);
            budget.begin(now);
            assert!(budget.admit(now, superblock(n), User::Foreign(n)), "{n}");
        }
        let (superblocks, users) = (budget.superblocks.len(), budget.users.len());
        assert!(superblocks <= 60 && users <= MAX_IDLE_USERS + 1, "{superblocks} {users}");
    }
}
