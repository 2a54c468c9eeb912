//! The prober as a process, by POSIX alone. As on Linux it is a fork of our own, for the standard library's waits until
//! the exec has succeeded: it returns at once, and the child makes only async-signal-safe calls (signal-safety).

pub use super::channel::Channel;
pub use crate::ended::Ended;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;

/// `argv[0]` of the prober, as `ps` shows it.
const NAME: &CStr = c"mount_status_monitor";
/// `argv[1]`: what makes the program a prober.
pub const PROBER_ARGUMENT: &str = "prober";
const MODE: &CStr = c"prober";
/// No packet is larger: each takes about a thousand questions or answers, which makes the cost of the system calls
/// disappear.
pub const MAX_PACKET: usize = 64 * 1024;
/// Where nothing closes all descriptors at once, those below this are closed one by one. Ours are numbered from the
/// bottom and never come near it; the bound keeps an unlimited `RLIMIT_NOFILE` from costing seconds.
const MAX_CLOSED_ONE_BY_ONE: c_int = 65_536;
/// The highest signal number of the systems here (FreeBSD's `_SIG_MAXSIG`); what a system does not have it refuses.
const MAX_SIGNAL: c_int = 128;

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
    last_descriptor: c_int,
}

impl Launcher {
    /// Probers will run `program`, or the file of the program that is running now. It must turn into a prober when
    /// its first argument is `prober`.
    ///
    /// # Errors
    /// A path with a NUL byte; no `/dev/null`; the system does not say which program runs.
    pub fn new(program: Option<&Path>) -> io::Result<Launcher> {
        let program = match program {
            Some(path) => CString::new(path.as_os_str().as_bytes())?,
            None => CString::new(std::env::current_exe()?.as_os_str().as_bytes())?,
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        let last_descriptor = limit.map_or(MAX_CLOSED_ONE_BY_ONE, |(soft, _)| {
            c_int::try_from(soft).unwrap_or(c_int::MAX).min(MAX_CLOSED_ONE_BY_ONE)
        });
        Ok(Launcher { program, null, last_descriptor })
    }

    /// Starts a prober without waiting for it. Its end of the channel is its descriptor 0; it ends when ours is
    /// closed.
    ///
    /// # Errors
    /// Those of `socketpair(2)` and `fork(2)`. A failing exec is seen as the child's end with status 127.
    pub fn spawn(&self) -> io::Result<(Child, Channel)> {
        let (ours, theirs) = Channel::pair()?;
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
                self.exec(argv.as_ptr(), envp.as_ptr(), theirs.as_raw_fd())
            },
            Ok(ForkResult::Parent { child }) => Ok(child),
            Err(errno) => Err(io::Error::from(errno)),
        };
        before.thread_set_mask()?;
        forked.map(|pid| (Child { pid, ended: None }, ours))
    }

    /// The child's way from fork to exec.
    ///
    /// # Safety
    /// Only in the child of a fork; `argv` and `envp` are null-terminated lists of NUL-terminated strings.
    unsafe fn exec(&self, argv: *const *const c_char, envp: *const *const c_char, socket: RawFd) -> ! {
        let null = self.null.as_raw_fd();
        // SAFETY: async-signal-safe calls with plain numbers, and pointers that the caller vouches for.
        unsafe {
            if libc::dup2(socket, 0) != 0 || libc::dup2(null, 1) != 1 || libc::dup2(null, 2) != 2 {
                libc::_exit(Ended::EXEC_FAILED);
            }
            close_from(3, self.last_descriptor);
            libc::setsid();
            libc::chdir(c"/".as_ptr());
            default_signals();
            libc::execve(self.program.as_ptr(), argv, envp);
            libc::_exit(Ended::EXEC_FAILED)
        }
    }
}

/// # Safety
/// Closes descriptors whoever owns them: only in the child of a fork.
unsafe fn close_from(first: c_int, last: c_int) {
    #[cfg(target_os = "freebsd")]
    // SAFETY: plain numbers; who may call this has no use for the descriptors. A system call of its own (closefrom(2)).
    unsafe {
        let _ = last;
        libc::closefrom(first);
    }
    #[cfg(not(target_os = "freebsd"))]
    for fd in first..=last {
        // SAFETY: as above; a number that is no descriptor is refused.
        unsafe { libc::close(fd) };
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

    /// Is this thread of it still there? POSIX cannot tell of another process's threads: as long as the process is.
    #[must_use]
    pub fn has_thread(&self, _thread: u32) -> bool {
        self.ended.is_none()
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
    // The dump of a process with unkillable threads never ends, and would keep the socket open.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
}

/// Gives back memory that only the start needed; here the system does that by itself.
pub fn drop_startup_pages() {}

/// Is descriptor 0 a socket such as [`Launcher::spawn`] gives to a prober? It is not when people type `prober`.
#[must_use]
pub fn is_started_by_daemon() -> bool {
    use nix::sys::socket::{SockType, getsockopt, sockopt};
    getsockopt(&io::stdin().as_fd(), sockopt::SockType) == Ok(SockType::Stream)
}

/// The prober's end of the channel, for its one reader.
///
/// # Errors
/// Those of `dup(2)` and `fcntl(2)`.
pub fn prober_channel() -> io::Result<Channel> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    Ok(Channel::over(stream))
}

/// Sends one packet from the prober to the daemon, from whichever thread, and waits until it is sent.
///
/// # Errors
/// The daemon is gone.
pub fn answer(packet: &[u8]) -> io::Result<()> {
    /// Packets of several threads must not mix in the stream.
    static ANSWERS: Mutex<Option<Channel>> = Mutex::new(None);
    let mut answers = ANSWERS.lock().map_err(|_| io::ErrorKind::Other)?;
    let channel = match &mut *answers {
        Some(channel) => channel,
        none => none.insert(prober_channel()?),
    };
    channel.send_waiting(packet)
}

/// A number of the calling thread. POSIX has none that another process could use.
#[must_use]
pub fn thread_id() -> u32 {
    0
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
        // `cat prober` fails after a look at a file that is not there; `false` is not at the same place everywhere.
        let launcher = Launcher::new(Some(Path::new("/bin/cat"))).unwrap();
        let (mut child, mut channel) = launcher.spawn().unwrap();
        assert!(child.has_thread(1), "it was not reaped");
        assert_eq!(end_of(&mut child, &channel), Ended::Exited(1));
        assert_eq!(channel.receive(&mut [0; 8]).unwrap(), 0, "the other end is closed");
        assert!(!child.has_thread(1));
        child.kill(); // nothing: it was reaped
    }

    #[test]
    fn an_exec_that_fails_is_an_end_with_its_own_status() {
        let launcher = Launcher::new(Some(Path::new("/no/such/program"))).unwrap();
        let (mut child, channel) = launcher.spawn().unwrap();
        assert_eq!(end_of(&mut child, &channel), Ended::Exited(Ended::EXEC_FAILED));
    }
}
