//! The calls that probe a file system. Any of them may never return, so they are made only in a prober. Nothing is kept
//! open, so a mount is not busy between probes.

use super::mount_identity::{PATH_FLAGS, PathTarget, Sync, compare, last_errno, statx};
use super::thread_identity::become_user;
use super::{autofs, data_probe};
use crate::{Call, Errno, FsKind, ProbeOutcome, Target, Usage};
use nix::NixPath;
use std::ffi::{CStr, OsStr, c_ulong};
use std::mem::MaybeUninit;
use std::path::Path;

pub use super::thread_identity::{is_current_user, may_search_every_directory};

/// There are data-path probes.
pub const READS_AND_WRITES: bool = true;

/// Probes the mount by the calls that its kind cannot answer from a cache, and then its data if that is wanted. `on_call`
/// is called right before each call, so that another thread can report where this one is stuck.
///
/// The outcome belongs to the mount only if the path leads to it, so after an error the mount id is checked again.
pub fn probe_mount(target: &Target<impl AsRef<OsStr>>, on_call: impl Fn(Call)) -> ProbeOutcome {
    let target = target.with_path(target.path.as_ref());
    let outcome = target.path.with_nix_path(|path| probe_path(path, &target, &on_call));
    // No mount point contains a NUL.
    outcome.unwrap_or(ProbeOutcome::Failed { call: Call::Identify, errno: Errno::EINVAL })
}

fn probe_path(path: &CStr, target: &Target<&OsStr>, on_call: &impl Fn(Call)) -> ProbeOutcome {
    match identify(path, target, on_call) {
        Ok(PathTarget::Same) => {}
        Ok(PathTarget::Other) => return ProbeOutcome::WrongMount,
        Err((Call::Identify, errno)) => return ProbeOutcome::Failed { call: Call::Identify, errno },
        Err((call, errno)) => return confirm_error(path, target, call, errno, on_call),
    }
    let result = match target.kind {
        FsKind::Autofs if autofs::is_abandoned(target) => Err((Call::Kill, Errno::ESRCH)),
        FsKind::Autofs => Ok(Usage::default()),
        FsKind::Network | FsKind::Smb | FsKind::Uncached | FsKind::Local => usage(path, on_call),
        FsKind::Fuse | FsKind::Cluster => attributes(path, on_call).and_then(|()| usage(path, on_call)),
    };
    let result = result.and_then(|usage| match &target.data {
        None => Ok(ProbeOutcome::Alive(usage)),
        Some(data) => data_probe::probe(path, target, data, on_call)
            .map(|past_cache| ProbeOutcome::DataAlive { usage, past_cache }),
    });
    result.unwrap_or_else(|(call, errno)| confirm_error(path, target, call, errno, on_call))
}

/// Requests the mount id in the way of this kind. A hang in [`Call::Identify`] is one of the path, in another call one
/// of the file system.
fn identify(
    path: &CStr,
    target: &Target<&OsStr>,
    on_call: &impl Fn(Call),
) -> Result<PathTarget, (Call, Errno)> {
    let with_call = |call, sync| compare(path, target, sync).map_err(|errno| (call, errno));
    match target.kind {
        FsKind::Network | FsKind::Fuse | FsKind::Cluster | FsKind::Autofs => {
            on_call(Call::Identify);
            with_call(Call::Identify, Sync::Never)
        }
        // Local mounts have no server, so one call requests the id and the attributes: probing thousands of them must be
        // cheap. A hang in this call says nothing about other mounts of the same file system.
        FsKind::Local => {
            on_call(Call::Identify);
            with_call(Call::Statx, Sync::Forced)
        }
        FsKind::Smb | FsKind::Uncached => {
            on_call(Call::Identify);
            if let Err(errno) = walk_to_parent(target) {
                return Err((Call::Identify, errno));
            }
            on_call(Call::Statx);
            let sync = if target.kind == FsKind::Smb { Sync::Never } else { Sync::Forced };
            with_call(Call::Statx, sync)
        }
    }
}

/// The walk to the mount's directory. It may hang because of another file system on the path, but not because of the
/// mount itself.
fn walk_to_parent(target: &Target<&OsStr>) -> Result<(), Errno> {
    let Some(parent) = Path::new(target.path).parent() else { return Ok(()) };
    let walk = |parent: &CStr| statx(parent, libc::AT_STATX_DONT_SYNC | PATH_FLAGS, libc::STATX_MNT_ID);
    match parent.with_nix_path(walk).unwrap_or(Err(Errno::EINVAL)) {
        // Then there is no such mount, as the next call says.
        Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The error belongs to the mount only if the path still leads to it.
fn confirm_error(
    path: &CStr,
    target: &Target<&OsStr>,
    call: Call,
    errno: Errno,
    on_call: &impl Fn(Call),
) -> ProbeOutcome {
    on_call(match target.kind {
        FsKind::Smb | FsKind::Uncached => Call::Statx,
        _ => Call::Identify,
    });
    match compare(path, target, Sync::Never) {
        Ok(PathTarget::Other) => ProbeOutcome::WrongMount,
        Ok(PathTarget::Same) | Err(_) => ProbeOutcome::Failed { call, errno },
    }
}

/// Whether this probe changes the identity of its thread.
pub fn needs_own_thread<P>(target: &Target<P>) -> bool {
    target.owner.is_some_and(|owner| !is_current_user(owner))
        || target.data.as_ref().is_some_and(|data| data.identity.is_some())
}

/// Like [`probe_mount`], but with the identity of the only user that the mount accepts, and then that of its data-path
/// probe. The calling thread keeps that identity: it must have been started for this probe and must end after it. If
/// the change to the owner is not permitted, the probe uses the current identity and the mount refuses it.
pub fn probe_in_own_thread(target: &Target<impl AsRef<OsStr>>, on_call: impl Fn(Call)) -> ProbeOutcome {
    if let Some((uid, gid)) = target.owner.filter(|&owner| !is_current_user(owner)) {
        let _ = become_user(uid, gid); // a failure shows as EACCES in the outcome
    }
    probe_mount(target, on_call)
}

/// Requests the attributes, which no cache may answer.
fn attributes(path: &CStr, on_call: &impl Fn(Call)) -> Result<(), (Call, Errno)> {
    on_call(Call::Statx);
    statx(path, libc::AT_STATX_FORCE_SYNC | PATH_FLAGS, libc::STATX_BASIC_STATS)
        .map(drop)
        .map_err(|errno| (Call::Statx, errno))
}

#[allow(clippy::unnecessary_cast)] // the widths of these fields differ between architectures
fn usage(path: &CStr, on_call: &impl Fn(Call)) -> Result<Usage, (Call, Errno)> {
    on_call(Call::Statfs);
    let mut found = MaybeUninit::<libc::statvfs64>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer has the type that the call fills.
    let result = unsafe { libc::statvfs64(path.as_ptr(), found.as_mut_ptr()) };
    if result != 0 {
        return Err((Call::Statfs, last_errno()));
    }
    // SAFETY: the call succeeded, so it has filled the buffer.
    let found = unsafe { found.assume_init() };
    Ok(Usage {
        block_size: found.f_frsize as u64,
        blocks: found.f_blocks as u64,
        free: found.f_bfree as u64,
        available: found.f_bavail as u64,
        files: found.f_files as u64,
        files_free: found.f_ffree as u64,
        read_only: found.f_flag as c_ulong & libc::ST_RDONLY != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MountKey, User};
    use std::cell::RefCell;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    fn target(path: &str, kind: FsKind) -> Target {
        let path = PathBuf::from(path);
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        let id =
            statx(&name, libc::AT_STATX_DONT_SYNC, libc::STATX_MNT_ID).map_or(0, |found| found.stx_mnt_id);
        Target {
            path: path.into(),
            kind,
            key: MountKey(id),
            id: u32::try_from(id).unwrap(),
            owner: None,
            user: User::System,
            data: None,
        }
    }

    fn calls(target: &Target) -> (ProbeOutcome, Vec<Call>) {
        let seen = RefCell::new(Vec::new());
        (probe_mount(target, |call| seen.borrow_mut().push(call)), seen.into_inner())
    }

    #[test]
    fn each_kind_is_probed_by_the_calls_that_no_cache_answers() {
        for (kind, expected) in [
            (FsKind::Local, &[Call::Identify, Call::Statfs][..]),
            (FsKind::Fuse, &[Call::Identify, Call::Statx, Call::Statfs]),
            (FsKind::Network, &[Call::Identify, Call::Statfs]),
            (FsKind::Cluster, &[Call::Identify, Call::Statx, Call::Statfs]),
            (FsKind::Smb, &[Call::Identify, Call::Statx, Call::Statfs]),
            (FsKind::Uncached, &[Call::Identify, Call::Statx, Call::Statfs]),
            (FsKind::Autofs, &[Call::Identify]),
        ] {
            let (outcome, made) = calls(&target("/proc", kind));
            assert!(matches!(outcome, ProbeOutcome::Alive(_)), "{kind:?}: {outcome:?}");
            assert_eq!(made, expected, "{kind:?}");
        }
    }

    #[test]
    fn usage_of_the_root_is_plausible() {
        let ProbeOutcome::Alive(usage) = probe_mount(&target("/", FsKind::Local), |_| {}) else {
            panic!("/ does not respond")
        };
        assert!(
            usage.block_size > 0 && usage.blocks >= usage.free && usage.free >= usage.available,
            "{usage:?}"
        );
    }

    #[test]
    fn path_to_another_mount_or_to_none_is_the_wrong_mount() {
        let root = target("/", FsKind::Local);
        for (path, what) in
            [("/proc", "another mount"), ("/no/such/path", "nothing"), ("/proc/version/x", "a file")]
        {
            let wrong = Target { path: path.into(), ..root.clone() };
            assert_eq!(probe_mount(&wrong, |_| {}), ProbeOutcome::WrongMount, "{what}");
        }
    }

    #[test]
    fn unique_id_is_compared_if_the_kernel_has_one() {
        let name = CString::new("/").unwrap();
        let found = statx(&name, libc::AT_STATX_DONT_SYNC, libc::STATX_MNT_ID_UNIQUE).unwrap();
        if found.stx_mask & libc::STATX_MNT_ID_UNIQUE == 0 {
            println!("skipped: this kernel has no unique mount ids");
            return;
        }
        let right = Target { key: MountKey(found.stx_mnt_id), id: 0, ..target("/", FsKind::Local) };
        assert!(matches!(probe_mount(&right, |_| {}), ProbeOutcome::Alive(_)));
        let wrong = Target { key: MountKey(found.stx_mnt_id + 1), ..right };
        assert_eq!(probe_mount(&wrong, |_| {}), ProbeOutcome::WrongMount);
    }

    #[test]
    fn invalid_path_is_an_error_of_the_first_call() {
        let long =
            Target { path: format!("/{}", "x/".repeat(3000)).as_str().into(), ..target("/", FsKind::Local) };
        let failed = |errno| ProbeOutcome::Failed { call: Call::Identify, errno };
        let long = Target { kind: FsKind::Fuse, ..long };
        assert_eq!(probe_mount(&long, |_| {}), failed(Errno::ENAMETOOLONG));
        let nul = Target { path: "/\0".into(), ..long };
        assert_eq!(probe_mount(&nul, |_| {}), failed(Errno::EINVAL));
    }

    #[test]
    fn probe_as_owner_changes_only_the_calling_thread() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: only root can change its identity");
            return;
        }
        let before = nix::unistd::getresuid().unwrap();
        let (outcome, inside) = std::thread::spawn(|| {
            let owned = Target { owner: Some((1000, 1000)), ..target("/", FsKind::Local) };
            let outcome = probe_in_own_thread(&owned, |_| {});
            (outcome, is_current_user((1000, 1000)))
        })
        .join()
        .unwrap();
        assert!(matches!(outcome, ProbeOutcome::Alive(_)), "{outcome:?}");
        assert!(inside, "the thread did not become the owner");
        assert_eq!(nix::unistd::getresuid().unwrap(), before);
        assert!(!is_current_user((1000, 1000)));
    }
}
