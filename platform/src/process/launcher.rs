//! Starts children of the daemon, by the launcher process or by executing this program again, and initializes them.

use super::child::{Child, ExitStatus};
use super::exit_now;
use super::spawn::{EXTRA_FD, open_null, spawn};
use crate::system::process::{self as os, Channel};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{getsockopt, sockopt};
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `argv[0]` of the children, as `ps` shows it.
const PROGRAM_NAME: &CStr = c"mount_status_monitor";

/// What a child process does. Its first argument names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildRole {
    /// Probes mounts.
    Prober,
    /// Probes mounts of the mount namespace that it was passed as its descriptor 3.
    NamespaceProber,
    /// Collects evidence about dead mounts.
    Collector,
    /// Starts the other children: see [`start`](super::launcher_process::start).
    Launcher,
    /// Works on files that an operator names.
    Files,
    /// Carries out one step of a remedy.
    Remedy,
    /// Makes an attempt to remedy a mount, with children of its own.
    Attempt,
    /// Reads early signs of dead mounts.
    Signs,
}

impl ChildRole {
    const ALL: [ChildRole; 8] = [
        ChildRole::Prober,
        ChildRole::NamespaceProber,
        ChildRole::Collector,
        ChildRole::Launcher,
        ChildRole::Files,
        ChildRole::Remedy,
        ChildRole::Attempt,
        ChildRole::Signs,
    ];

    /// The role that the command line of a child names; `None` for every other command line.
    pub fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<ChildRole> {
        let argument = args.nth(1)?;
        ChildRole::ALL.into_iter().find(|role| role.argument().to_bytes() == argument.as_bytes())
    }

    const fn argument(self) -> &'static CStr {
        match self {
            ChildRole::Prober => c"prober",
            ChildRole::NamespaceProber => c"namespace-prober",
            ChildRole::Collector => c"collector",
            ChildRole::Launcher => c"launcher",
            ChildRole::Files => c"files",
            ChildRole::Remedy => c"remedy-step",
            ChildRole::Attempt => c"remedy-attempt",
            ChildRole::Signs => c"signs",
        }
    }

    /// The command line of the child, as `ps` shows it.
    pub(crate) const fn command_line(self) -> [&'static CStr; 2] {
        [PROGRAM_NAME, self.argument()]
    }

    /// The role in a request to the launcher.
    #[cfg_attr(any(feature = "interval", not(target_os = "linux")), allow(dead_code))]
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    #[cfg_attr(any(feature = "interval", not(target_os = "linux")), allow(dead_code))]
    pub(crate) fn from_number(number: u8) -> Option<ChildRole> {
        ChildRole::ALL.into_iter().find(|role| role.number() == number)
    }

    /// The argument as text, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.argument().to_str().expect("the arguments are ASCII")
    }

    /// The name of the main thread, at most 15 bytes.
    pub(crate) const fn thread_name(self) -> &'static CStr {
        match self {
            ChildRole::Prober | ChildRole::NamespaceProber => c"msm-prober",
            ChildRole::Collector => c"msm-collector",
            ChildRole::Launcher => c"msm-launcher",
            ChildRole::Files => c"msm-files",
            ChildRole::Remedy => c"msm-remedy",
            ChildRole::Attempt => c"msm-attempt",
            ChildRole::Signs => c"msm-signs",
        }
    }
}

/// Starts children of one role. Everything that could fail or block is prepared beforehand.
#[derive(Debug)]
pub struct Launcher {
    program: CString,
    /// The children run what this process runs, so the launcher process can start them.
    is_own_program: bool,
    role: ChildRole,
    null: File,
    namespace: Option<File>,
}

impl Launcher {
    /// Children will run `program`, or the program that is running now.
    ///
    /// # Errors
    /// A path with a NUL byte; no `/dev/null`; the path of this program is unknown.
    pub fn new(role: ChildRole, program: Option<&Path>) -> io::Result<Launcher> {
        // It starts children itself, which needs an image of its own.
        let is_own_program = program.is_none() && role != ChildRole::Attempt;
        let program = match program {
            Some(path) => CString::new(path.as_os_str().as_bytes())?,
            None => os::own_program()?,
        };
        Ok(Launcher { program, is_own_program, role, null: open_null()?, namespace: None })
    }

    /// Makes probers enter this mount namespace first.
    pub fn set_mount_namespace(&mut self, namespace: File) {
        self.role = ChildRole::NamespaceProber;
        self.namespace = Some(namespace);
    }

    /// Starts a child without waiting for it: by the launcher process if there is one, else by exec. Its end of the
    /// channel is its descriptor 0; it ends when ours is closed.
    ///
    /// # Errors
    /// Those of `socketpair(2)` and `fork(2)`. A failing exec shows as the exit status 127 of the child.
    pub fn spawn(&self) -> io::Result<(Child, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let extra = self.namespace.as_ref().map(AsFd::as_fd);
        if self.is_own_program
            && let Some(child) = os::launcher::request(self.role, theirs.as_fd(), extra)
        {
            return Ok((Child::requested(child), ours));
        }
        let standard = [theirs.as_fd(), self.null.as_fd(), self.null.as_fd()];
        let pid = spawn(&self.program, &self.role.command_line(), &[], standard, extra)?;
        Ok((Child::new(pid), ours))
    }
}

/// What [`Launcher::spawn`] returns, without a process, and the child's end of the channel: for tests that are the child.
///
/// # Errors
/// Those of `socketpair(2)`.
#[doc(hidden)]
pub fn simulate_child() -> io::Result<(Child, Channel, OwnedFd)> {
    let (ours, theirs) = Channel::pair()?;
    Ok((Child::reaped(), ours, theirs))
}

/// Whether descriptor 0 is a socket such as [`Launcher::spawn`] passes to a child. It is not when a user types the
/// argument of a child.
#[must_use]
pub fn is_started_by_daemon() -> bool {
    getsockopt(&io::stdin().as_fd(), sockopt::SockType) == Ok(os::SOCKET_TYPE)
}

/// Makes this process a child of this role and returns its end of the channel, for its only reader. Must be called
/// first in `main`, before any thread is started.
///
/// # Errors
/// Those of `fcntl(2)`. A mount namespace that cannot be entered ends the process.
pub fn init_child(role: ChildRole) -> io::Result<Channel> {
    os::init_child(role.thread_name());
    // The core dump of a process with unkillable threads never ends and would keep the socket open.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // After the exec, not before it: the program is found through the daemon's own /proc.
    if role == ChildRole::NamespaceProber {
        // SAFETY: the daemon passed this descriptor to a child of this role, and nothing else here owns it.
        let namespace = unsafe { OwnedFd::from_raw_fd(EXTRA_FD) };
        if os::enter_namespace(namespace.as_fd()).is_err() {
            exit_now(ExitStatus::NAMESPACE_NOT_ENTERED);
        }
    }
    Channel::from_stdin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wait_for_exit(child: &mut Child, channel: &Channel) -> ExitStatus {
        loop {
            if let Some(status) = child.try_reap() {
                return status;
            }
            channel.wait_readable(Some(Duration::from_millis(10))).unwrap();
        }
    }

    #[test]
    fn child_gets_the_socket_and_its_exit_is_seen() {
        // `cat prober` fails because there is no such file; `false` has no standard path.
        let launcher = Launcher::new(ChildRole::Prober, Some(Path::new("/bin/cat"))).unwrap();
        let (mut child, mut channel) = launcher.spawn().unwrap();
        assert!(child.has_thread(child.pid()), "not reaped yet");
        assert_eq!(wait_for_exit(&mut child, &channel), ExitStatus::Exited(1));
        assert_eq!(channel.receive(&mut [0; 8]).unwrap(), 0, "the other end is closed");
        assert!(!child.has_thread(child.pid()));
        child.kill(); // no effect: it was reaped
    }

    #[test]
    fn failing_exec_has_its_own_exit_status() {
        let launcher = Launcher::new(ChildRole::Collector, Some(Path::new("/no/such/program"))).unwrap();
        let (mut child, channel) = launcher.spawn().unwrap();
        let status = wait_for_exit(&mut child, &channel);
        assert_eq!(status, ExitStatus::Exited(127));
        assert_eq!(status.to_string(), "the program could not be executed");
    }

    #[test]
    fn role_is_read_from_the_first_argument() {
        let role = |args: &[&str]| ChildRole::from_args(args.iter().map(OsString::from));
        for expected in ChildRole::ALL {
            assert_eq!(role(&["program", expected.name()]), Some(expected));
        }
        assert_eq!(role(&["prober"]), None);
        assert_eq!(role(&["program", "check", "prober"]), None);
    }
}
