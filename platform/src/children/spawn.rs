//! Fork and exec without waiting.
//!
//! The standard library's way of starting a child waits until its exec has succeeded, and an exec waits for the
//! storage of the program. So this is a fork of our own: it returns at once. Between fork and exec only
//! async-signal-safe calls are made (signal-safety(7)), and the first of them give back every descriptor of the
//! parent: should the exec hang, no port stays taken.

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{ForkResult, Pid};
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
use std::ffi::c_uint;
use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The exit status of a child whose exec failed, as in a shell.
pub(crate) const EXEC_FAILED: c_int = 127;
/// The first descriptor after the standard ones.
pub(crate) const FOURTH: RawFd = 3;
/// Linux before 5.9 and macOS have nothing to close all at once: descriptors below this are closed one by one. Ours are numbered from
/// the bottom and never come near it; the bound keeps an unlimited `RLIMIT_NOFILE` from costing seconds.
const MAX_CLOSED_ONE_BY_ONE: c_int = 65_536;
/// No system here has a higher signal number (FreeBSD's `_SIG_MAXSIG`); what a system does not have it refuses.
const MAX_SIGNAL: c_int = 128;

/// Starts a program in a session and process group of its own, in `/`, with default signals, with these arguments
/// and this environment, and with no descriptors but these: the three standard ones, and perhaps a fourth.
///
/// # Errors
/// Those of `fork(2)`. A failing exec is seen as the child's end with [`EXEC_FAILED`].
pub(crate) fn spawn(
    program: &CStr,
    arguments: &[&CStr],
    environment: &[&CStr],
    standard: [BorrowedFd<'_>; 3],
    fourth: Option<BorrowedFd<'_>>,
) -> io::Result<Pid> {
    let standard = standard.map(|fd| fd.as_raw_fd());
    let fourth = fourth.map(|fd| fd.as_raw_fd());
    if standard.iter().chain(&fourth).any(|fd| *fd <= libc::STDERR_FILENO) {
        return Err(io::Error::other("standard descriptors of this process are closed"));
    }
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // A handler of ours must not run in the child, where its pipes lead back to us.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the child makes only async-signal-safe calls, allocates nothing, and never returns from here.
    let forked = match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => unsafe {
            // SAFETY: we are the child of a fork; the strings were made before it and both lists end in null.
            exec(program, argv.as_ptr(), envp.as_ptr(), standard, fourth)
        },
        Ok(ForkResult::Parent { child }) => Ok(child),
        Err(errno) => Err(io::Error::from(errno)),
    };
    before.thread_set_mask()?;
    forked
}

fn pointers(strings: &[&CStr]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The child's way from fork to exec.
///
/// # Safety
/// Only in the child of a fork; `argv` and `envp` are null-terminated lists of NUL-terminated strings.
unsafe fn exec(
    program: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
    [input, output, error]: [RawFd; 3],
    fourth: Option<RawFd>,
) -> ! {
    // SAFETY: async-signal-safe calls with plain numbers, and pointers that the caller vouches for.
    unsafe {
        if libc::dup2(input, 0) != 0 || libc::dup2(output, 1) != 1 || libc::dup2(error, 2) != 2 {
            libc::_exit(EXEC_FAILED);
        }
        match fourth {
            None => close_from(FOURTH),
            Some(fd) => {
                if fd == FOURTH {
                    libc::fcntl(fd, libc::F_SETFD, 0); // not to be closed by the exec
                } else if libc::dup2(fd, FOURTH) != FOURTH {
                    libc::_exit(EXEC_FAILED);
                }
                close_from(FOURTH + 1);
            }
        }
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        default_signals();
        libc::execve(program.as_ptr(), argv, envp);
        libc::_exit(EXEC_FAILED)
    }
}

/// # Safety
/// Closes descriptors whoever owns them: only in the child of a fork.
pub(crate) unsafe fn close_from(first: c_int) {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    // SAFETY: plain numbers; who may call this has no use for the descriptors. A single system call (FreeBSD 13).
    unsafe {
        #[cfg(target_os = "linux")]
        let result = libc::syscall(libc::SYS_close_range, first as c_uint, c_uint::MAX, 0 as c_uint);
        #[cfg(target_os = "freebsd")]
        let result = libc::close_range(first as c_uint, c_uint::MAX, 0);
        if result == 0 {
            return;
        }
    }
    // SAFETY: numbers alone, for which zero is a value; a bare system call, which fills what it is given.
    let last = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        match libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) {
            0 => c_int::try_from(limit.rlim_cur).unwrap_or(c_int::MAX).min(MAX_CLOSED_ONE_BY_ONE),
            _ => MAX_CLOSED_ONE_BY_ONE,
        }
    };
    for fd in first..=last {
        // SAFETY: as above; a number that is no descriptor is refused.
        unsafe { libc::close(fd) };
    }
}

/// # Safety
/// Takes away every handler: only in the child of a fork.
pub(crate) unsafe fn default_signals() {
    // SAFETY: zeroed structures of these types are valid: no flags, an empty mask, the default action.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=MAX_SIGNAL {
            libc::sigaction(signal, &raw const default, std::ptr::null_mut()); // refused for a few: they have none
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
