//! What a step has done, decided from the mount table before and after it.

use super::mounting::topmost;
use super::wire::{CallError, Deed, NotMade, Response, Said};
use platform::{Errno, Mount, MountKey, MountTable};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StepOutcome {
    /// What the step is for is the case.
    Done,
    /// The kernel cannot move the new mount beneath the dead one: it moves in as soon as a later step has removed that one.
    Deferred,
    /// No call was made.
    NotMade(NotMade),
    /// An unmount that left the mount where it was.
    StillMounted {
        error: Option<CallError>,
        /// The pending requests were failed all the same: harm was done.
        has_failed_requests: bool,
    },
    /// These mounts were hit instead of, or besides, the one that was meant. Nothing more must be done on this machine.
    WrongHit(Vec<MountKey>),
    /// The dead mount is gone, and the new one is not at its place: others can write into the directory underneath.
    PathIsOpen(Option<CallError>),
    NotVerified(NotVerified),
    /// `None` if the call did not return.
    Failed(Option<CallError>),
    /// A child that may still act exists for this server.
    Stranded,
}

impl StepOutcome {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            StepOutcome::Done => "done",
            StepOutcome::Deferred => "deferred",
            StepOutcome::NotMade(_) => "not_made",
            StepOutcome::StillMounted { has_failed_requests: false, .. } => "still_mounted",
            StepOutcome::StillMounted { has_failed_requests: true, .. } => "forced_still_mounted",
            StepOutcome::WrongHit(_) => "wrong_hit",
            StepOutcome::PathIsOpen(_) => "path_is_open",
            StepOutcome::NotVerified(_) => "not_verified",
            StepOutcome::Failed(_) => "failed",
            StepOutcome::Stranded => "stranded",
        }
    }

    /// With which the call failed.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            StepOutcome::StillMounted { error, .. }
            | StepOutcome::PathIsOpen(error)
            | StepOutcome::Failed(error) => error.as_ref().and_then(CallError::errno),
            _ => None,
        }
    }
}

/// Why a mount does not count as remedied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotVerified {
    NothingMounted,
    /// The dead mount is still there.
    SameMount,
    OtherSource(OsString),
    OtherType(OsString),
    /// It is a new mount of the dead superblock, or that cannot be excluded.
    SameSuperblock,
    /// Some probe failed, or did not return.
    NoResponse(Vec<Response>),
}

/// What is known about a step that has ended.
pub(super) struct Ended<'a> {
    pub(super) deed: &'a Deed,
    /// Moves to the path when the dead mount has left it.
    pub(super) move_in: Option<MountKey>,
    pub(super) dead: &'a Mount,
    /// Where a new mount is made before it moves in.
    pub(super) place: &'a Path,
    /// Mounts below the dead one that may go with it.
    pub(super) below: &'a [MountKey],
    pub(super) before: &'a MountTable,
    pub(super) after: &'a MountTable,
    /// `None` if the child ended before it could say something.
    pub(super) said: Option<&'a Said>,
}

impl Ended<'_> {
    pub(super) fn judge(&self) -> StepOutcome {
        if let Some(why) = self.said.and_then(|said| said.not_made.clone()) {
            let is_against_it = self.deed.removes_mount() || *self.deed == Deed::ShutDown;
            // Another process, or an earlier step, has removed it.
            return if is_against_it && self.after.get(self.dead.key).is_none() {
                StepOutcome::Done
            } else {
                StepOutcome::NotMade(why)
            };
        }
        match self.deed {
            Deed::Unmount | Deed::Force | Deed::Detach => match (self.judge_unmount(), self.move_in) {
                (StepOutcome::Done, Some(new)) if !self.is_at_path(new) => {
                    StepOutcome::PathIsOpen(self.error())
                }
                (outcome, _) => outcome,
            },
            Deed::MoveBeneath { .. } if self.error() == Some(CallError::Errno(Errno::EINVAL.0)) => {
                StepOutcome::Deferred
            }
            Deed::MoveBeneath { new } => self.done_if(self.is_beneath(*new)),
            Deed::MoveIn { new } if self.is_at_path(MountKey(*new)) => StepOutcome::Done,
            Deed::MoveIn { .. } => StepOutcome::PathIsOpen(self.error()),
            Deed::Placeholder => {
                let there = topmost(self.after, self.place);
                self.done_if(there.is_some_and(|mount| *mount.fstype == *"tmpfs"))
            }
            Deed::MountPrivately(_) => match topmost(self.after, self.place) {
                Some(new) => self.judge_new(&new),
                None => self.failed(),
            },
            Deed::MountAgain(_) => {
                let there = topmost(self.after, &self.dead.mountpoint);
                self.done_if(there.is_some_and(|mount| mount.key != self.dead.key))
            }
            // The table does not show these.
            Deed::Resume { .. } | Deed::Abort | Deed::ShutDown | Deed::Clear => {
                self.done_if(self.said.is_some_and(|said| said.error.is_none()))
            }
            Deed::Probe { .. } => self.judge_responses(),
        }
    }

    fn error(&self) -> Option<CallError> {
        self.said.and_then(|said| said.error.clone())
    }

    fn failed(&self) -> StepOutcome {
        StepOutcome::Failed(self.error())
    }

    fn done_if(&self, is_done: bool) -> StepOutcome {
        if is_done { StepOutcome::Done } else { self.failed() }
    }

    fn judge_unmount(&self) -> StepOutcome {
        let is_gone = self.after.get(self.dead.key).is_none();
        let has_succeeded = self.said.is_some_and(|said| said.error.is_none());
        let mut hit = self.lost();
        let takes_subtree = *self.deed == Deed::Detach;
        if has_succeeded && !is_gone {
            hit.extend(self.came_and_went());
        } else if has_succeeded && !takes_subtree {
            // Another process may have removed the dead mount first, and what replaced it was hit.
            hit.extend(self.said.into_iter().flat_map(|said| &said.detached_after).map(|key| MountKey(*key)));
        }
        if !hit.is_empty() || (has_succeeded && !is_gone) {
            return StepOutcome::WrongHit(hit);
        }
        if is_gone {
            return StepOutcome::Done;
        }
        let has_failed_requests = matches!(self.deed, Deed::Force);
        StepOutcome::StillMounted { error: self.error(), has_failed_requests }
    }

    /// Mounts that the call can have hit, that are gone and should not be. The same file system in other places goes with
    /// it by propagation. Where the kernel tells, only what left during the call counts.
    fn lost(&self) -> Vec<MountKey> {
        let path: &Path = &self.dead.mountpoint;
        let detached = self.said.and_then(|said| said.detached.as_deref());
        let is_in_reach = |mount: &Mount| match self.deed {
            Deed::Detach => mount.mountpoint.starts_with(path),
            _ => mount.mountpoint == path,
        };
        let is_lost = |mount: &&Arc<Mount>| {
            mount.key != self.dead.key
                && is_in_reach(mount)
                && detached.is_none_or(|detached| detached.contains(&mount.key.0))
                && mount.device_number != self.dead.device_number
                && !self.below.contains(&mount.key)
                && self.after.get(mount.key).is_none()
        };
        self.before.iter().filter(is_lost).map(|mount| mount.key).collect()
    }

    /// Mounts that were made after the table was read, and left it during the unmount.
    pub(super) fn came_and_went(&self) -> Vec<MountKey> {
        let detached = self.said.and_then(|said| said.detached.as_deref()).unwrap_or_default();
        let is_unknown = |key: &MountKey| *key != self.dead.key && self.before.get(*key).is_none();
        detached.iter().map(|key| MountKey(*key)).filter(is_unknown).collect()
    }

    fn is_at_path(&self, new: MountKey) -> bool {
        topmost(self.after, &self.dead.mountpoint).is_some_and(|mount| mount.key == new)
    }

    /// The dead mount is on the new one, which has its former parent.
    fn is_beneath(&self, new: u64) -> bool {
        let (Some(new), Some(dead)) = (self.after.get(MountKey(new)), self.after.get(self.dead.key)) else {
            return false;
        };
        dead.parent == new.id && new.mountpoint == self.dead.mountpoint
    }

    fn judge_new(&self, new: &Mount) -> StepOutcome {
        if self.said.is_none_or(|said| said.error.is_some()) {
            return self.failed();
        }
        match differs(self.dead, new, false) {
            Some(why) => StepOutcome::NotVerified(why),
            None => self.judge_responses(),
        }
    }

    fn judge_responses(&self) -> StepOutcome {
        let responses = self.said.map(|said| said.responses.clone()).unwrap_or_default();
        if !responses.is_empty() && responses.iter().all(|response| *response == Response::Alive) {
            StepOutcome::Done
        } else {
            StepOutcome::NotVerified(NotVerified::NoResponse(responses))
        }
    }
}

/// Why the new mount is not the dead one anew, apart from its responses.
pub(super) fn differs(dead: &Mount, new: &Mount, old_is_gone: bool) -> Option<NotVerified> {
    if new.key == dead.key {
        Some(NotVerified::SameMount)
    } else if new.fstype != dead.fstype {
        Some(NotVerified::OtherType(new.fstype.to_os_string()))
    } else if new.device != dead.device || new.root != dead.root {
        Some(NotVerified::OtherSource(new.device.to_os_string()))
    } else if new.device_number == dead.device_number && !old_is_gone {
        Some(NotVerified::SameSuperblock)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use platform::DeviceNumber;

    fn on_device(n: u64, path: &str, minor: u32) -> Arc<Mount> {
        Arc::new(Mount { device_number: DeviceNumber { major: 0, minor }, ..mount(n, path) })
    }

    fn table(mounts: &[&Arc<Mount>]) -> MountTable {
        MountTable::new(mounts.iter().map(|mount| Arc::clone(mount)).collect())
    }

    struct Case {
        deed: Deed,
        move_in: Option<MountKey>,
        before: MountTable,
        after: MountTable,
        said: Option<Said>,
    }

    impl Case {
        fn judge(&self, dead: &Mount) -> StepOutcome {
            let (place, below) = (Path::new("/run/place/a"), &[][..]);
            let Case { deed, move_in, before, after, said } = self;
            Ended { deed, move_in: *move_in, dead, place, below, before, after, said: said.as_ref() }.judge()
        }
    }

    #[test]
    fn outcome_of_an_unmount_is_read_from_the_table() {
        let (dead, other) = (on_device(7, "/a", 50), on_device(8, "/b", 51));
        let before = table(&[&dead, &other]);
        let case = |deed: Deed, after: &[&Arc<Mount>], said: Option<Said>| {
            Case { deed, move_in: None, before: before.clone(), after: table(after), said }.judge(&dead)
        };
        let failed = |errno: Errno| Some(Said { error: Some(CallError::Errno(errno.0)), ..Said::default() });
        let error = Some(CallError::Errno(Errno::EBUSY.0));
        // The child was killed, or the call failed after it had detached the mount: the table decides.
        for said in [None, failed(Errno::EIO), Some(Said::default())] {
            assert_eq!(case(Deed::Detach, &[&other], said), StepOutcome::Done);
        }
        let still = |error, has_failed_requests| StepOutcome::StillMounted { error, has_failed_requests };
        let both = [&dead, &other];
        assert_eq!(case(Deed::Unmount, &both, failed(Errno::EBUSY)), still(error.clone(), false));
        assert_eq!(case(Deed::Force, &both, failed(Errno::EBUSY)), still(error, true));
        assert_eq!(case(Deed::Force, &both, None), still(None, true), "the child may have made the call");
        // Something else went at the same time, elsewhere.
        assert_eq!(case(Deed::Detach, &[], Some(Said::default())), StepOutcome::Done);
    }

    #[test]
    fn unmount_of_another_mount_is_a_wrong_hit() {
        let (dead, nested) = (on_device(7, "/a", 50), on_device(8, "/a/b", 51));
        let said = |detached: &[u64]| Some(Said { detached: Some(detached.to_vec()), ..Said::default() });
        let hit = |keys: &[u64]| StepOutcome::WrongHit(keys.iter().map(|key| MountKey(*key)).collect());
        let judge = |deed: Deed, before: &[&Arc<Mount>], after: &[&Arc<Mount>], said| {
            Case { deed, move_in: None, before: table(before), after: table(after), said }.judge(&dead)
        };
        assert_eq!(judge(Deed::Detach, &[&dead, &nested], &[], said(&[7, 8])), hit(&[8]), "not permitted");
        let unseen = judge(Deed::Detach, &[&dead, &nested], &[], Some(Said::default()));
        assert_eq!(unseen, hit(&[8]), "the kernel tells nothing");
        let earlier = judge(Deed::Detach, &[&dead, &nested], &[], said(&[7]));
        assert_eq!(earlier, StepOutcome::Done, "another process unmounted it before");
        let plain = judge(Deed::Unmount, &[&dead, &nested], &[], Some(Said::default()));
        assert_eq!(plain, StepOutcome::Done, "a plain unmount takes nothing below");
        assert_eq!(judge(Deed::Detach, &[&dead], &[&dead], said(&[9])), hit(&[9]), "stacked after the check");
        assert_eq!(judge(Deed::Unmount, &[&dead], &[&dead], said(&[])), hit(&[]), "it hit something");
        let came_before = judge(Deed::Unmount, &[&dead], &[], said(&[9, 7]));
        assert_eq!(came_before, StepOutcome::Done, "elsewhere: the dead mount was still at the path");
        let replaced = Said { detached_after: vec![9], ..said(&[7, 9]).unwrap() };
        assert_eq!(judge(Deed::Unmount, &[&dead], &[], Some(replaced)), hit(&[9]), "replaced, then hit");
        assert_eq!(judge(Deed::Unmount, &[&dead], &[], said(&[7])), StepOutcome::Done);
        let not_made = Some(Said { not_made: Some(NotMade::Replaced), ..Said::default() });
        let outcome = judge(Deed::Unmount, &[&dead, &nested], &[&dead], not_made);
        assert_eq!(outcome, StepOutcome::NotMade(NotMade::Replaced), "another process unmounted it");
    }

    #[test]
    fn replacement_without_the_new_mount_leaves_the_path_open() {
        let (dead, new) = (on_device(7, "/a", 50), on_device(9, "/a", 52));
        let case = |after: &[&Arc<Mount>]| {
            let (move_in, before) = (Some(MountKey(9)), table(&[&dead]));
            Case { deed: Deed::Unmount, move_in, before, after: table(after), said: Some(Said::default()) }
                .judge(&dead)
        };
        assert_eq!(case(&[&new]), StepOutcome::Done);
        assert_eq!(case(&[]), StepOutcome::PathIsOpen(None));
    }

    #[test]
    fn new_mount_must_be_the_same_file_system_with_another_superblock() {
        let dead = on_device(7, "/a", 50);
        let new = |n, minor, change: fn(&mut Mount)| {
            let mut mount = (*on_device(n, "/a", minor)).clone();
            change(&mut mount);
            mount
        };
        assert_eq!(differs(&dead, &new(8, 51, |_| ()), false), None);
        assert_eq!(differs(&dead, &new(7, 50, |_| ()), true), Some(NotVerified::SameMount));
        assert_eq!(differs(&dead, &new(8, 50, |_| ()), false), Some(NotVerified::SameSuperblock));
        assert_eq!(differs(&dead, &new(8, 50, |_| ()), true), None, "the number is used again");
        let other = new(8, 51, |mount| mount.device = "other:/x".into());
        assert_eq!(differs(&dead, &other, false), Some(NotVerified::OtherSource("other:/x".into())));
        let other = new(8, 51, |mount| mount.fstype = "ext9".into());
        assert_eq!(differs(&dead, &other, false), Some(NotVerified::OtherType("ext9".into())));
        let other = new(8, 51, |mount| mount.root = "/sub".into());
        assert!(matches!(differs(&dead, &other, false), Some(NotVerified::OtherSource(_))));
    }

    #[test]
    fn every_probe_must_have_responded() {
        let dead = on_device(7, "/a", 50);
        let case = |said| {
            let empty = || table(&[]);
            Case { deed: Deed::Probe { mount: 9 }, move_in: None, before: empty(), after: empty(), said }
                .judge(&dead)
        };
        let said = |responses: &[Response]| Some(Said { responses: responses.to_vec(), ..Said::default() });
        assert_eq!(case(said(&[Response::Alive, Response::Alive])), StepOutcome::Done);
        for said in [None, said(&[]), said(&[Response::Alive, Response::Failed(5)])] {
            assert!(matches!(case(said), StepOutcome::NotVerified(NotVerified::NoResponse(_))));
        }
    }
}
