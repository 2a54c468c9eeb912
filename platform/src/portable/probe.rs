//! The calls that ask a file system for a sign of life, by `lstat` and `statfs`. Any of them may never return: they
//! are made in the prober process and nowhere else. Nothing is held open.

use crate::{Call, Errno, FsKind, MountKey, ProbeOutcome, Target, Usage};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

/// The two calls. What is decided on their answers is tested without them.
pub(crate) trait Calls {
    /// `lstat`: attributes of the mount's root.
    fn lstat(&self, path: &CStr) -> Result<(), Errno>;
    /// `statfs`, or `statvfs` where that is all there is.
    fn statfs(&self, path: &CStr) -> Result<Answer, Errno>;
}

/// What `statfs` says.
pub(crate) struct Answer {
    pub(crate) usage: Usage,
    /// The mount that answered, where it says which it is.
    pub(crate) from: Option<MountKey>,
}

/// Asks the mount for a sign of life. `on_call` is told of each call right before it is made, so that another thread
/// can say where this one is stuck.
///
/// As on Linux, `statfs` alone is asked of network file systems: attributes may come from a cache. A trigger of
/// automounts is not asked at all: with these calls that would trigger it.
pub(crate) fn probe_mount(calls: &impl Calls, target: &Target, on_call: impl Fn(Call)) -> ProbeOutcome {
    let Ok(path) = CString::new(target.path.as_os_str().as_bytes()) else {
        return ProbeOutcome::Failed { call: Call::Identify, errno: Errno::EINVAL }; // no mount has a NUL in its path
    };
    if target.kind == FsKind::Autofs {
        return ProbeOutcome::Alive(Usage::default());
    }
    if target.kind != FsKind::Network {
        on_call(Call::Statx);
        if let Err(errno) = calls.lstat(&path) {
            return failed(Call::Statx, errno);
        }
    }
    on_call(Call::Statfs);
    match calls.statfs(&path) {
        Ok(answer) if answer.from.is_none_or(|from| from == target.key) => ProbeOutcome::Alive(answer.usage),
        Ok(_) => ProbeOutcome::WrongMount,
        Err(errno) => failed(Call::Statfs, errno),
    }
}

/// A path that leads nowhere says nothing about the mount: it is gone, or under another.
fn failed(call: Call, errno: Errno) -> ProbeOutcome {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => ProbeOutcome::WrongMount,
        errno => ProbeOutcome::Failed { call, errno },
    }
}

/// May this process ask as `owner` without becoming somebody else?
#[must_use]
pub fn is_current_user((uid, gid): (u32, u32)) -> bool {
    nix::unistd::geteuid().as_raw() == uid && nix::unistd::getegid().as_raw() == gid
}

pub(crate) fn lstat(path: &CStr) -> Result<(), Errno> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer is of the type that the call fills.
    match unsafe { libc::lstat(path.as_ptr(), found.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(Errno(nix::errno::Errno::last_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Answers as it was told to.
    struct Told {
        lstat: Result<(), Errno>,
        statfs: Result<Option<u64>, Errno>,
    }

    impl Calls for Told {
        fn lstat(&self, _: &CStr) -> Result<(), Errno> {
            self.lstat
        }
        fn statfs(&self, _: &CStr) -> Result<Answer, Errno> {
            let usage = Usage { blocks: 7, ..Usage::default() };
            self.statfs.map(|from| Answer { usage, from: from.map(MountKey) })
        }
    }

    fn target(kind: FsKind) -> Target {
        Target { path: "/mnt".into(), kind, key: MountKey(5), id: 5, owner: None }
    }

    fn asked(told: &Told, kind: FsKind) -> (ProbeOutcome, Vec<Call>) {
        let seen = RefCell::new(Vec::new());
        (probe_mount(told, &target(kind), |call| seen.borrow_mut().push(call)), seen.into_inner())
    }

    #[test]
    fn each_kind_is_asked_by_the_calls_that_can_be_trusted() {
        let told = Told { lstat: Ok(()), statfs: Ok(Some(5)) };
        for (kind, calls) in [
            (FsKind::Local, &[Call::Statx, Call::Statfs][..]),
            (FsKind::Fuse, &[Call::Statx, Call::Statfs]),
            (FsKind::Network, &[Call::Statfs]),
            (FsKind::Autofs, &[]),
        ] {
            let (outcome, made) = asked(&told, kind);
            assert!(matches!(outcome, ProbeOutcome::Alive(_)), "{kind:?}: {outcome:?}");
            assert_eq!(made, calls, "{kind:?}");
        }
    }

    #[test]
    fn a_verdict_belongs_to_the_mount_that_answered() {
        let usage = Usage { blocks: 7, ..Usage::default() };
        for (from, expected) in [
            (Some(5), ProbeOutcome::Alive(usage)),
            (Some(6), ProbeOutcome::WrongMount),
            (None, ProbeOutcome::Alive(usage)), // this system does not say which it was
        ] {
            let told = Told { lstat: Ok(()), statfs: Ok(from) };
            assert_eq!(asked(&told, FsKind::Local).0, expected, "{from:?}");
        }
    }

    #[test]
    fn errors_name_their_call_and_a_path_to_nowhere_accuses_nobody() {
        let dead = |call, errno| ProbeOutcome::Failed { call, errno };
        for (lstat, statfs, expected) in [
            (Err(Errno::ESTALE), Ok(None), dead(Call::Statx, Errno::ESTALE)),
            (Ok(()), Err(Errno::EIO), dead(Call::Statfs, Errno::EIO)),
            (Err(Errno::ENOENT), Ok(None), ProbeOutcome::WrongMount),
            (Ok(()), Err(Errno::ENOTDIR), ProbeOutcome::WrongMount),
        ] {
            assert_eq!(asked(&Told { lstat, statfs }, FsKind::Fuse).0, expected);
        }
        let nul = Target { path: "/\0".into(), ..target(FsKind::Local) };
        let told = Told { lstat: Ok(()), statfs: Ok(None) };
        assert_eq!(probe_mount(&told, &nul, |_| {}), dead(Call::Identify, Errno::EINVAL));
    }
}
