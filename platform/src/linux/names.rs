//! Limits the memory that the names of mounts take. Equal names are kept once. And the names of users' mounts are limited:
//! a user can make thousands of mounts whose names have nearly the maximum length each. Names of usual length are not
//! limited: their number is that of the mounts.

use super::long_names::abbreviated;
use crate::{Mount, SharedName, User};
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// A mount with more bytes of names is counted.
const USUAL: usize = 256;
/// Maximum number of bytes of counted names of one user: more than are watched (`src/monitor/budgets/watched.rs`).
const OF_USER: usize = 256 << 10;
/// The same of all users.
const OF_USERS: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those of the known mounts, except mount points, which are all different.
    known: HashSet<SharedName>,
    /// Those of the last mount: the next one often has the same.
    recent: [Option<SharedName>; 5],
    of_user: HashMap<u32, usize>,
    total: usize,
}

impl Names {
    /// Counts the names of these mounts, to which others are added. Forgets names that no mount has.
    pub(super) fn count<'a>(&mut self, mounts: impl IntoIterator<Item = &'a Arc<Mount>>) {
        self.recent = Default::default();
        self.known.retain(|name| !name.is_last());
        (self.total, self.of_user) = (0, HashMap::new());
        for (uid, bytes) in mounts.into_iter().filter_map(|mount| counted(mount)) {
            self.add(uid, bytes);
        }
    }

    /// A mount that was counted is gone.
    pub(super) fn forget(&mut self, mount: &Mount) {
        let Some((uid, bytes)) = counted(mount) else { return };
        if let Some(of_user) = self.of_user.get_mut(&uid) {
            *of_user = of_user.saturating_sub(bytes);
            self.total = self.total.saturating_sub(bytes);
        }
    }

    fn add(&mut self, uid: u32, bytes: usize) {
        self.total += bytes;
        *self.of_user.entry(uid).or_default() += bytes;
    }

    /// The mount as it is kept: it shares names with others. They are abbreviated if its user has too many long ones.
    pub(super) fn kept(&mut self, mount: Mount) -> Mount {
        let mut mount = self.limited(mount);
        let Mount { root, fstype, device, options, super_options, .. } = &mut mount;
        let names = [root, fstype, device, options, super_options];
        for (name, recent) in names.into_iter().zip(&mut self.recent) {
            match recent {
                Some(recent) if recent == name => name.clone_from(recent),
                _ => {
                    match self.known.get(name) {
                        Some(known) => name.clone_from(known),
                        None => drop(self.known.insert(name.clone())),
                    }
                    *recent = Some(name.clone());
                }
            }
        }
        mount
    }

    fn limited(&mut self, mut mount: Mount) -> Mount {
        let Some((uid, bytes)) = counted(&mount) else { return mount };
        let before = self.of_user.get(&uid).copied().unwrap_or_default();
        if before + bytes <= OF_USER && self.total + bytes <= OF_USERS {
            self.add(uid, bytes);
            return mount;
        }
        mount.shortened.over_limit = true;
        mount.shortened.mountpoint = true;
        mount.mountpoint = abbreviated(mount.mountpoint.as_os_str().as_bytes(), b'/').into();
        mount.root = abbreviated(mount.root.as_bytes(), b'/').into();
        mount.device = abbreviated(mount.device.as_bytes(), b'/').into();
        mount.fstype = abbreviated(mount.fstype.as_bytes(), b'.').into();
        mount
    }
}

/// The user of a mount with names of unusual length, and their length.
fn counted(mount: &Mount) -> Option<(u32, usize)> {
    let others = mount.root.len() + mount.device.len() + mount.fstype.len();
    let bytes = mount.mountpoint.as_os_str().len() + others;
    match mount.user() {
        User::Foreign(uid) if bytes > USUAL && !mount.shortened.over_limit => Some((uid, bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::mountinfo;
    use super::*;

    fn mount(id: usize, user: u32, path: &str) -> Mount {
        let line = format!("{id} 1 0:{id} / {path}{id} rw - fuse x rw,user_id={user},group_id=0\n");
        mountinfo::parse(line.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn equal_names_are_kept_once_and_until_their_last_mount_is_gone() {
        let mut names = Names::default();
        let mut kept: Vec<Arc<Mount>> =
            (0..1000).map(|id| Arc::new(names.kept(mount(id, 1001, "/mnt/")))).collect();
        for (id, mount) in kept.iter().enumerate() {
            assert!(
                mount.super_options.is_same(&kept[0].super_options) && mount.device.is_same(&kept[0].device)
            );
            assert_eq!(mount.mountpoint.as_os_str(), &*format!("/mnt/{id}"));
        }
        let texts = ["/", "rw", "fuse", "x", "rw,user_id=1001,group_id=0"];
        let known = |names: &Names| texts.map(|text| names.known.contains(&SharedName::from(text)));
        assert_eq!((names.known.len(), known(&names)), (texts.len(), [true; 5]));
        kept.truncate(1);
        names.count(&kept);
        assert_eq!(known(&names), [true; 5]);
        names.count(&[]);
        assert_eq!(names.known.len(), 5, "the mount still exists");
        kept.clear();
        names.count(&kept);
        assert!(names.known.is_empty());
    }

    #[test]
    fn names_beyond_the_limit_are_abbreviated() {
        let long = format!("/{}/", "x/".repeat(1000));
        let mut names = Names::default();
        let kept: Vec<Mount> = (0..1000).map(|id| names.limited(mount(id, 1001, &long))).collect();
        let whole = kept.iter().filter(|mount| !mount.shortened.over_limit).count();
        assert_eq!(whole, OF_USER / (long.len() + 9), "all of them have three digits or fewer");
        let short = &kept[999];
        assert!(!short.has_usable_path() && short.mountpoint.as_os_str().len() < 200, "{short:?}");
        assert_ne!(short.mountpoint, kept[998].mountpoint);
        for other in [mount(1000, 1002, &long), mount(1001, 0, &long), mount(1002, 1001, "/usual/")] {
            assert_eq!(names.limited(other.clone()), other);
        }
        let kept: Vec<Arc<Mount>> = kept.into_iter().map(Arc::new).collect();
        names.count(&kept);
        assert!(names.total <= OF_USER, "abbreviated names are not counted");
        kept.iter().for_each(|mount| names.forget(mount));
        assert_eq!(names.total, 0);
    }
}
