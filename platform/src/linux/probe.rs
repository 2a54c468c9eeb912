//! The calls that ask a file system for a sign of life. Any of them may never return: they are made in the prober
//! process and nowhere else. Nothing is held open: between two probes a mount is as free as if nobody watched it.

use crate::{Call, Errno, FsKind, ProbeOutcome, Target, Usage};
use std::ffi::{CStr, CString, c_int, c_uint, c_ulong};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

/// Unique mount ids (`STATX_MNT_ID_UNIQUE`, Linux 6.8) start above this; the reusable ids of the table never reach it.
const FIRST_UNIQUE_ID: u64 = 1 << 31;

/// The mount itself and not what an automount or a symbolic link would make of the path.
const AS_MOUNTED: c_int = libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW;

/// Asks the mount for a sign of life, by the calls that its kind cannot answer from a cache. `on_call` is told of
/// each call right before it is made, so that another thread can say where this one is stuck.
///
/// A verdict belongs to the mount only while its path reaches it; so an error, too, is believed only after a second
/// look at the mount id (which is never sent to the storage).
pub fn probe_mount(target: &Target, on_call: impl Fn(Call)) -> ProbeOutcome {
    let Ok(path) = CString::new(target.path.as_os_str().as_bytes()) else {
        return ProbeOutcome::Failed { call: Call::Identify, errno: Errno::EINVAL }; // no mount has a NUL in its path
    };
    on_call(Call::Identify);
    // Where no server and no daemon answers, the id and the attributes are one question: a run over thousands of
    // local mounts is dear enough. A hang in it then says nothing about other mounts of the same file system.
    let both = target.kind == FsKind::Local;
    match identify(&path, target, both) {
        Ok(PathTarget::Same) => {}
        Ok(PathTarget::Other) => return ProbeOutcome::WrongMount,
        Err(errno) if both => return confirm_error(&path, target, Call::Statx, errno, &on_call),
        Err(errno) => return ProbeOutcome::Failed { call: Call::Identify, errno },
    }
    let answer = match target.kind {
        FsKind::Autofs => Ok(Usage::default()),
        FsKind::Network | FsKind::Local => usage(&path, &on_call),
        FsKind::Fuse => attributes(&path, &on_call).and_then(|()| usage(&path, &on_call)),
    };
    answer
        .map_or_else(|(call, errno)| confirm_error(&path, target, call, errno, &on_call), ProbeOutcome::Alive)
}

/// An error is the mount's only if the path still reaches it.
fn confirm_error(
    path: &CStr,
    target: &Target,
    call: Call,
    errno: Errno,
    on_call: &impl Fn(Call),
) -> ProbeOutcome {
    on_call(Call::Identify);
    match identify(path, target, false) {
        Ok(PathTarget::Other) => ProbeOutcome::WrongMount,
        Ok(PathTarget::Same) | Err(_) => ProbeOutcome::Failed { call, errno },
    }
}

/// May this process ask as `owner` without becoming somebody else? FUSE compares all three ids of both kinds.
#[must_use]
pub fn is_current_user((uid, gid): (u32, u32)) -> bool {
    let (Ok(users), Ok(groups)) = (nix::unistd::getresuid(), nix::unistd::getresgid()) else {
        return false;
    };
    [users.real, users.effective, users.saved].iter().all(|id| id.as_raw() == uid)
        && [groups.real, groups.effective, groups.saved].iter().all(|id| id.as_raw() == gid)
}

/// As [`probe_mount`], but as the one user whom the mount answers. The calling thread keeps that user's identity: it must
/// have been started for this probe and must end after it. Where the change is not permitted, the question is asked
/// as we are, and the refusal is the answer.
pub fn probe_as_owner(target: &Target, (uid, gid): (u32, u32), on_call: impl Fn(Call)) -> ProbeOutcome {
    // Both this and what follows are best effort: what was not permitted shows as EACCES in the answer.
    let _ = become_owner(uid, gid);
    probe_mount(target, on_call)
}

enum PathTarget {
    Same,
    Other,
}

/// Does the path reach the mount that is meant? Never sent to the storage, unless its attributes are asked for too.
/// `Err` where even this is refused.
fn identify(path: &CStr, target: &Target, with_attributes: bool) -> Result<PathTarget, Errno> {
    let unique = target.key.0 >= FIRST_UNIQUE_ID;
    let id = if unique { libc::STATX_MNT_ID_UNIQUE } else { libc::STATX_MNT_ID };
    let (sync, mask) = match with_attributes {
        true => (libc::AT_STATX_FORCE_SYNC, id | libc::STATX_BASIC_STATS),
        false => (libc::AT_STATX_DONT_SYNC, id),
    };
    match statx(path, sync, mask) {
        Ok(found) => {
            let same = if found.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0 {
                !unique || found.stx_mnt_id == target.key.0
            } else if found.stx_mask & libc::STATX_MNT_ID != 0 {
                found.stx_mnt_id == u64::from(target.id)
            } else {
                true // before Linux 5.8 nothing tells: the table is all there is to trust
            };
            Ok(if same { PathTarget::Same } else { PathTarget::Other })
        }
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(PathTarget::Other),
        Err(errno) => Err(errno),
    }
}

/// One attribute request that no cache may answer.
fn attributes(path: &CStr, on_call: &impl Fn(Call)) -> Result<(), (Call, Errno)> {
    on_call(Call::Statx);
    statx(path, libc::AT_STATX_FORCE_SYNC, libc::STATX_BASIC_STATS)
        .map(drop)
        .map_err(|errno| (Call::Statx, errno))
}

#[allow(clippy::unnecessary_cast)] // the widths of these fields differ between systems
fn usage(path: &CStr, on_call: &impl Fn(Call)) -> Result<Usage, (Call, Errno)> {
    on_call(Call::Statfs);
    let mut found = MaybeUninit::<libc::statvfs64>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer is of the type that the call fills.
    let result = unsafe { libc::statvfs64(path.as_ptr(), found.as_mut_ptr()) };
    if result != 0 {
        return Err((Call::Statfs, last_errno()));
    }
    // SAFETY: the call succeeded and therefore filled the buffer.
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

fn statx(path: &CStr, sync: c_int, mask: c_uint) -> Result<libc::statx, Errno> {
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer is of the type that the call fills.
    let result =
        unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), sync | AS_MOUNTED, mask, found.as_mut_ptr()) };
    if result != 0 {
        return Err(last_errno());
    }
    // SAFETY: the call succeeded and therefore filled the buffer.
    Ok(unsafe { found.assume_init() })
}

fn last_errno() -> Errno {
    Errno(nix::errno::Errno::last_raw())
}

#[cfg(not(any(target_arch = "x86", target_arch = "arm", target_arch = "sparc")))]
use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
#[cfg(any(target_arch = "x86", target_arch = "arm", target_arch = "sparc"))]
use libc::{SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID};

/// `CAP_DAC_READ_SEARCH` of linux/capability.h.
const CAP_DAC_READ_SEARCH: u32 = 2;
/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: c_int,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes the calling thread, and no other, this user without other groups. The C library's functions would change
/// all threads of the process. Of the capabilities only the right to search directories is kept: the owner may have
/// put his mount below a directory that is closed to him but not to us.
fn become_owner(uid: u32, gid: u32) -> Result<(), Errno> {
    let checked = |result: libc::c_long| if result == 0 { Ok(()) } else { Err(last_errno()) };
    // SAFETY: integer arguments only; the setting is the calling thread's own.
    checked(libc::c_long::from(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }))?;
    // SAFETY: a list of no groups is not read.
    checked(unsafe { libc::syscall(SETGROUPS, 0, std::ptr::null::<libc::gid_t>()) })?;
    // SAFETY: integer arguments only; the raw call changes the calling thread alone.
    checked(unsafe { libc::syscall(SETRESGID, gid, gid, gid) })?;
    // SAFETY: as above.
    checked(unsafe { libc::syscall(SETRESUID, uid, uid, uid) })?;
    let search =
        CapData { effective: 1 << CAP_DAC_READ_SEARCH, permitted: 1 << CAP_DAC_READ_SEARCH, inheritable: 0 };
    keep_capabilities(search).or_else(|_| keep_capabilities(CapData::default()))
}

fn keep_capabilities(low: CapData) -> Result<(), Errno> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [low, CapData::default()];
    // SAFETY: both structures have the kernel's layout for this version and outlive the call; pid 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MountKey;
    use std::cell::RefCell;
    use std::path::PathBuf;

    fn target(path: &str, kind: FsKind) -> Target {
        let path = PathBuf::from(path);
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        let id =
            statx(&name, libc::AT_STATX_DONT_SYNC, libc::STATX_MNT_ID).map_or(0, |found| found.stx_mnt_id);
        Target { path, kind, key: MountKey(id), id: u32::try_from(id).unwrap(), owner: None }
    }

    fn calls(target: &Target) -> (ProbeOutcome, Vec<Call>) {
        let seen = RefCell::new(Vec::new());
        (probe_mount(target, |call| seen.borrow_mut().push(call)), seen.into_inner())
    }

    #[test]
    fn each_kind_is_asked_by_the_calls_that_can_be_trusted() {
        for (kind, expected) in [
            (FsKind::Local, &[Call::Identify, Call::Statfs][..]),
            (FsKind::Fuse, &[Call::Identify, Call::Statx, Call::Statfs]),
            (FsKind::Network, &[Call::Identify, Call::Statfs]),
            (FsKind::Autofs, &[Call::Identify]),
        ] {
            let (outcome, made) = calls(&target("/", kind));
            assert!(matches!(outcome, ProbeOutcome::Alive(_)), "{kind:?}: {outcome:?}");
            assert_eq!(made, expected, "{kind:?}");
        }
    }

    #[test]
    fn usage_is_what_the_file_system_says() {
        let ProbeOutcome::Alive(usage) = probe_mount(&target("/", FsKind::Local), |_| {}) else {
            panic!("/ does not answer")
        };
        assert!(
            usage.block_size > 0 && usage.blocks >= usage.free && usage.free >= usage.available,
            "{usage:?}"
        );
    }

    #[test]
    fn a_path_that_reaches_another_mount_or_none_is_elsewhere() {
        let root = target("/", FsKind::Local);
        for (path, what) in
            [("/proc", "another mount"), ("/no/such/path", "nothing"), ("/proc/version/x", "a file")]
        {
            let astray = Target { path: PathBuf::from(path), ..root.clone() };
            assert_eq!(probe_mount(&astray, |_| {}), ProbeOutcome::WrongMount, "{what}");
        }
    }

    #[test]
    fn the_unique_id_is_compared_where_there_is_one() {
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
    fn a_path_that_no_call_takes_is_an_error_of_the_first_call() {
        let long =
            Target { path: PathBuf::from(format!("/{}", "x/".repeat(3000))), ..target("/", FsKind::Local) };
        let named = |errno| ProbeOutcome::Failed { call: Call::Identify, errno };
        let long = Target { kind: FsKind::Fuse, ..long };
        assert_eq!(probe_mount(&long, |_| {}), named(Errno::ENAMETOOLONG));
        let nul = Target { path: PathBuf::from("/\0"), ..long };
        assert_eq!(probe_mount(&nul, |_| {}), named(Errno::EINVAL));
    }

    #[test]
    fn asking_as_the_owner_changes_only_the_thread_that_asks() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: only root can become somebody else");
            return;
        }
        let before = nix::unistd::getresuid().unwrap();
        let (outcome, inside) = std::thread::spawn(|| {
            let outcome = probe_as_owner(&target("/", FsKind::Local), (1000, 1000), |_| {});
            (outcome, is_current_user((1000, 1000)))
        })
        .join()
        .unwrap();
        assert!(matches!(outcome, ProbeOutcome::Alive(_)), "{outcome:?}");
        assert!(inside, "the thread was not the owner");
        assert_eq!(nix::unistd::getresuid().unwrap(), before);
        assert!(!is_current_user((1000, 1000)));
    }
}
