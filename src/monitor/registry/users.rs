//! Determines whose limits apply to each mount: those of the user who serves it, else of the nearest mount on its path
//! that a foreign user serves, because such a user can make each access to the path hang.

use platform::{Mount, MountKey, MountTable, User};
use rustc_hash::FxHashMap;

/// The foreign users; all other mounts are the system's.
#[derive(Default)]
pub(super) struct ForeignUsers(FxHashMap<MountKey, User>);

impl ForeignUsers {
    pub(super) fn of(table: &MountTable) -> ForeignUsers {
        let own = |mount: &Mount| Some(mount.user()).filter(|user| user.is_foreign());
        if table.iter().all(|mount| own(mount).is_none()) {
            return ForeignUsers::default();
        }
        let by_id: FxHashMap<u32, &Mount> = table.iter().map(|mount| (mount.id, &**mount)).collect();
        let mut known: FxHashMap<u32, User> = FxHashMap::default();
        let mut chain = Vec::new();
        for mount in table {
            let mut next = Some(mount.as_ref());
            let mut user = User::System;
            while let Some(current) = next {
                if let Some(&found) = known.get(&current.id) {
                    user = found;
                    break;
                }
                // A table that was read while it changed may contain a loop: it ends here.
                known.insert(current.id, User::System);
                chain.push(current.id);
                if let Some(found) = own(current) {
                    user = found;
                    break;
                }
                next = by_id.get(&current.parent).copied();
            }
            known.extend(chain.drain(..).map(|id| (id, user)));
        }
        let foreign = |mount: &Mount| Some((mount.key, known.get(&mount.id).copied()?));
        ForeignUsers(
            table.iter().filter_map(|mount| foreign(mount)).filter(|(_, user)| user.is_foreign()).collect(),
        )
    }

    pub(super) fn user(&self, key: MountKey) -> User {
        self.0.get(&key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::{fuse, mount};
    use std::sync::Arc;

    #[test]
    fn mounts_of_a_user_and_those_below_them_are_the_users() {
        let system = |id: u32, parent| Mount { parent, ..mount(u64::from(id), "/") };
        let served = |id: u32, parent, user| Mount { parent, ..fuse(u64::from(id), "/", user) };
        let mounts = [
            system(1, 0),
            served(2, 1, 1001),
            system(3, 2),
            system(4, 3),
            served(5, 3, 1002),
            served(6, 1, 0),
            system(7, 6),
            system(8, 9), // a loop
            system(9, 8),
            system(10, 11), // below a mount with a higher id
            served(11, 1, 1003),
        ];
        let users = ForeignUsers::of(&MountTable::new(mounts.into_iter().map(Arc::new).collect()));
        let found: Vec<User> = (1..=11).map(|key| users.user(MountKey(key))).collect();
        let [a, b, c] = [1001, 1002, 1003].map(User::Foreign);
        let system = User::System;
        assert_eq!(found, [system, a, a, a, b, system, system, system, system, c, c]);
    }
}
