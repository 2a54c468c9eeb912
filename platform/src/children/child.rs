//! A child process: killed, reaped, and how it ended.

use super::spawn::EXEC_FAILED;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;

/// A started child. Dropping it neither kills nor waits.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    ended: Option<ExitStatus>,
}

impl Child {
    pub(crate) const fn of(pid: Pid) -> Child {
        Child { pid, ended: None }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Sends SIGKILL. A child that was reaped is left alone: its id may be somebody else's by now.
    pub fn kill(&self) {
        if self.ended.is_none() {
            // Our own child that was not reaped can always be signalled, a zombie too.
            let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        }
    }

    /// Sends a signal to it and to all that it has started and that did not leave its process group. It works as long
    /// as the child was not reaped: until then its number is nobody else's.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if self.ended.is_none() {
            // The group is made by the child itself, which may not have come to it yet.
            let _ = nix::sys::signal::killpg(self.pid, signal);
            let _ = nix::sys::signal::kill(self.pid, signal);
        }
    }

    /// Has it ended, so that [`Child::try_reap`] will say how? Its number is kept until then.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some() || is_zombie_or_gone(self.pid)
    }

    /// Is this thread of it still there? The threads of a killed process end one by one, and one that cannot be
    /// interrupted keeps the others' descriptors open, but not the others.
    #[must_use]
    pub fn has_thread(&self, tid: u32) -> bool {
        self.ended.is_none() && may_have_thread(self.pid, tid)
    }

    /// How it ended, if it has; never waits. All its threads are gone then, and its descriptors closed.
    pub fn try_reap(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Some(ExitStatus::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(ExitStatus::Signaled(signal as i32)),
                Err(Errno::ECHILD) => Some(ExitStatus::Unknown),
                Ok(_) | Err(_) => None,
            };
        }
        self.ended
    }
}

/// Without reaping it: by a call of its own, for nix has none on macOS.
fn is_zombie_or_gone(pid: Pid) -> bool {
    // SAFETY: numbers alone, for which zero is a value.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    #[allow(clippy::useless_conversion)] // wider on FreeBSD
    let id = pid.as_raw().unsigned_abs().into();
    // SAFETY: the structure is of the type that the call fills and outlives it.
    let result = unsafe { libc::waitid(libc::P_PID, id, &raw mut found, flags) };
    // Zero as it was if nothing has ended.
    result != 0 || found.si_signo != 0
}

#[cfg(target_os = "linux")]
fn may_have_thread(pid: Pid, tid: u32) -> bool {
    // SAFETY: plain numbers; signal 0 is never delivered.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, pid.as_raw(), tid.cast_signed(), 0) };
    result == 0 || Errno::last() != Errno::ESRCH
}

/// Other systems do not tell of another process's threads: as long as it is there they may be.
#[cfg(not(target_os = "linux"))]
fn may_have_thread(_: Pid, _: u32) -> bool {
    true
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Somebody else waited for it.
    Unknown,
}

impl ExitStatus {
    /// The exit status of a prober that could not enter its mount namespace: EX_OSERR of sysexits.h.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // there alone are such
    pub(crate) const NOT_ENTERED: i32 = 71;
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Exited(EXEC_FAILED) => write!(f, "the program could not be executed"),
            ExitStatus::Exited(ExitStatus::NOT_ENTERED) => write!(f, "the mount namespace cannot be entered"),
            ExitStatus::Exited(status) => write!(f, "exit status {status}"),
            ExitStatus::Signaled(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            ExitStatus::Unknown => write!(f, "ended in an unknown way"),
        }
    }
}
