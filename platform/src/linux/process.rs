//! The prober as a process: started by fork and exec with one socket, killed, reaped.
//!
//! It is started as `spawn` describes, and that it has come up is learned from its first packet.

use super::spawn::{EXEC_FAILED, FOURTH, spawn};

pub use super::packet::{MAX_PACKET, receive, send, wait_readable};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socketpair, sockopt};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::ffi::{CStr, CString, c_int};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `argv[0]` of the prober, as `ps` shows it.
const NAME: &CStr = c"mount_status_monitor";
/// `argv[1]`: what makes the program a prober.
pub const PROBER_ARGUMENT: &str = "prober";
const PROBER: &CStr = c"prober";
/// `argv[1]` of the process that collects evidence.
pub const COLLECTOR_ARGUMENT: &str = "collector";
const COLLECTOR: &CStr = c"collector";
/// The link to the program that runs, which works even when its file was replaced.
const OURSELVES: &CStr = c"/proc/self/exe";
/// `argv[2]` of a prober that is to enter the mount namespace that is its descriptor 3.
pub const ENTERING_ARGUMENT: &str = "in-mount-namespace";
const ENTERING: &CStr = c"in-mount-namespace";
/// The exit status of a prober that could not enter its mount namespace: EX_OSERR of sysexits.h.
const NOT_ENTERED: c_int = 71;

/// May this process do all that root may?
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What is needed to start a prober, made ready beforehand.
#[derive(Debug)]
pub struct Launcher {
    program: CString,
    mode: &'static CStr,
    null: File,
    namespace: Option<File>,
}

impl Launcher {
    /// Probers will run `program`, or the program that is running now. It must turn into a prober when its first
    /// argument is `prober`.
    ///
    /// # Errors
    /// A path with a NUL byte; no `/dev/null`.
    pub fn new(program: Option<&Path>) -> io::Result<Launcher> {
        Launcher::of(program, PROBER)
    }

    /// The same for the process that collects evidence, whose first argument is `collector`.
    ///
    /// # Errors
    /// As for [`Launcher::new`].
    pub fn of_collectors(program: Option<&Path>) -> io::Result<Launcher> {
        Launcher::of(program, COLLECTOR)
    }

    fn of(program: Option<&Path>, mode: &'static CStr) -> io::Result<Launcher> {
        let program = match program {
            Some(path) => CString::new(path.as_os_str().as_bytes())?,
            None => OURSELVES.to_owned(),
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Launcher { program, mode, null, namespace: None })
    }

    /// Probers will enter this mount namespace before they do anything else.
    pub fn enter(&mut self, namespace: File) {
        self.namespace = Some(namespace);
    }

    /// Starts a prober without waiting for it. Its end of the socket pair is its descriptor 0; it ends when ours is
    /// closed.
    ///
    /// # Errors
    /// Those of `socketpair(2)` and `fork(2)`. A failing exec is seen as the child's end with status 127.
    pub fn spawn(&self) -> io::Result<(Child, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let standard = [theirs.as_fd(), self.null.as_fd(), self.null.as_fd()];
        let pid = match &self.namespace {
            None => spawn(&self.program, &[NAME, self.mode], &[], standard, None)?,
            Some(namespace) => {
                spawn(&self.program, &[NAME, self.mode, ENTERING], &[], standard, Some(namespace.as_fd()))?
            }
        };
        Ok((Child::of(pid), ours))
    }
}

/// A started child. Dropping it neither kills nor waits.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    ended: Option<Ended>,
}

impl Child {
    pub(super) const fn of(pid: Pid) -> Child {
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
    pub(super) fn signal_group(&self, signal: Signal) {
        if self.ended.is_none() {
            // The group is made by the child itself, which may not have come to it yet.
            let _ = nix::sys::signal::killpg(self.pid, signal);
            let _ = nix::sys::signal::kill(self.pid, signal);
        }
    }

    /// Has it ended, so that [`Child::try_reap`] will say how? Its number is kept until then.
    pub(super) fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        self.ended.is_some() || !matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive))
    }

    /// Is this thread of it still there? The threads of a killed process end one by one, and one that cannot be
    /// interrupted keeps the others' descriptors open, but not the others.
    #[must_use]
    pub fn has_thread(&self, tid: u32) -> bool {
        // SAFETY: plain numbers; signal 0 is never delivered.
        let result = unsafe { libc::syscall(libc::SYS_tgkill, self.pid.as_raw(), tid as c_int, 0 as c_int) };
        self.ended.is_none() && (result == 0 || Errno::last() != Errno::ESRCH)
    }

    /// How it ended, if it has; never waits. All its threads are gone then, and its descriptors closed.
    pub fn try_reap(&mut self) -> Option<Ended> {
        if self.ended.is_none() {
            self.ended = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Some(Ended::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(Ended::Killed(signal as i32)),
                Err(Errno::ECHILD) => Some(Ended::Unknown),
                Ok(_) | Err(_) => None,
            };
        }
        self.ended
    }
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Somebody else waited for it.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ended::Exited(EXEC_FAILED) => write!(f, "the program could not be executed"),
            Ended::Exited(NOT_ENTERED) => write!(f, "the mount namespace cannot be entered"),
            Ended::Exited(status) => write!(f, "exit status {status}"),
            Ended::Killed(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Ended::Unknown => write!(f, "ended in an unknown way"),
        }
    }
}

/// Turns this process into a prober: first thing in `main`.
pub fn become_prober() {
    become_helper(c"msm-prober");
}

/// Turns this process into the one that collects evidence: first thing in `main`.
pub fn become_collector() {
    become_helper(c"msm-collector");
}

fn become_helper(name: &CStr) {
    // SAFETY: the name is NUL-terminated and shorter than the 16 bytes that are read.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    // The dump of a process with unkillable threads never ends, and would keep the socket open.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    // By default each of many threads gets a heap of its own.
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers; no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Enters the mount namespace that was handed to this prober, or ends it: after [`become_prober`] and before there is
/// any other thread. After the exec and not before it: the program is found by our own `/proc`.
pub fn enter_namespace() {
    // SAFETY: the daemon that asks for this has put it there, and nothing else has it.
    let file = unsafe { OwnedFd::from_raw_fd(FOURTH) };
    if super::namespace::enter(file.as_fd()).is_err() {
        exit_now(NOT_ENTERED);
    }
}

/// Gives back the pages of the program and its libraries that only its start needed: what runs on is read again from
/// the page cache, which is less than half of it. Probers are many when storage is in trouble.
pub fn drop_startup_pages() {
    unsafe extern "C" fn drop_pages(
        object: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        _data: *mut libc::c_void,
    ) -> c_int {
        // SAFETY: the loader hands in an object that is loaded, with as many program headers as it says.
        let (base, headers) = unsafe {
            let object = &*object;
            (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
        };
        for header in headers {
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
                let start = base as usize + header.p_vaddr as usize;
                let end = start + header.p_memsz as usize;
                // SAFETY: plain numbers.
                let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
                let start = start & !(page - 1);
                // SAFETY: a mapping of a file that was never written to through it: its pages are read from the
                // file again when they are touched.
                unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
            }
        }
        0
    }
    // SAFETY: the callback keeps nothing of what it is given.
    unsafe { libc::dl_iterate_phdr(Some(drop_pages), std::ptr::null_mut()) };
}

/// Is descriptor 0 a socket such as [`Launcher::spawn`] gives to a prober? It is not when people type `prober`.
#[must_use]
pub fn is_started_by_daemon() -> bool {
    getsockopt(&prober_socket(), sockopt::SockType) == Ok(SockType::SeqPacket)
}

/// The prober's end of the socket pair.
#[must_use]
pub fn prober_socket() -> BorrowedFd<'static> {
    // SAFETY: nothing in a prober closes descriptor 0.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// The process that started this one.
#[must_use]
pub fn parent_id() -> u32 {
    nix::unistd::getppid().as_raw().unsigned_abs()
}

/// The kernel's id of the calling thread, as in `/proc/PID/task/TID`.
#[must_use]
pub fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().unsigned_abs()
}

/// Ends this process at once, whatever its threads do: no destructors, no flushing, nothing that could wait.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: never returns, touches no memory.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn end_of(child: &mut Child, socket: &OwnedFd) -> Ended {
        loop {
            if let Some(ended) = child.try_reap() {
                return ended;
            }
            wait_readable(socket.as_fd(), Some(Duration::from_millis(10))).unwrap();
        }
    }

    #[test]
    fn a_child_is_started_with_our_socket_and_its_end_is_seen() {
        // `false prober` ends with 1 without reading anything.
        let launcher = Launcher::new(Some(Path::new("/bin/false"))).unwrap();
        let (mut child, socket) = launcher.spawn().unwrap();
        assert_eq!(end_of(&mut child, &socket), Ended::Exited(1));
        assert_eq!(receive(socket.as_fd(), &mut [0; 8], false).unwrap(), 0, "the other end is closed");
        child.kill(); // nothing: it was reaped
    }

    #[test]
    fn an_exec_that_fails_is_an_end_with_its_own_status() {
        let launcher = Launcher::new(Some(Path::new("/no/such/program"))).unwrap();
        let (mut child, socket) = launcher.spawn().unwrap();
        let ended = end_of(&mut child, &socket);
        assert_eq!(
            (ended, ended.to_string()),
            (Ended::Exited(127), "the program could not be executed".into())
        );
    }
}
