//! A child process: signalled, reaped, and how it ended.

use super::spawn::EXEC_FAILED;
use crate::Errno as SystemErrno;
use crate::system::process::launcher::RequestedChild;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::cell::Cell;
use std::fmt;

/// A child. Dropping it neither kills nor waits.
#[derive(Debug)]
pub struct Child {
    process: ProcessId,
    status: Option<ExitStatus>,
    /// It was killed before it had a process id.
    is_unwanted: Cell<bool>,
}

#[derive(Debug)]
enum ProcessId {
    Known(Pid),
    /// The launcher starts it.
    Requested(RequestedChild),
}

/// How far the request for a child is.
#[allow(dead_code)] // made by the launcher, which only Linux has
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    Waiting,
    Started(Pid),
    /// There is no child, and there will be none.
    NotStarted(ExitStatus),
}

impl Child {
    pub(crate) const fn new(pid: Pid) -> Child {
        Child { process: ProcessId::Known(pid), status: None, is_unwanted: Cell::new(false) }
    }

    pub(crate) const fn requested(child: RequestedChild) -> Child {
        Child { process: ProcessId::Requested(child), status: None, is_unwanted: Cell::new(false) }
    }

    /// A child that was reaped before: it has no process and is never signalled.
    pub(crate) fn reaped() -> Child {
        Child { status: Some(ExitStatus::Unknown), ..Child::new(Pid::from_raw(0)) }
    }

    /// The process id; 0 while the launcher has not started the child.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process().map_or(0, |pid| pid.as_raw().unsigned_abs())
    }

    fn process(&self) -> Option<Pid> {
        match &self.process {
            ProcessId::Known(pid) => Some(*pid),
            ProcessId::Requested(child) => match child.progress() {
                Progress::Started(pid) => Some(pid),
                Progress::Waiting | Progress::NotStarted(_) => None,
            },
        }
    }

    /// Sends SIGKILL, unless the child was reaped: its process id may have been reused since. A child that was not
    /// started yet will not be.
    pub fn kill(&self) {
        if let ProcessId::Requested(child) = &self.process {
            self.is_unwanted.set(true);
            child.cancel();
        }
        if self.status.is_none()
            && let Some(pid) = self.process()
        {
            // A child that was not reaped, a zombie too, can always be signalled.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
    }

    /// Sends SIGKILL to the child and to the programs that it started and that stayed in its process group.
    pub fn kill_group(&self) {
        self.kill();
        self.signal_group(Signal::SIGKILL);
    }

    /// Signals the child and its process group, unless the child was reaped.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if self.status.is_none()
            && let Some(pid) = self.process()
        {
            // The child makes the group itself and may not have done so yet.
            let _ = nix::sys::signal::killpg(pid, signal);
            let _ = nix::sys::signal::kill(pid, signal);
        }
    }

    /// Whether it has ended, so that [`Child::try_reap`] returns its status. Its process id stays reserved until then.
    pub(crate) fn has_ended(&self) -> bool {
        self.status.is_some() || self.process().is_some_and(is_zombie_or_gone)
    }

    /// Whether this thread of it still exists. The threads of a killed process end one by one; one that cannot be
    /// interrupted keeps the shared descriptors open, but not the other threads.
    #[must_use]
    pub fn has_thread(&self, tid: u32) -> bool {
        self.status.is_none() && self.process().is_some_and(|pid| may_have_thread(pid, tid))
    }

    /// The exit status if the child has ended; never blocks. All its threads are gone then and its descriptors closed.
    pub fn try_reap(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = match &self.process {
                ProcessId::Known(pid) => reap(*pid),
                ProcessId::Requested(child) => match child.progress() {
                    Progress::Waiting => None,
                    Progress::NotStarted(why) => Some(why),
                    Progress::Started(pid) => {
                        self.process = ProcessId::Known(pid);
                        if self.is_unwanted.get() {
                            self.kill();
                        }
                        reap(pid)
                    }
                },
            };
        }
        self.status
    }
}

fn reap(pid: Pid) -> Option<ExitStatus> {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, status)) => Some(ExitStatus::Exited(status)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(ExitStatus::Signaled(signal as i32)),
        Err(Errno::ECHILD) => Some(ExitStatus::Unknown),
        Ok(_) | Err(_) => None,
    }
}

/// Does not reap. A bare call because nix has no waitid on macOS.
fn is_zombie_or_gone(pid: Pid) -> bool {
    // SAFETY: a structure of integers, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    #[allow(clippy::useless_conversion)] // wider on FreeBSD
    let id = pid.as_raw().unsigned_abs().into();
    // SAFETY: the structure has the type that the call fills and outlives it.
    let result = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, flags) };
    // `si_signo` stays zero if nothing has ended (waitid(2)).
    result != 0 || info.si_signo != 0
}

#[cfg(target_os = "linux")]
fn may_have_thread(pid: Pid, tid: u32) -> bool {
    // SAFETY: integer arguments only; signal 0 is never delivered.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, pid.as_raw(), tid.cast_signed(), 0) };
    result == 0 || Errno::last() != Errno::ESRCH
}

/// Other systems do not show the threads of another process.
#[cfg(not(target_os = "linux"))]
fn may_have_thread(_: Pid, _: u32) -> bool {
    true
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Another part of this process has reaped it, or it was killed before it was started.
    Unknown,
    /// The launcher could not start it.
    NotStarted(SystemErrno),
    /// The launcher ended before it started it.
    LauncherEnded,
}

impl ExitStatus {
    /// Of a prober that could not enter its mount namespace: EX_OSERR of sysexits.h.
    pub(crate) const NAMESPACE_NOT_ENTERED: i32 = 71;
    /// Of a launcher that cannot run from memory, or was sent something unknown: EX_SOFTWARE.
    #[cfg_attr(any(feature = "interval", not(target_os = "linux")), allow(dead_code))]
    pub(crate) const LAUNCHER_FAILED: i32 = 70;
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Exited(EXEC_FAILED) => write!(f, "the program could not be executed"),
            ExitStatus::Exited(ExitStatus::NAMESPACE_NOT_ENTERED) => {
                write!(f, "the mount namespace cannot be entered")
            }
            ExitStatus::Exited(status) => write!(f, "exit status {status}"),
            ExitStatus::Signaled(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            ExitStatus::Unknown => write!(f, "ended in an unknown way"),
            ExitStatus::NotStarted(SystemErrno::EAGAIN) => {
                write!(f, "the limit of processes is reached (EAGAIN)")
            }
            ExitStatus::NotStarted(errno) => write!(f, "{} ({errno})", errno.describe()),
            ExitStatus::LauncherEnded => write!(f, "the launcher ended before it was started"),
        }
    }
}
