//! The classes of probes: each user has probers of its own, so that what a user does to them harms nobody else. While a
//! thread has the identity of a user, that user may kill its process (kill(2)), and the mounts of a user can hang at
//! will.

use super::{MAX_SPAWN_PAUSE, MIN_SPAWN_PAUSE, Pool, STRANDED_LOG_INTERVAL};
use crate::backoff::Backoff;
use crate::children::codec::PacketQueue;
use crate::children::prober::ProberNotice;
use crate::children::prober::handle::ProberHandle;
use crate::monitor::Time;
use platform::User;
use std::time::Duration;

/// Maximum number of stranded probers of the system's mounts. Each takes about 280 KiB, plus 37 KiB for each stuck
/// thread: tens of megabytes in total even with many hung mounts.
const MAX_STRANDED_PROBERS: usize = 16;
/// The same for each other user: one for the mounts that hang together, one for those that follow.
const MAX_STRANDED_OF_USER: usize = 2;
/// Maximum number of users with an active prober: each takes about 0.5 MiB. Others wait until one of these is idle.
pub(super) const MAX_USERS: usize = 16;
/// Maximum number of probers of users that were abandoned or killed and still exist.
const MAX_STRANDED_OF_USERS: usize = MAX_USERS * MAX_STRANDED_OF_USER;
/// Stranded probers, active ones, and a few of the system that are being killed because they do not respond.
pub(super) const MAX_PROBERS: usize = MAX_STRANDED_PROBERS + 1 + 4 + MAX_STRANDED_OF_USERS + MAX_USERS;
/// How long the prober of a user is kept without a probe: the retries of a dead mount need no new one for each.
pub(in crate::children::prober) const IDLE_AFTER: Duration = Duration::from_secs(15);
/// A user's failures are remembered this long, so that one who kills the own prober again and again waits longer.
const FORGET_AFTER: Duration = MAX_SPAWN_PAUSE.saturating_mul(2);

pub(super) struct ClassState {
    /// The slot of the active prober.
    pub(super) active: Option<usize>,
    /// Encoded probes that wait for a prober.
    pub(super) waiting: PacketQueue,
    pub(super) waiting_since: Option<Time>,
    pub(super) backoff: Backoff<Time>,
    pub(super) limit_logged: bool,
    /// When a stranded prober was last logged, and how many there were then.
    pub(super) stranded_logged: Option<(Time, usize)>,
}

impl Default for ClassState {
    fn default() -> ClassState {
        ClassState {
            active: None,
            waiting: PacketQueue::default(),
            waiting_since: None,
            backoff: Backoff::new(MIN_SPAWN_PAUSE, MAX_SPAWN_PAUSE),
            limit_logged: false,
            stranded_logged: None,
        }
    }
}

impl ClassState {
    /// Is there nothing to remember about this user?
    fn is_unused(&self, now: Time) -> bool {
        let has_failed = self.backoff.retry_at().is_some_and(|at| at + FORGET_AFTER > now);
        let has_logged = self.stranded_logged.is_some_and(|(at, _)| at + STRANDED_LOG_INTERVAL > now);
        self.active.is_none() && self.waiting.is_empty() && !has_failed && !has_logged
    }
}

impl Pool {
    /// The users whose probes wait for a prober: the system first, then the one that has waited longest.
    pub(super) fn waiting_users(&self) -> Vec<User> {
        let waiting = self.classes.iter().filter(|(_, class)| !class.waiting.is_empty());
        let mut users: Vec<_> =
            waiting.map(|(user, class)| (user.is_foreign(), class.waiting_since, *user)).collect();
        // A probe that has just come has no time yet.
        users.sort_by_key(|&(is_foreign, since, user)| (is_foreign, since.is_none(), since, user));
        users.into_iter().map(|(_, _, user)| user).collect()
    }

    pub(super) fn is_active(&self, user: User, slot: usize) -> bool {
        self.classes.get(&user).is_some_and(|class| class.active == Some(slot))
    }

    pub(super) fn deactivate(&mut self, user: User, slot: usize) {
        if let Some(class) = self.classes.get_mut(&user) {
            class.active.take_if(|active| *active == slot);
        }
    }

    /// The number of probers that these users have: active ones, and all others that still exist.
    fn count(&self, is_meant: impl Fn(User) -> bool) -> (usize, usize) {
        let probers =
            self.probers.iter().enumerate().filter_map(|(slot, prober)| Some((slot, prober.as_ref()?.user)));
        let (active, others): (Vec<_>, Vec<_>) =
            probers.filter(|&(_, user)| is_meant(user)).partition(|&(slot, user)| self.is_active(user, slot));
        (active.len(), others.len())
    }

    /// Whether one more prober of this user may be stranded.
    pub(super) fn may_abandon(&self, user: User) -> bool {
        let (_, own) = self.count(|other| other == user);
        match user {
            User::System => own < MAX_STRANDED_PROBERS,
            User::Foreign(_) => {
                own < MAX_STRANDED_OF_USER && self.count(User::is_foreign).1 < MAX_STRANDED_OF_USERS
            }
        }
    }

    pub(super) fn notify_limit(&mut self, user: User) {
        let limit = if user.is_foreign() { MAX_STRANDED_OF_USER } else { MAX_STRANDED_PROBERS };
        let class = self.classes.entry(user).or_default();
        if !std::mem::replace(&mut class.limit_logged, true) {
            self.notify(user, ProberNotice::StrandedLimit { limit });
        }
    }

    /// Makes room for a prober of this user, if need be at the cost of the user whose prober has been idle longest.
    pub(super) fn has_place(&mut self, now: Time, user: User) -> bool {
        if !user.is_foreign() {
            return true;
        }
        let (_, own) = self.count(|other| other == user);
        let (active, others) = self.count(User::is_foreign);
        if active >= MAX_USERS {
            let idle =
                |(slot, prober): (usize, &Option<ProberHandle>)| Some((prober.as_ref()?.idle_since?, slot));
            match self.probers.iter().enumerate().filter_map(idle).min() {
                Some((_, slot)) => self.retire(now, slot),
                None => return false,
            }
        }
        own <= MAX_STRANDED_OF_USER && active.min(MAX_USERS - 1) + others < MAX_STRANDED_OF_USERS + MAX_USERS
    }

    /// Ends probers of users that were idle for some time, and forgets users without probes.
    pub(super) fn end_idle(&mut self, now: Time) {
        for slot in 0..self.probers.len() {
            let idle_end = self.probers[slot].as_ref().and_then(ProberHandle::idle_end);
            if idle_end.is_some_and(|at| at <= now) {
                self.retire(now, slot);
            }
        }
        self.classes.retain(|_, class| !class.is_unused(now));
    }

    fn retire(&mut self, now: Time, slot: usize) {
        let Some(prober) = self.probers[slot].as_mut() else { return };
        let user = prober.user;
        prober.kill(now);
        self.deactivate(user, slot);
    }
}
