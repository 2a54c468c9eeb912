//! The prober as a process: started with one socket. By POSIX alone.

#[allow(unused_imports)] // by tests on Linux, where this is not the back-end
pub use super::channel::{Channel, MAX_PACKET};
pub use crate::children::child::{Child, ExitStatus};

use crate::children::spawn::spawn;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;

/// `argv[0]` of the prober, as `ps` shows it.
const NAME: &CStr = c"mount_status_monitor";
/// `argv[1]`: what makes the program a prober.
pub const PROBER_ARGUMENT: &str = "prober";
const PROBER: &CStr = c"prober";
/// `argv[1]` of the process that collects evidence.
pub const COLLECTOR_ARGUMENT: &str = "collector";
const COLLECTOR: &CStr = c"collector";
/// `argv[2]` of a prober that is to enter a mount namespace; none is, here.
pub const ENTERING_ARGUMENT: &str = "in-mount-namespace";
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
}

impl Launcher {
    /// Probers will run `program`, or the file of the program that is running now. It must turn into a prober when
    /// its first argument is `prober`.
    ///
    /// # Errors
    /// A path with a NUL byte; no `/dev/null`; the system does not say which program runs.
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
            None => CString::new(std::env::current_exe()?.as_os_str().as_bytes())?,
        };
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {error}")))?;
        Ok(Launcher { program, mode, null })
    }

    /// Probers will enter this mount namespace; there is none, so nobody has one to hand in.
    pub fn enter(&mut self, _: File) {}

    /// Starts a prober without waiting for it. Its end of the channel is its descriptor 0; it ends when ours is
    /// closed.
    ///
    /// # Errors
    /// Those of `socketpair(2)` and `fork(2)`. A failing exec is seen as the child's end with status 127.
    pub fn spawn(&self) -> io::Result<(Child, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let standard = [theirs.as_fd(), self.null.as_fd(), self.null.as_fd()];
        let pid = spawn(&self.program, &[NAME, self.mode], &[], standard, None)?;
        Ok((Child::of(pid), ours))
    }
}

/// Turns this process into a prober: first thing in `main`.
pub fn become_prober() {
    // The dump of a process with unkillable threads never ends, and would keep the socket open.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
}

/// Turns this process into the one that collects evidence: first thing in `main`.
pub fn become_collector() {
    become_prober();
}

/// The process that started this one.
#[must_use]
pub fn parent_id() -> u32 {
    nix::unistd::getppid().as_raw().unsigned_abs()
}

/// Enters a mount namespace that was handed to this prober: there is none, and whoever asks for it is no daemon.
pub fn enter_namespace() {
    exit_now(ExitStatus::NOT_ENTERED);
}

/// Gives back memory that only the start needed; here the system does that by itself.
pub fn drop_startup_pages() {}

/// Is descriptor 0 a socket such as [`Launcher::spawn`] gives to a prober? It is not when people type `prober`.
#[must_use]
pub fn is_started_by_daemon() -> bool {
    use nix::sys::socket::{SockType, getsockopt, sockopt};
    getsockopt(&io::stdin().as_fd(), sockopt::SockType) == Ok(SockType::Stream)
}

/// The prober's end of the channel, for its one reader, which keeps it until the process ends.
///
/// # Errors
/// Those of `fcntl(2)`.
pub fn prober_channel() -> io::Result<Channel> {
    // SAFETY: descriptor 0 is the socket that the daemon gave us. It is not duplicated, for that would be one more; the
    // reader and the one who answers have it together, and neither lets go of it before the process ends.
    let stream = unsafe { UnixStream::from_raw_fd(libc::STDIN_FILENO) };
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

    fn end_of(child: &mut Child, channel: &Channel) -> ExitStatus {
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
        assert!(child.has_thread(child.pid()), "it was not reaped");
        assert_eq!(end_of(&mut child, &channel), ExitStatus::Exited(1));
        assert_eq!(channel.receive(&mut [0; 8]).unwrap(), 0, "the other end is closed");
        assert!(!child.has_thread(child.pid()));
        child.kill(); // nothing: it was reaped
    }

    #[test]
    fn an_exec_that_fails_is_an_end_with_its_own_status() {
        let launcher = Launcher::new(Some(Path::new("/no/such/program"))).unwrap();
        let (mut child, channel) = launcher.spawn().unwrap();
        assert_eq!(end_of(&mut child, &channel), ExitStatus::Exited(127));
    }
}
