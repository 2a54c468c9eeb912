//! Limits how many mounts of a user are watched. The others are counted, and take the place of one that is gone.

use super::UserNotice;
use platform::{MountKey, User};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// Maximum number of watched mounts of one user: as many as fusermount(1) permits by default, and a few that others
/// made below them. Each takes about 2 KiB in state, snapshots and metrics.
const MAX_WATCHED: usize = 1024;

#[derive(Default)]
pub(crate) struct WatchBudget {
    users: FxHashMap<User, UserMounts>,
    not_watched: usize,
}

#[derive(Default)]
struct UserMounts {
    watched: usize,
    /// The oldest first.
    others: BTreeSet<MountKey>,
    is_logged: bool,
}

impl WatchBudget {
    /// A mount is watched from now on, unless its user has too many: then it waits until another is gone. The notice is
    /// returned once.
    pub(crate) fn admit(&mut self, user: User, key: MountKey) -> Result<(), Option<UserNotice>> {
        let User::Foreign(uid) = user else { return Ok(()) };
        let mounts = self.users.entry(user).or_default();
        if mounts.watched < MAX_WATCHED {
            mounts.watched += 1;
            self.not_watched -= usize::from(mounts.others.remove(&key));
            return Ok(());
        }
        self.not_watched += usize::from(mounts.others.insert(key));
        let is_news = !std::mem::replace(&mut mounts.is_logged, true);
        Err(is_news.then_some(UserNotice::NotWatched { user: uid, limit: MAX_WATCHED }))
    }

    /// A watched mount is no longer watched.
    pub(crate) fn release(&mut self, user: User) {
        if let Some(mounts) = self.users.get_mut(&user) {
            mounts.watched -= 1;
            if mounts.watched == 0 && mounts.others.is_empty() {
                self.users.remove(&user);
            }
        }
    }

    /// A mount that is not watched is gone, or must not be watched.
    pub(crate) fn forget(&mut self, key: MountKey) {
        if self.not_watched > 0 {
            let removed =
                self.users.values_mut().map(|mounts| usize::from(mounts.others.remove(&key))).sum::<usize>();
            self.not_watched -= removed;
        }
    }

    /// The mounts for which there is room now. Each must be admitted or forgotten.
    pub(crate) fn admissible(&self) -> Vec<MountKey> {
        let room = |mounts: &UserMounts| MAX_WATCHED.saturating_sub(mounts.watched);
        self.users.values().flat_map(|mounts| mounts.others.iter().take(room(mounts)).copied()).collect()
    }

    /// The number of mounts that are not watched.
    pub(crate) fn not_watched(&self) -> usize {
        self.not_watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_takes_the_place_of_one_that_is_gone() {
        let mut budget = WatchBudget::default();
        let [a, b] = [1001, 1002].map(User::Foreign);
        let notices: Vec<Option<UserNotice>> =
            (0..2000).filter_map(|key| budget.admit(a, MountKey(key)).err()).collect();
        assert_eq!((notices.len(), budget.not_watched()), (2000 - MAX_WATCHED, 2000 - MAX_WATCHED));
        let notice = UserNotice::NotWatched { user: 1001, limit: MAX_WATCHED };
        assert_eq!(notices.into_iter().flatten().collect::<Vec<_>>(), [notice], "reported once");
        let mut is_admitted = |user, key| budget.admit(user, MountKey(key)).is_ok();
        assert!(is_admitted(b, 5000) && (0..5000).all(|key| is_admitted(User::System, key)));
        assert_eq!(budget.admissible(), []);
        let oldest = MountKey(MAX_WATCHED as u64);
        budget.release(a);
        assert_eq!(budget.admissible(), [oldest]);
        assert!(budget.admit(a, oldest).is_ok());
        assert_eq!(budget.admit(a, MountKey(1999)), Err(None), "the same mount waits once");
        budget.forget(MountKey(1999));
        assert_eq!(budget.not_watched(), 2000 - MAX_WATCHED - 2);
        (0..MAX_WATCHED).for_each(|_| budget.release(a));
        budget.admissible().into_iter().for_each(|key| budget.forget(key));
        budget.release(b);
        assert_eq!((budget.not_watched(), budget.users.len()), (0, 1));
    }
}
