//! What the mounts of each foreign user may cost: how many are watched (`watched`), how many events about them are
//! reported, and how often early signs cause probes (`signs`). The system has no such limits, and nothing that users do uses up what it needs.

mod signs;
mod watched;

pub(super) use signs::SignBudget;
pub(super) use watched::WatchBudget;

use super::Time;
use platform::User;
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Events about the mounts of one user, at once and per second: all that may be watched can appear, die and recover
/// together, but not again and again.
const OF_USER: Rate = Rate { burst: 1024.0, per_second: 1.0 };
/// The same for all users together: less than half of what a log accepts (`src/output/sink.rs`).
const OF_USERS: Rate = Rate { burst: 4096.0, per_second: 25.0 };
/// This share of each burst is kept for deaths and recoveries.
const VITAL_SHARE: f64 = 0.25;
/// How often it is reported how many events were not.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of users that a summary names.
const MAX_NAMED: usize = 8;
/// Users with a full bucket are forgotten when there are more than this many.
const MAX_IDLE_USERS: usize = 256;

/// A message about the budget of users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserNotice {
    /// So many events about mounts of this user were not reported.
    NotReported { user: u32, events: u64 },
    /// The same of so many other users together.
    NotReportedOfOthers { users: usize, events: u64 },
    /// This user has more mounts than are watched.
    NotWatched { user: u32, limit: usize },
}

#[derive(Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// A token bucket.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_at: Time,
}

impl Bucket {
    fn fill(&mut self, now: Time, rate: Rate) {
        let added = now.since(self.filled_at).as_secs_f64() * rate.per_second;
        (self.tokens, self.filled_at) = ((self.tokens + added).min(rate.burst), now);
    }

    fn has_token(&self, is_vital: bool, rate: Rate) -> bool {
        self.tokens >= if is_vital { 1.0 } else { rate.burst * VITAL_SHARE }
    }
}

struct UserEvents {
    bucket: Bucket,
    not_reported: u64,
}

/// Limits the events of users.
pub(super) struct EventBudget {
    users: FxHashMap<u32, UserEvents>,
    all: Bucket,
    summary_at: Option<Time>,
}

impl Default for EventBudget {
    fn default() -> EventBudget {
        let all = Bucket { tokens: OF_USERS.burst, filled_at: Time::default() };
        EventBudget { users: FxHashMap::default(), all, summary_at: None }
    }
}

impl EventBudget {
    /// May an event about a mount of this user be reported? `is_vital`: a death, a recovery, or the like.
    pub(super) fn admit(&mut self, now: Time, user: User, is_vital: bool) -> bool {
        let User::Foreign(uid) = user else { return true };
        if self.users.len() > MAX_IDLE_USERS && !self.users.contains_key(&uid) {
            self.forget_idle(now);
        }
        let full = Bucket { tokens: OF_USER.burst, filled_at: now };
        let own = self.users.entry(uid).or_insert(UserEvents { bucket: full, not_reported: 0 });
        own.bucket.fill(now, OF_USER);
        self.all.fill(now, OF_USERS);
        let is_admitted = own.bucket.has_token(is_vital, OF_USER) && self.all.has_token(is_vital, OF_USERS);
        if is_admitted {
            own.bucket.tokens -= 1.0;
            self.all.tokens -= 1.0;
        } else {
            own.not_reported += 1;
            self.summary_at.get_or_insert(now + SUMMARY_INTERVAL);
        }
        is_admitted
    }

    fn forget_idle(&mut self, now: Time) {
        self.users.retain(|_, user| {
            user.bucket.fill(now, OF_USER);
            user.not_reported > 0 || user.bucket.tokens < OF_USER.burst
        });
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.summary_at
    }

    /// What was not reported since the last summary, if one is due.
    pub(super) fn take_summary(&mut self, now: Time) -> Vec<UserNotice> {
        if self.summary_at.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        let counts = self.users.iter_mut().map(|(&uid, user)| (std::mem::take(&mut user.not_reported), uid));
        let mut counts: Vec<(u64, u32)> = counts.filter(|(count, _)| *count > 0).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let others = counts.split_off(counts.len().min(MAX_NAMED));
        let mut notices: Vec<UserNotice> =
            counts.into_iter().map(|(events, user)| UserNotice::NotReported { user, events }).collect();
        if !others.is_empty() {
            let events = others.iter().map(|(count, _)| count).sum();
            notices.push(UserNotice::NotReportedOfOthers { users: others.len(), events });
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::after_start(Duration::from_secs(seconds))
    }

    fn admitted(budget: &mut EventBudget, now: Time, user: User, is_vital: bool) -> usize {
        (0..2000).filter(|_| budget.admit(now, user, is_vital)).count()
    }

    #[test]
    fn churn_leaves_room_for_deaths_and_is_summed_up() {
        let mut budget = EventBudget::default();
        let [a, b] = [1001, 1002].map(User::Foreign);
        assert_eq!(admitted(&mut budget, at(0), a, false), 769);
        assert_eq!(admitted(&mut budget, at(0), a, true), 255);
        assert_eq!(admitted(&mut budget, at(0), b, true), 1024, "another user");
        assert_eq!(admitted(&mut budget, at(0), User::System, false), 2000);
        assert_eq!(admitted(&mut budget, at(10), a, true), 10);
        assert_eq!((budget.next_deadline(), budget.take_summary(at(59))), (Some(at(60)), vec![]));
        let of = |user, events| UserNotice::NotReported { user, events };
        assert_eq!(budget.take_summary(at(60)), [of(1001, 2000 * 3 - 1034), of(1002, 976)]);
        assert_eq!((budget.next_deadline(), budget.take_summary(at(200))), (None, vec![]));
    }

    #[test]
    fn many_users_share_a_budget_and_a_line() {
        let mut budget = EventBudget::default();
        let users = 1..=1000;
        let admitted: usize =
            users.clone().map(|user| admitted(&mut budget, at(0), User::Foreign(user), true)).sum();
        assert_eq!(admitted, 4096);
        let summary = budget.take_summary(at(60));
        let events = 1000 * 2000 - 4096 - MAX_NAMED as u64 * 2000;
        let others = UserNotice::NotReportedOfOthers { users: 1000 - MAX_NAMED, events };
        assert!(summary.len() == MAX_NAMED + 1 && *summary.last().unwrap() == others, "{summary:?}");
        for user in users {
            budget.admit(at(10_000), User::Foreign(user + 5000), true);
        }
        assert!(budget.users.len() <= 1000 + MAX_IDLE_USERS, "{}", budget.users.len());
        budget.admit(at(20_000), User::Foreign(1), true);
        assert!(budget.users.len() <= MAX_IDLE_USERS, "{}", budget.users.len());
    }
}
