//! The mounts that are probed as soon as there is room, by user: the system's first, then one of each user in turn, so
//! that a user with thousands of mounts delays neither the system nor other users.

use platform::{DeviceNumber, MountKey, User};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// A mount that waits for its probe, with the user to whose queue it belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct QueuedMount {
    pub(super) key: MountKey,
    pub(super) user: User,
    pub(super) superblock: DeviceNumber,
}

#[derive(Default)]
pub(super) struct ReadyMounts {
    queues: FxHashMap<User, VecDeque<QueuedMount>>,
    /// The foreign users with a queue, the next first.
    turns: VecDeque<User>,
}

impl ReadyMounts {
    pub(super) fn push_back(&mut self, mount: QueuedMount) {
        self.queue(mount.user).push_back(mount);
    }

    pub(super) fn push_front(&mut self, mount: QueuedMount) {
        self.queue(mount.user).push_front(mount);
    }

    fn queue(&mut self, user: User) -> &mut VecDeque<QueuedMount> {
        let turns = &mut self.turns;
        self.queues.entry(user).or_insert_with(|| {
            turns.extend(Some(user).filter(|user| user.is_foreign()));
            VecDeque::new()
        })
    }

    pub(super) fn remove(&mut self, mount: QueuedMount) {
        if let Some(queue) = self.queues.get_mut(&mount.user) {
            queue.retain(|other| other.key != mount.key);
        }
    }

    pub(super) fn remove_all_of(&mut self, superblock: DeviceNumber) {
        for queue in self.queues.values_mut() {
            queue.retain(|mount| mount.superblock != superblock);
        }
    }

    /// The next mount of a user that may probe one.
    pub(super) fn pop(&mut self, may_probe: impl Fn(User) -> bool) -> Option<QueuedMount> {
        if may_probe(User::System)
            && let Some(mount) = self.pop_of(User::System)
        {
            return Some(mount);
        }
        for _ in 0..self.turns.len() {
            let user = self.turns.pop_front()?;
            if may_probe(user) {
                let Some(mount) = self.pop_of(user) else { continue };
                if self.queues.contains_key(&user) {
                    self.turns.push_back(user);
                }
                return Some(mount);
            }
            self.turns.push_back(user);
        }
        None
    }

    /// Removes the queue with its last mount.
    fn pop_of(&mut self, user: User) -> Option<QueuedMount> {
        let queue = self.queues.get_mut(&user)?;
        let mount = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&user);
        }
        mount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its superblock has the number of the key.
    fn queued(key: u32, user: User) -> QueuedMount {
        QueuedMount { key: MountKey(key.into()), user, superblock: DeviceNumber { major: 0, minor: key } }
    }

    #[test]
    fn system_is_first_and_users_take_turns() {
        let mut ready = ReadyMounts::default();
        let [a, b] = [1001, 1002].map(User::Foreign);
        for (key, user) in [(1, a), (2, a), (3, a), (4, b), (5, User::System), (6, b)] {
            ready.push_back(queued(key, user));
        }
        ready.remove(queued(6, b));
        let next = |ready: &mut ReadyMounts, barred: Option<User>| {
            ready.pop(|user| Some(user) != barred).map(|mount| mount.key.0)
        };
        assert_eq!(next(&mut ready, Some(User::System)), Some(1), "the system has no room");
        assert_eq!(next(&mut ready, None), Some(5));
        assert_eq!(next(&mut ready, None), Some(4));
        assert_eq!(next(&mut ready, Some(a)), None);
        assert_eq!([next(&mut ready, None), next(&mut ready, None)], [Some(2), Some(3)]);
        assert_eq!((next(&mut ready, None), ready.queues.len(), ready.turns.len()), (None, 0, 0));
    }
}
