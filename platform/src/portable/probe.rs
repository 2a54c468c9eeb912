//! The calls that probe a file system: `lstat` and `statfs`. Any of them may never return, so they are made only in a
//! prober. Nothing is kept open.

use crate::{Call, Errno, FsKind, MountKey, ProbeOutcome, Target, Usage};
use nix::NixPath;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;

/// The system calls, which tests replace.
pub(crate) trait Calls {
    /// `lstat`: attributes of the mount's root.
    fn lstat(&self, path: &CStr) -> Result<(), Errno>;
    /// `statfs`, or `statvfs` where there is no other.
    fn statfs(&self, path: &CStr) -> Result<FsStats, Errno>;
}

/// The result of `statfs`.
pub(crate) struct FsStats {
    pub(crate) usage: Usage,
    /// The mount, if the system returns it.
    pub(crate) mount: Option<MountKey>,
}

/// Probes the mount. `on_call` is called right before each call, so that another thread can report where this one is
/// stuck.
///
/// As on Linux, network file systems are probed by `statfs` only, because attributes may come from a cache. Automount
/// triggers are not probed, because these calls would trigger them.
pub(crate) fn probe_mount(
    calls: &impl Calls,
    target: &Target<impl AsRef<OsStr>>,
    on_call: impl Fn(Call),
) -> ProbeOutcome {
    let target = target.with_path(target.path.as_ref());
    let outcome = target.path.with_nix_path(|path| probe_path(calls, path, &target, on_call));
    // No mount point contains a NUL.
    outcome.unwrap_or(ProbeOutcome::Failed { call: Call::Identify, errno: Errno::EINVAL })
}

fn probe_path(
    calls: &impl Calls,
    path: &CStr,
    target: &Target<&OsStr>,
    on_call: impl Fn(Call),
) -> ProbeOutcome {
    if target.kind == FsKind::Autofs {
        return ProbeOutcome::Alive(Usage::default());
    }
    if !target.kind.is_network() {
        on_call(Call::Statx);
        if let Err(errno) = calls.lstat(path) {
            return failed(Call::Statx, errno);
        }
    }
    on_call(Call::Statfs);
    match calls.statfs(path) {
        Ok(stats) if stats.mount.is_none_or(|mount| mount == target.key) => ProbeOutcome::Alive(stats.usage),
        Ok(_) => ProbeOutcome::WrongMount,
        Err(errno) => failed(Call::Statfs, errno),
    }
}

/// A path that does not exist means that the mount is gone or hidden by another.
fn failed(call: Call, errno: Errno) -> ProbeOutcome {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => ProbeOutcome::WrongMount,
        errno => ProbeOutcome::Failed { call, errno },
    }
}

/// Whether no directory's permissions can keep this process from a mount.
#[must_use]
pub fn may_search_every_directory() -> bool {
    crate::process::is_root()
}

/// There are no data-path probes.
pub const READS_AND_WRITES: bool = false;

/// Whether this probe changes the identity of its thread.
pub fn needs_own_thread<P>(target: &Target<P>) -> bool {
    let is_current =
        |(uid, gid)| nix::unistd::geteuid().as_raw() == uid && nix::unistd::getegid().as_raw() == gid;
    target.owner.is_some_and(|owner| !is_current(owner))
}

pub(crate) fn lstat(path: &CStr) -> Result<(), Errno> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer has the type that the call fills.
    match unsafe { libc::lstat(path.as_ptr(), found.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(Errno(nix::errno::Errno::last_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;
    use std::cell::RefCell;

    /// Returns these results.
    struct TestCalls {
        lstat: Result<(), Errno>,
        statfs: Result<Option<u64>, Errno>,
    }

    impl Calls for TestCalls {
        fn lstat(&self, _: &CStr) -> Result<(), Errno> {
            self.lstat
        }
        fn statfs(&self, _: &CStr) -> Result<FsStats, Errno> {
            let usage = Usage { blocks: 7, ..Usage::default() };
            self.statfs.map(|mount| FsStats { usage, mount: mount.map(MountKey) })
        }
    }

    fn target(kind: FsKind) -> Target {
        Target {
            path: "/mnt".into(),
            kind,
            key: MountKey(5),
            id: 5,
            owner: None,
            user: User::System,
            data: None,
        }
    }

    fn probe(calls: &TestCalls, kind: FsKind) -> (ProbeOutcome, Vec<Call>) {
        let seen = RefCell::new(Vec::new());
        (probe_mount(calls, &target(kind), |call| seen.borrow_mut().push(call)), seen.into_inner())
    }

    #[test]
    fn each_kind_is_probed_by_the_calls_that_no_cache_answers() {
        let calls = TestCalls { lstat: Ok(()), statfs: Ok(Some(5)) };
        for (kind, expected) in [
            (FsKind::Local, &[Call::Statx, Call::Statfs][..]),
            (FsKind::Fuse, &[Call::Statx, Call::Statfs]),
            (FsKind::Network, &[Call::Statfs]),
            (FsKind::Autofs, &[]),
        ] {
            let (outcome, made) = probe(&calls, kind);
            assert!(matches!(outcome, ProbeOutcome::Alive(_)), "{kind:?}: {outcome:?}");
            assert_eq!(made, expected, "{kind:?}");
        }
    }

    #[test]
    fn response_of_another_mount_is_the_wrong_mount() {
        let usage = Usage { blocks: 7, ..Usage::default() };
        for (mount, expected) in [
            (Some(5), ProbeOutcome::Alive(usage)),
            (Some(6), ProbeOutcome::WrongMount),
            (None, ProbeOutcome::Alive(usage)), // the system does not return the mount
        ] {
            let calls = TestCalls { lstat: Ok(()), statfs: Ok(mount) };
            assert_eq!(probe(&calls, FsKind::Local).0, expected, "{mount:?}");
        }
    }

    #[test]
    fn error_names_its_call_and_missing_path_is_the_wrong_mount() {
        let failed = |call, errno| ProbeOutcome::Failed { call, errno };
        for (lstat, statfs, expected) in [
            (Err(Errno::ESTALE), Ok(None), failed(Call::Statx, Errno::ESTALE)),
            (Ok(()), Err(Errno::EIO), failed(Call::Statfs, Errno::EIO)),
            (Err(Errno::ENOENT), Ok(None), ProbeOutcome::WrongMount),
            (Ok(()), Err(Errno::ENOTDIR), ProbeOutcome::WrongMount),
        ] {
            assert_eq!(probe(&TestCalls { lstat, statfs }, FsKind::Fuse).0, expected);
        }
        let nul = Target { path: "/\0".into(), ..target(FsKind::Local) };
        let calls = TestCalls { lstat: Ok(()), statfs: Ok(None) };
        assert_eq!(probe_mount(&calls, &nul, |_| {}), failed(Call::Identify, Errno::EINVAL));
    }
}
