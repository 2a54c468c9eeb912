//! The prober as a process: started by fork and exec with one socket, killed, reaped.
//!
//! It is started as `spawn` describes, and that it has come up is learned from its first packet.

use crate::children::spawn::{FOURTH, spawn};

pub use super::packet::{Channel, MAX_PACKET, answer};
pub use crate::children::child::{Child, ExitStatus};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socketpair, sockopt};
use std::ffi::{CStr, CString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
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
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {error}")))?;
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
    pub fn spawn(&self) -> io::Result<(Child, Channel)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let standard = [theirs.as_fd(), self.null.as_fd(), self.null.as_fd()];
        let pid = match &self.namespace {
            None => spawn(&self.program, &[NAME, self.mode], &[], standard, None)?,
            Some(namespace) => {
                spawn(&self.program, &[NAME, self.mode, ENTERING], &[], standard, Some(namespace.as_fd()))?
            }
        };
        Ok((Child::of(pid), Channel::over(ours)))
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
        exit_now(ExitStatus::NOT_ENTERED);
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
    getsockopt(&io::stdin().as_fd(), sockopt::SockType) == Ok(SockType::SeqPacket)
}

/// The prober's end of the channel, for its one reader, which keeps it until the process ends.
///
/// # Errors
/// None here.
pub fn prober_channel() -> io::Result<Channel> {
    // SAFETY: descriptor 0 is the socket that the daemon gave us. It is not duplicated, for that would be one more; and
    // whoever else uses it borrows it from standard input, which this process has for nothing else.
    Ok(Channel::over(unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) }))
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
        // `false prober` ends with 1 without reading anything.
        let launcher = Launcher::new(Some(Path::new("/bin/false"))).unwrap();
        let (mut child, mut channel) = launcher.spawn().unwrap();
        assert_eq!(end_of(&mut child, &channel), ExitStatus::Exited(1));
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
            (ExitStatus::Exited(127), "the program could not be executed".into())
        );
    }
}
