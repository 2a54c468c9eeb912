//! The prober as a process: started by fork and exec with one socket, killed, reaped.
//!
//! The standard library's way of starting a child waits until its exec has succeeded, and an exec waits for the
//! storage of the program. So this is a fork of our own: it returns at once, and that the child has come up is
//! learned from its first packet. Between fork and exec only async-signal-safe calls are made (signal-safety(7)),
//! and the first of them give back every descriptor of the parent: should the exec hang, no port stays taken.

pub use super::packet::{Channel, MAX_PACKET, answer};
pub use crate::ended::Ended;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socketpair, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `argv[0]` of the prober, as `ps` shows it.
const NAME: &CStr = c"mount_status_monitor";
/// `argv[1]`: what makes the program a prober.
pub const PROBER_ARGUMENT: &str = "prober";
const MODE: &CStr = c"prober";
/// The link to the program that runs, which works even when its file was replaced.
const OURSELVES: &CStr = c"/proc/self/exe";
/// Kernels before 5.9 have no `close_range`: descriptors below this are closed one by one. Ours are numbered from
/// the bottom and never come near it; the bound keeps an unlimited `RLIMIT_NOFILE` from costing seconds.
const MAX_CLOSED_ONE_BY_ONE: c_int = 65_536;
/// Signal numbers end here (`_NSIG`) on all but MIPS.
const MAX_SIGNAL: c_int = 64;

/// May this process do all that root may?
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What is needed to start a prober, made ready beforehand.
#[derive(Debug)]
pub struct Launcher {
    program: CString,
    null: File,
}

impl Launcher {
    /// Probers will run `program`, or the program that is running now. It must turn into a prober when its first
    /// argument is `prober`.
    ///
    /// # Errors
    /// A path with a NUL byte; no `/dev/null`.
    pub fn new(program: Option<&Path>) -> io::Result<Launcher> {
        let program = match program {
            Some(path) => CString::new(path.as_os_str().as_bytes())?,
            None => OURSELVES.to_owned(),
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Launcher { program, null })
    }

    /// Starts a prober without waiting for it. Its end of the socket pair is its descriptor 0; it ends when ours is
    /// closed.
    ///
    /// # Errors
    /// Those of `socketpair(2)` and `fork(2)`. A failing exec is seen as the child's end with status 127.
    pub fn spawn(&self) -> io::Result<(Child, Channel)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        if theirs.as_raw_fd() <= libc::STDERR_FILENO {
            return Err(io::Error::other("standard descriptors of this process are closed"));
        }
        let argv = [NAME.as_ptr(), MODE.as_ptr(), std::ptr::null()];
        let envp = [std::ptr::null()];
        // A handler of ours must not run in the child, where its pipes lead back to us.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child makes only async-signal-safe calls, allocates nothing, and never returns from here.
        let forked = match unsafe { nix::unistd::fork() } {
            Ok(ForkResult::Child) => unsafe {
                // SAFETY: we are the child of a fork; the strings were made before it and both lists end in null.
                exec(&self.program, argv.as_ptr(), envp.as_ptr(), theirs.as_raw_fd(), self.null.as_raw_fd())
            },
            Ok(ForkResult::Parent { child }) => Ok(child),
            Err(errno) => Err(io::Error::from(errno)),
        };
        before.thread_set_mask()?;
        forked.map(|pid| (Child { pid, ended: None }, Channel::over(ours)))
    }
}

/// The child's way from fork to exec.
///
/// # Safety
/// Only in the child of a fork; `argv` and `envp` are null-terminated lists of NUL-terminated strings.
unsafe fn exec(
    program: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
    socket: RawFd,
    null: RawFd,
) -> ! {
    // SAFETY: async-signal-safe calls with plain numbers, and pointers that the caller vouches for.
    unsafe {
        if libc::dup2(socket, 0) != 0 || libc::dup2(null, 1) != 1 || libc::dup2(null, 2) != 2 {
            libc::_exit(Ended::EXEC_FAILED);
        }
        close_from(3);
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        default_signals();
        libc::execve(program.as_ptr(), argv, envp);
        libc::_exit(Ended::EXEC_FAILED)
    }
}

/// # Safety
/// Closes descriptors whoever owns them: only in the child of a fork.
unsafe fn close_from(first: c_int) {
    // SAFETY: plain numbers; who may call this has no use for the descriptors.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first as c_uint, c_uint::MAX, 0 as c_uint) == 0 {
            return;
        }
        for fd in first..MAX_CLOSED_ONE_BY_ONE {
            libc::close(fd);
        }
    }
}

/// # Safety
/// Takes away every handler: only in the child of a fork.
unsafe fn default_signals() {
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

/// A started child. Dropping it neither kills nor waits.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    ended: Option<Ended>,
}

impl Child {
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

/// Turns this process into a prober: first thing in `main`.
pub fn become_prober() {
    // SAFETY: the name is NUL-terminated and shorter than the 16 bytes that are read.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"msm-prober".as_ptr()) };
    // The dump of a process with unkillable threads never ends, and would keep the socket open.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    // By default each of many threads gets a heap of its own.
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers; no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
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
    getsockopt(&io::stdin().as_fd(), sockopt::SockType) == Ok(SockType::SeqPacket)
}

/// The prober's end of the channel, for its one reader.
///
/// # Errors
/// Those of `dup(2)`.
pub fn prober_channel() -> io::Result<Channel> {
    Ok(Channel::over(io::stdin().as_fd().try_clone_to_owned()?))
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
    use std::time::Duration;

    fn end_of(child: &mut Child, channel: &Channel) -> Ended {
        loop {
            if let Some(ended) = child.try_reap() {
                return ended;
            }
            channel.wait_readable(Some(Duration::from_millis(10))).unwrap();
        }
    }

    #[test]
    fn a_child_is_started_with_our_socket_and_its_end_is_seen() {
        // `false prober` ends with 1 without reading anything.
        let launcher = Launcher::new(Some(Path::new("/bin/false"))).unwrap();
        let (mut child, mut channel) = launcher.spawn().unwrap();
        assert_eq!(end_of(&mut child, &channel), Ended::Exited(1));
        assert_eq!(channel.receive(&mut [0; 8]).unwrap(), 0, "the other end is closed");
        child.kill(); // nothing: it was reaped
    }

    #[test]
    fn an_exec_that_fails_is_an_end_with_its_own_status() {
        let launcher = Launcher::new(Some(Path::new("/no/such/program"))).unwrap();
        let (mut child, channel) = launcher.spawn().unwrap();
        let ended = end_of(&mut child, &channel);
        assert_eq!(
            (ended, ended.to_string()),
            (Ended::Exited(127), "the program could not be executed".into())
        );
    }
}
