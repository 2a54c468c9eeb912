//! Fork and exec without waiting.
//!
//! `std::process::Command` waits until the exec has succeeded, and an exec waits for the storage of the program. This
//! fork returns at once. Between fork and exec only async-signal-safe calls are made (signal-safety(7)); the first of
//! them close every descriptor of the parent, so an exec that hangs keeps no port bound.

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{ForkResult, Pid};
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
use std::ffi::c_uint;
use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Exit status of a child whose exec failed, as in a shell.
pub(crate) const EXEC_FAILED: c_int = 127;
/// The descriptor that a child may get beside its standard ones.
pub(crate) const EXTRA_FD: RawFd = 3;
/// Linux before 5.9 and macOS cannot close all descriptors at once: those up to this one are closed one by one. The
/// daemon has far fewer; the limit keeps an unlimited `RLIMIT_NOFILE` from costing seconds.
const MAX_CLOSED_ONE_BY_ONE: c_int = 65_536;
/// The highest signal number of all systems (FreeBSD's `_SIG_MAXSIG`); unknown signals are refused by the others.
const MAX_SIGNAL: c_int = 128;

/// Starts a program in its own session and process group, in `/`, with default signals, these arguments, this
/// environment and no descriptors but the standard ones and perhaps [`EXTRA_FD`].
///
/// # Errors
/// Those of `fork(2)`. A failing exec shows as the exit status [`EXEC_FAILED`] of the child.
pub(crate) fn spawn(
    program: &CStr,
    arguments: &[&CStr],
    environment: &[&CStr],
    standard: [BorrowedFd<'_>; 3],
    extra: Option<BorrowedFd<'_>>,
) -> io::Result<Pid> {
    let standard = standard.map(|fd| fd.as_raw_fd());
    let extra = extra.map(|fd| fd.as_raw_fd());
    if standard.iter().chain(&extra).any(|fd| *fd <= libc::STDERR_FILENO) {
        return Err(io::Error::other("standard descriptors of this process are closed"));
    }
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // A signal handler must not run in the child: its pipes lead back to this process.
    let previous_mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the child makes only async-signal-safe calls, allocates nothing and never returns.
    let forked = match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => unsafe {
            // SAFETY: this is the child; the strings were made before the fork and both lists end in null.
            exec(program, argv.as_ptr(), envp.as_ptr(), standard, extra)
        },
        Ok(ForkResult::Parent { child }) => Ok(child),
        Err(errno) => Err(io::Error::from(errno)),
    };
    previous_mask.thread_set_mask()?;
    forked
}

fn pointers(strings: &[&CStr]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// What the child does between fork and exec.
///
/// # Safety
/// Only in the child of a fork; `argv` and `envp` are null-terminated lists of NUL-terminated strings.
unsafe fn exec(
    program: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
    standard: [RawFd; 3],
    extra: Option<RawFd>,
) -> ! {
    // SAFETY: this is the child; async-signal-safe calls with pointers that the caller guarantees.
    unsafe {
        detach(standard, extra);
        libc::execve(program.as_ptr(), argv, envp);
        libc::_exit(EXEC_FAILED)
    }
}

/// Makes this process independent of its parent: no descriptors but these (`extra` becomes [`EXTRA_FD`]), its own session
/// and process group, `/` as its directory, default signals.
///
/// # Safety
/// Only in the child of a fork: it closes descriptors regardless of their owner and removes signal handlers.
pub(crate) unsafe fn detach([input, output, error]: [RawFd; 3], extra: Option<RawFd>) {
    // SAFETY: async-signal-safe calls with integers.
    unsafe {
        if libc::dup2(input, 0) != 0 || libc::dup2(output, 1) != 1 || libc::dup2(error, 2) != 2 {
            libc::_exit(EXEC_FAILED);
        }
        match extra {
            None => close_from(EXTRA_FD),
            Some(fd) => {
                if fd == EXTRA_FD {
                    libc::fcntl(fd, libc::F_SETFD, 0); // keep it open across the exec
                } else if libc::dup2(fd, EXTRA_FD) != EXTRA_FD {
                    libc::_exit(EXEC_FAILED);
                }
                close_from(EXTRA_FD + 1);
            }
        }
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        default_signals();
    }
}

/// The file that children have as standard output and standard error.
pub(crate) fn open_null() -> io::Result<File> {
    let opened = File::options().read(true).write(true).open("/dev/null");
    opened.map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {error}")))
}

/// # Safety
/// Closes descriptors regardless of their owner: only in the child of a fork.
pub(crate) unsafe fn close_from(first: c_int) {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    // SAFETY: integer arguments; the caller uses none of the descriptors. One system call (Linux 5.9, FreeBSD 13).
    unsafe {
        #[cfg(target_os = "linux")]
        let result = libc::syscall(libc::SYS_close_range, first as c_uint, c_uint::MAX, 0 as c_uint);
        #[cfg(target_os = "freebsd")]
        let result = libc::close_range(first as c_uint, c_uint::MAX, 0);
        if result == 0 {
            return;
        }
    }
    // SAFETY: a structure of integers, for which zero is valid, filled by an async-signal-safe call.
    let last = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        match libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) {
            0 => c_int::try_from(limit.rlim_cur).unwrap_or(c_int::MAX).min(MAX_CLOSED_ONE_BY_ONE),
            _ => MAX_CLOSED_ONE_BY_ONE,
        }
    };
    for fd in first..=last {
        // SAFETY: as above; a number that is not a descriptor is refused.
        unsafe { libc::close(fd) };
    }
}

/// # Safety
/// Removes every signal handler: only in the child of a fork.
pub(crate) unsafe fn default_signals() {
    // SAFETY: zeroed structures of these types are valid: no flags, an empty mask, the default action.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=MAX_SIGNAL {
            libc::sigaction(signal, &raw const default, std::ptr::null_mut()); // refused for SIGKILL and SIGSTOP
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
