//! What this process may do. Found out without changing anything: the calls have arguments that the kernel refuses.

use super::super::thread_identity::effective_capabilities;
use linux_raw_sys::general as raw;
use std::io;
use std::ptr::null;

/// What steps need of linux/capability.h: to change mounts, to look at the mounts and open files of others, and, for mounts
/// of users, to write their control files, to reach them and to continue their servers.
const CAPABILITIES: [(u32, &str); 5] = [
    (21, "CAP_SYS_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (1, "CAP_DAC_OVERRIDE"),
    (2, "CAP_DAC_READ_SEARCH"),
    (5, "CAP_KILL"),
];
/// No kernel knows it.
const UNKNOWN_FLAG: libc::c_int = 1 << 30;

/// The capabilities that this process lacks.
#[must_use]
pub fn missing_capabilities() -> Vec<&'static str> {
    let effective = effective_capabilities();
    CAPABILITIES.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name).collect()
}

/// The calls that a filter (seccomp) or a security module refuses. Without `CAP_SYS_ADMIN` the kernel refuses them too.
#[must_use]
pub fn refused_calls() -> Vec<&'static str> {
    let empty = c"".as_ptr();
    // SAFETY: NUL-terminated strings, null where the kernel permits it, and integers. No call gets as far as a mount.
    let calls = unsafe {
        [
            ("umount2", libc::EINVAL, error_of(|| libc::syscall(libc::SYS_umount2, empty, UNKNOWN_FLAG))),
            (
                "mount",
                libc::ENOENT,
                error_of(|| {
                    libc::syscall(libc::SYS_mount, null::<u8>(), empty, null::<u8>(), 0, null::<u8>())
                }),
            ),
            ("fsopen", libc::EINVAL, error_of(|| libc::syscall(libc::SYS_fsopen, empty, UNKNOWN_FLAG))),
            (
                "move_mount",
                libc::EBADF,
                error_of(|| {
                    let flags = raw::MOVE_MOUNT_F_EMPTY_PATH | raw::MOVE_MOUNT_T_EMPTY_PATH;
                    libc::syscall(libc::SYS_move_mount, -1, empty, -1, empty, flags)
                }),
            ),
        ]
    };
    calls.iter().filter(|(_, expected, error)| error != expected).map(|(name, ..)| *name).collect()
}

fn error_of(call: impl FnOnce() -> libc::c_long) -> i32 {
    if call() == 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_without_filter_may_make_all_calls_that_its_capabilities_permit() {
        // Root of the tests, or anybody else.
        let expected: &[&str] = match missing_capabilities().contains(&"CAP_SYS_ADMIN") {
            true => &["fsopen", "move_mount"],
            false => &[],
        };
        let refused = refused_calls();
        assert!(expected.iter().all(|name| refused.contains(name)), "{refused:?}");
        assert_eq!(refused.is_empty(), expected.is_empty(), "{refused:?}");
    }
}
