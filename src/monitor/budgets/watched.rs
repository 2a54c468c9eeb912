//! Limits how many mounts of a user are watched. The others are counted, and take the place of one that is gone.

use super::UserNotice;
use platform::{Mount, MountKey, User};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// Maximum number of watched mounts of one user: as many as fusermount(1) permits by default, and a few that others
/// made below them. Each takes about 2 KiB in state, snapshots and metrics, and several times the length of its names.
const MAX_WATCHED: usize = 1024;
/// Maximum number of bytes of their names: 128 for each.
const MAX_NAME_BYTES: usize = 128 * MAX_WATCHED;

#[derive(Default)]
pub(crate) struct WatchBudget {
    users: FxHashMap<User, UserMounts>,
    not_watched: usize,
    /// There may be room for others since the last call of [`WatchBudget::admissible`].
    has_room: bool,
}

#[derive(Default)]
struct UserMounts {
    /// With the bytes of their names.
    watched: FxHashMap<MountKey, usize>,
    bytes: usize,
    /// Not watched; the oldest first.
    others: BTreeSet<MountKey>,
    is_logged: bool,
}

impl UserMounts {
    fn has_room(&self, mount: &Mount) -> Option<usize> {
        let names = [mount.mountpoint.as_os_str(), &mount.root, &mount.device, &mount.fstype];
        let bytes = names.iter().map(|name| name.len()).sum();
        let fits = self.watched.len() < MAX_WATCHED && self.bytes + bytes <= MAX_NAME_BYTES;
        (fits && !mount.shortened.over_limit).then_some(bytes)
    }
}

impl WatchBudget {
    /// A mount is watched from now on, unless its user has too many: then it waits until another is gone. The notice is
    /// returned once.
    pub(crate) fn admit(&mut self, user: User, mount: &Mount) -> Result<(), Option<UserNotice>> {
        let User::Foreign(uid) = user else { return Ok(()) };
        let mounts = self.users.entry(user).or_default();
        if let Some(bytes) = mounts.has_room(mount) {
            mounts.watched.insert(mount.key, bytes);
            mounts.bytes += bytes;
            self.not_watched -= usize::from(mounts.others.remove(&mount.key));
            return Ok(());
        }
        self.not_watched += usize::from(mounts.others.insert(mount.key));
        let is_news = !std::mem::replace(&mut mounts.is_logged, true);
        Err(is_news.then_some(UserNotice::NotWatched { user: uid, limit: MAX_WATCHED }))
    }

    /// A watched mount is no longer watched.
    pub(crate) fn release(&mut self, user: User, key: MountKey) {
        if let Some(mounts) = self.users.get_mut(&user) {
            mounts.bytes -= mounts.watched.remove(&key).unwrap_or_default();
            self.has_room = true;
            if mounts.watched.is_empty() && mounts.others.is_empty() {
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

    /// The mounts for which there is room now. There may still be none for long names.
    pub(crate) fn admissible(&mut self) -> Vec<MountKey> {
        if !std::mem::take(&mut self.has_room) {
            return Vec::new();
        }
        let room = |mounts: &UserMounts| MAX_WATCHED.saturating_sub(mounts.watched.len());
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
    use crate::monitor::testing::mount;

    fn admit(budget: &mut WatchBudget, user: User, key: u64) -> Result<(), Option<UserNotice>> {
        budget.admit(user, &mount(key, "/x"))
    }

    #[test]
    fn mount_takes_the_place_of_one_that_is_gone() {
        let mut budget = WatchBudget::default();
        let [a, b] = [1001, 1002].map(User::Foreign);
        let notices: Vec<Option<UserNotice>> =
            (0..2000).filter_map(|key| admit(&mut budget, a, key).err()).collect();
        assert_eq!((notices.len(), budget.not_watched()), (2000 - MAX_WATCHED, 2000 - MAX_WATCHED));
        let notice = UserNotice::NotWatched { user: 1001, limit: MAX_WATCHED };
        assert_eq!(notices.into_iter().flatten().collect::<Vec<_>>(), [notice], "reported once");
        assert_eq!(admit(&mut budget, b, 5000), Ok(()));
        assert!((0..5000).all(|key| admit(&mut budget, User::System, key).is_ok()));
        assert_eq!(budget.admissible(), []);
        let oldest = MountKey(MAX_WATCHED as u64);
        budget.release(a, MountKey(0));
        assert_eq!(budget.admissible(), [oldest]);
        assert_eq!(admit(&mut budget, a, oldest.0), Ok(()));
        assert_eq!(admit(&mut budget, a, 1999), Err(None), "the same mount waits once");
        budget.forget(MountKey(1999));
        assert_eq!(budget.not_watched(), 2000 - MAX_WATCHED - 2);
        (1..=MAX_WATCHED as u64).for_each(|key| budget.release(a, MountKey(key)));
        budget.admissible().into_iter().for_each(|key| budget.forget(key));
        budget.release(b, MountKey(5000));
        assert_eq!((budget.not_watched(), budget.users.len()), (0, 1));
    }

    #[test]
    fn long_names_use_up_the_budget_sooner() {
        let mut budget = WatchBudget::default();
        let user = User::Foreign(1001);
        let long = format!("/{}", "x".repeat(4000));
        let watched = (0..100).filter(|&key| budget.admit(user, &mount(key, &long)).is_ok()).count();
        assert_eq!(watched, MAX_NAME_BYTES / (long.len() + "/tmpfstmpfs".len()));
        let mut over_limit = mount(200, "/short");
        over_limit.shortened.over_limit = true;
        assert!(budget.admit(user, &over_limit).is_err() && budget.admit(user, &mount(201, "/x")).is_ok());
    }
}
