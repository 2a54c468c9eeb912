//! The user as which a thread calls the kernel. The functions of the C library would change all threads.

use super::mount_identity::last_errno;
use crate::Errno;
use std::ffi::c_int;

#[cfg(not(any(target_arch = "x86", target_arch = "arm", target_arch = "sparc")))]
use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
#[cfg(any(target_arch = "x86", target_arch = "arm", target_arch = "sparc"))]
use libc::{SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID};

/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH` of linux/capability.h.
const CAP_DAC_OVERRIDE: u32 = 1;
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

/// Whether this process has the identity of this user and group. FUSE compares the real, effective and saved ids.
#[must_use]
pub fn is_current_user((uid, gid): (u32, u32)) -> bool {
    let (Ok(users), Ok(groups)) = (nix::unistd::getresuid(), nix::unistd::getresgid()) else {
        return false;
    };
    [users.real, users.effective, users.saved].iter().all(|id| id.as_raw() == uid)
        && [groups.real, groups.effective, groups.saved].iter().all(|id| id.as_raw() == gid)
}

/// Gives the calling thread the identity of this user, without supplementary groups. The C library's functions would
/// change all threads of the process. The only capability kept is the right to search directories: the mount may be
/// below a directory that the user may not enter.
pub(super) fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    let checked = |result: libc::c_long| if result == 0 { Ok(()) } else { Err(last_errno()) };
    // SAFETY: integer arguments only; the setting is per thread.
    checked(libc::c_long::from(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }))?;
    // SAFETY: with a length of 0 the list is not read.
    checked(unsafe { libc::syscall(SETGROUPS, 0, std::ptr::null::<libc::gid_t>()) })?;
    // SAFETY: integer arguments only; the bare system call changes only the calling thread.
    checked(unsafe { libc::syscall(SETRESGID, gid, gid, gid) })?;
    // SAFETY: as above.
    checked(unsafe { libc::syscall(SETRESUID, uid, uid, uid) })?;
    let search =
        CapData { effective: 1 << CAP_DAC_READ_SEARCH, permitted: 1 << CAP_DAC_READ_SEARCH, inheritable: 0 };
    keep_capabilities(search).or_else(|_| keep_capabilities(CapData::default()))
}

/// Gives the calling thread this identity for access to files, and no capability. Other processes may signal it no more
/// than before: its real and saved ids are kept.
pub(super) fn become_file_user((uid, gid): (u32, u32)) -> Result<(), Errno> {
    // SAFETY: with a length of 0 the list is not read.
    if unsafe { libc::syscall(SETGROUPS, 0, std::ptr::null::<libc::gid_t>()) } != 0 {
        return Err(last_errno());
    }
    // SAFETY: integer arguments only; these calls are per thread and return what was before, not an error.
    let is_set = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        libc::setfsgid(u32::MAX) == gid.cast_signed() && libc::setfsuid(u32::MAX) == uid.cast_signed()
    };
    if is_set { keep_capabilities(CapData::default()) } else { Err(Errno::EPERM) }
}

/// Whether no directory's permissions can keep this process from a mount.
#[must_use]
pub fn may_search_every_directory() -> bool {
    effective_capabilities() & (1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH) != 0
}

/// Of the first 32 capabilities, those that are in effect: bit N is number N of linux/capability.h. 0 if unknown.
pub(super) fn effective_capabilities() -> u32 {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: both structures have the kernel's layout of this version and outlive the call; pid 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    if result == 0 { data[0].effective } else { 0 }
}

fn keep_capabilities(low: CapData) -> Result<(), Errno> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [low, CapData::default()];
    // SAFETY: both structures have the kernel's layout of this version and outlive the call; pid 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
