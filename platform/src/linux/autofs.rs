//! Whether the daemon of an automount trigger still exists. Its options tell, so the trigger is not touched.

use super::mount_identity::has_unique_id;
use super::statmount::{Found, OWN_NAMESPACE, Statmount};
use super::{OWN_MOUNT_TABLE, mountinfo};
use crate::{Mount, Target};
use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;

/// Whether nobody serves this trigger any more. It is read anew for each probe, because a daemon that starts again takes
/// over the triggers of the last one.
pub(super) fn is_abandoned(target: &Target<&OsStr>) -> bool {
    trigger(target).is_some_and(|trigger| has_no_daemon(&trigger, group_exists))
}

fn trigger(target: &Target<&OsStr>) -> Option<Mount> {
    if has_unique_id(target)
        && let Ok(Found::Mount(trigger)) = Statmount::new(OWN_NAMESPACE).mount(target.key.0)
    {
        return Some(*trigger);
    }
    let mut table = Vec::new();
    let mut file = File::open(OWN_MOUNT_TABLE).ok()?;
    // In the mount namespace of a container, /proc is what its root mounted there.
    fstatfs(&file).ok().filter(|found| found.filesystem_type() == PROC_SUPER_MAGIC)?;
    file.read_to_end(&mut table).ok()?;
    let line = mountinfo::lines(&table).filter_map(Result::ok).find(|line| line.id == target.id)?;
    Some(line.to_mount(target.key))
}

fn has_no_daemon(trigger: &Mount, exists: impl FnOnce(i32) -> bool) -> bool {
    let number = |name: &str| -> Option<i32> { trigger.super_option(name)?.to_str()?.parse().ok() };
    // The daemon, or the kernel when nobody read its request, has closed the pipe between them.
    if number("fd") == Some(-1) {
        return true;
    }
    // The kernel translates the number for the process that reads it. 0: the group is not of this process namespace or
    // one in it, so nothing is known. 1: that of the first process, without which this one would not exist.
    number("pgrp").is_some_and(|group| group > 1 && !exists(group))
}

/// Signal 0 is only a question.
fn group_exists(group: i32) -> bool {
    killpg(Pid::from_raw(group), None) != Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_options(options: &str) -> Mount {
        let line = format!("30 1 0:40 / /auto rw - autofs map {options}\n");
        mountinfo::parse(line.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn only_what_is_certain_counts() {
        for (options, exists, is_gone) in [
            ("rw,fd=4,pgrp=42,timeout=0,minproto=5,maxproto=5,indirect,pipe_ino=7", true, false),
            ("rw,fd=4,pgrp=42,timeout=0,minproto=5,maxproto=5,indirect,pipe_ino=7", false, true),
            ("rw,fd=-1,pgrp=42,timeout=0,pipe_ino=-1", true, true),
            ("rw,fd=-1,pgrp=0", true, true),
            ("rw,fd=4,pgrp=0,timeout=0", false, false),
            ("rw,fd=4,pgrp=1,timeout=0", false, false),
            ("rw,fd=4,pgrp=-42", false, false),
            ("rw,fd=4,pgrp=99999999999", false, false),
            ("rw,xpgrp=42", false, false),
            ("", false, false),
        ] {
            assert_eq!(has_no_daemon(&with_options(options), |_| exists), is_gone, "{options}");
        }
        let asked = std::cell::Cell::new(0);
        has_no_daemon(&with_options("fd=3,pgrp=815"), |group| {
            asked.set(group);
            true
        });
        assert_eq!(asked.get(), 815);
    }

    /// Without unique ids, the mount table is read.
    #[test]
    fn mounts_are_found_by_their_ids() {
        let table = std::fs::read(OWN_MOUNT_TABLE).unwrap();
        let mount = mountinfo::parse(&table).unwrap().remove(0);
        let target = Target::for_mount(&mount);
        assert_eq!(trigger(&target.with_path(target.path.as_ref())), Some(mount));
        let none = Target { id: u32::MAX, ..target };
        assert_eq!(trigger(&none.with_path(none.path.as_ref())), None);
    }

    #[test]
    fn own_group_exists() {
        assert!(group_exists(nix::unistd::getpgrp().as_raw()));
        assert!(!group_exists(i32::MAX), "greater than any process id");
    }
}
