//! Determines which mounts can be reached by their own path, and whose limits apply to them.
//!
//! A path leads to the topmost mount on each of its directories, so a mount is hidden when another mount is on its root or
//! on a directory between it and its parent, or when its parent cannot be reached. The limits are those of the user who
//! serves the mount, else of the nearest mount on its path that a foreign user serves, because such a user can make each
//! access to the path hang. Both are decided from the table alone; no path is walked.

use platform::{Mount, MountKey, MountTree, User};
use rustc_hash::FxHashMap;

/// If more mounts than this share of the table have changed, all are looked at again, which is then cheaper.
const MAX_CHANGED_SHARE: usize = 4;

/// What follows from the place of a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    /// Another mount is on its root.
    is_under_child: bool,
    /// Its path leads through all its parents and to it.
    is_reachable: bool,
    user: User,
}

/// Of most mounts.
const USUAL: Place = Place { is_under_child: false, is_reachable: true, user: User::System };

impl Place {
    const fn is_hidden(self) -> bool {
        self.is_under_child || !self.is_reachable
    }
}

#[derive(Default, Debug)]
pub(super) struct Visibility {
    /// The places that are not usual.
    places: FxHashMap<MountKey, Place>,
    /// The table has a loop: all mounts must be looked at again.
    is_incomplete: bool,
}

impl Visibility {
    pub(super) fn of(tree: &MountTree) -> Visibility {
        let mut visibility = Visibility::default();
        let covered = tree.covered_by_siblings();
        visibility
            .renew(tree, tree.iter().map(|mount| &**mount).collect(), |mount| covered.contains(&mount.key));
        visibility
    }

    pub(super) fn is_hidden(&self, key: MountKey) -> bool {
        self.place(key).is_hidden()
    }

    /// Whose limits apply to this mount.
    pub(super) fn user(&self, key: MountKey) -> User {
        self.place(key).user
    }

    fn place(&self, key: MountKey) -> Place {
        self.places.get(&key).copied().unwrap_or(USUAL)
    }

    /// Must be called after these mounts have changed in the tree, with each as it was and as it is. Returns the mounts
    /// whose place has changed, in the order of the table.
    pub(super) fn update<'a>(
        &mut self,
        tree: &MountTree,
        changed: impl IntoIterator<Item = &'a Mount>,
    ) -> Vec<MountKey> {
        let mut affected: FxHashMap<MountKey, &Mount> = FxHashMap::default();
        for mount in changed {
            match tree.get(mount.key) {
                Some(mount) => affected.extend([(mount.key, &**mount)]),
                None => self.set(mount.key, USUAL),
            }
            let neighbours = tree.children_below(mount.parent, &mount.mountpoint);
            let around = tree.parent(mount).into_iter().chain(neighbours).chain(tree.children(mount.id));
            affected.extend(around.map(|mount| (mount.key, &**mount)));
            if self.is_incomplete || affected.len() > tree.len() / MAX_CHANGED_SHARE {
                return self.replace(tree);
            }
        }
        self.renew(tree, affected.into_values().collect(), |mount| tree.is_covered_by_sibling(mount))
    }

    /// Looks at all mounts again.
    fn replace(&mut self, tree: &MountTree) -> Vec<MountKey> {
        let before = std::mem::replace(self, Visibility::of(tree));
        let keys = tree.iter().map(|mount| mount.key);
        keys.filter(|&key| before.place(key) != self.place(key)).collect()
    }

    /// Determines the places of these mounts again, and of those below them as far as something changes.
    fn renew<'a>(
        &mut self,
        tree: &'a MountTree,
        mut pending: Vec<&'a Mount>,
        is_covered: impl Fn(&Mount) -> bool,
    ) -> Vec<MountKey> {
        let mut before: FxHashMap<MountKey, Place> = FxHashMap::default();
        // A table that was read while it changed may contain a loop, in which a change would go round for ever.
        let mut changes_left = 2 * (tree.len() + pending.len());
        pending.sort_unstable_by_key(|mount| std::cmp::Reverse(mount.key)); // parents first: they are usually older
        while let Some(mount) = pending.pop() {
            let (old, new) = (self.place(mount.key), self.place_of(tree, mount, &is_covered));
            if old == new {
                continue;
            }
            changes_left -= 1;
            if changes_left == 0 {
                self.is_incomplete = true;
                break;
            }
            before.entry(mount.key).or_insert(old);
            self.set(mount.key, new);
            if (old.is_reachable, old.user) != (new.is_reachable, new.user) {
                pending.extend(tree.children(mount.id).iter().map(|child| &**child));
            }
        }
        let has_changed = |&(key, old): &(MountKey, Place)| old != self.place(key);
        let mut changed: Vec<MountKey> = before.into_iter().filter(has_changed).map(|(key, _)| key).collect();
        changed.sort_unstable();
        changed
    }

    /// The place of a mount, if that of its parent is right.
    fn place_of(&self, tree: &MountTree, mount: &Mount, is_covered: impl Fn(&Mount) -> bool) -> Place {
        let parent = tree.parent(mount).map_or(USUAL, |parent| self.place(parent.key));
        let own = mount.user();
        Place {
            is_under_child: tree.is_covered_by_child(mount),
            is_reachable: parent.is_reachable && !is_covered(mount),
            user: if own.is_foreign() { own } else { parent.user },
        }
    }

    fn set(&mut self, key: MountKey, place: Place) {
        if place == USUAL {
            self.places.remove(&key);
        } else {
            self.places.insert(key, place);
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::{fuse, mount};
    use platform::MountTable;
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
    use std::sync::Arc;

    /// Ids, parents and paths.
    type Mounts = &'static [(u32, u32, &'static str)];

    fn hidden_of(tree: &MountTree) -> Vec<u64> {
        let visibility = Visibility::of(tree);
        tree.iter().map(|mount| mount.key).filter(|&key| visibility.is_hidden(key)).map(|key| key.0).collect()
    }

    fn hidden(mounts: Mounts) -> Vec<u64> {
        let mount = |&(id, parent, path)| Arc::new(Mount { parent, ..mount(u64::from(id), path) });
        let table = MountTable::new(mounts.iter().map(mount).collect());
        hidden_of(&MountTree::new(&table))
    }

    #[test]
    fn mounts_that_cannot_be_reached_are_hidden() {
        let cases: [(&str, Mounts, &[u64]); 9] = [
            ("plain tree", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 1, "/ab")], &[]),
            ("same directory", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a"), (4, 3, "/a")], &[2, 3]),
            ("directory above", &[(1, 0, "/"), (2, 1, "/a/b"), (3, 1, "/a")], &[2]),
            ("in a hidden mount", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 2, "/a")], &[2, 3]),
            ("new root", &[(1, 0, "/"), (2, 1, "/old"), (3, 1, "/"), (4, 3, "/new")], &[1, 2]),
            ("root is its own parent", &[(1, 1, "/"), (2, 1, "/a")], &[]),
            ("unknown parent of the root", &[(7, 99, "/"), (8, 7, "/a")], &[]),
            ("names that continue", &[(1, 0, "/"), (2, 1, "/a"), (3, 1, "/a b"), (4, 1, "/a-b/c")], &[]),
            ("new root", &[(1, 1, "/"), (2, 1, "/a"), (3, 1, "/b"), (4, 1, "/")], &[1, 2, 3]),
        ];
        for (name, mounts, expected) in cases {
            assert_eq!(hidden(mounts), expected, "{name}");
        }
    }

    /// With a look-up of each directory above each mount, this would take minutes.
    #[test]
    fn paths_of_the_longest_length_are_compared_in_one_pass() {
        let deep = "/d".repeat(2_040);
        let path = |n: u32| format!("{deep}/{n:05}");
        let mounts = (0..10_000).map(|n| Mount { parent: 1, ..mount(u64::from(n) + 10, &path(n)) });
        let over = Mount { parent: 1, ..mount(20_000, &path(77)) };
        let all = std::iter::once(mount(1, "/")).chain(mounts).chain([over]);
        let table = MountTable::new(all.map(Arc::new).collect());
        assert_eq!(hidden_of(&MountTree::new(&table)), [87]);
    }

    #[test]
    fn chain_of_ten_thousand_mounts_is_judged_once() {
        let path = |n: u32| "/m".repeat(1 + n as usize / 5);
        let chain = (2..10_000).map(|n| Mount { parent: n - 1, ..mount(u64::from(n), &path(n)) });
        let all = std::iter::once(mount(1, "/")).chain(chain);
        let table = MountTable::new(all.map(Arc::new).collect());
        // Of five mounts on one directory the last is on top.
        assert_eq!(table.len() - hidden_of(&MountTree::new(&table)).len(), 2_001);
    }

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
        let table = MountTable::new(mounts.into_iter().map(Arc::new).collect());
        let visibility = Visibility::of(&MountTree::new(&table));
        let found: Vec<User> = (1..=11).map(|key| visibility.user(MountKey(key))).collect();
        let [a, b, c] = [1001, 1002, 1003].map(User::Foreign);
        let system = User::System;
        assert_eq!(found, [system, a, a, a, b, system, system, system, system, c, c]);
    }

    /// The definition, without any index.
    fn is_hidden(tree: &MountTree, mount: &Mount) -> bool {
        let is_above = |over: &Mount, under: &Mount| under.mountpoint.starts_with(&over.mountpoint);
        let is_crossed = |link: &Mount| {
            let parent = tree.parent(link);
            let covers = |other: &&Arc<Mount>| {
                other.parent == link.parent
                    && other.key != link.key
                    && is_above(other, link)
                    && parent.is_some_and(|parent| is_above(parent, other))
                    && (other.mountpoint != link.mountpoint || other.key > link.key)
            };
            parent.is_some() && tree.iter().any(|other| covers(&other))
        };
        let is_on_root =
            |other: &&Arc<Mount>| other.parent == mount.id && other.mountpoint == mount.mountpoint;
        let links = std::iter::successors(Some(mount), |link| tree.parent(link).map(|parent| &**parent));
        tree.iter().any(|other| is_on_root(&other)) || links.take(tree.len()).any(is_crossed)
    }

    /// The user by its definition.
    fn user_of(tree: &MountTree, mount: &Mount) -> User {
        let links = std::iter::successors(Some(mount), |link| tree.parent(link).map(|parent| &**parent));
        links.take(tree.len()).map(Mount::user).find(|user| user.is_foreign()).unwrap_or_default()
    }

    /// A change of a tree: key, parent, path, and whether a user serves the mount.
    type Step = (u64, u32, usize, bool);

    const PATHS: [&str; 12] =
        ["/", "/a", "/a/b", "/a/b/c", "/a b", "/a/x", "/ab", "/b", "/b/c", "/b/c/d", "/c/d/e/f/g", "/c/d"];

    fn step() -> impl Strategy<Value = Step> {
        (2_u64..24, 1_u32..24, 0..PATHS.len(), any::<bool>())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        /// Parents are older than their children, as in most tables, so there are no loops.
        #[test]
        fn changes_lead_to_the_same_places_as_the_definition(
            steps in vec((step(), any::<u8>()), 1..80),
            is_single in any::<bool>(),
        ) {
            let mut tree = MountTree::new(&MountTable::new(vec![Arc::new(mount(1, "/"))]));
            let mut visibility = Visibility::of(&tree);
            let mut changed: Vec<Arc<Mount>> = Vec::new();
            for (n, ((key, parent, path, is_users), action)) in steps.iter().enumerate() {
                let parent = 1 + parent % u32::try_from(key - 1).unwrap();
                if action % 4 == 0 {
                    changed.extend(tree.remove(MountKey(*key)));
                } else {
                    let plain = if *is_users { fuse(*key, PATHS[*path], 1001) } else { mount(*key, PATHS[*path]) };
                    let new = Arc::new(Mount { parent, ..plain });
                    changed.extend(tree.insert(Arc::clone(&new)));
                    changed.push(new);
                }
                if !is_single && n % 5 != 0 && n + 1 < steps.len() {
                    continue; // several changes at once
                }
                let before: FxHashMap<MountKey, Place> =
                    tree.iter().map(|mount| (mount.key, visibility.place(mount.key))).collect();
                let moved = visibility.update(&tree, changed.iter().map(|mount| &**mount));
                changed.clear();
                for mount in &tree {
                    let place = visibility.place(mount.key);
                    prop_assert_eq!(place.is_hidden(), is_hidden(&tree, mount), "{:?} in {:?}", mount, tree);
                    prop_assert_eq!(place.user, user_of(&tree, mount));
                    if before[&mount.key] != place {
                        prop_assert!(moved.contains(&mount.key));
                    }
                }
                let places = Visibility::of(&tree).places;
                prop_assert_eq!(&visibility.places, &places);
            }
        }
    }
}
