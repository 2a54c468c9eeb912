//! The daemon's end of a child: lists and descriptors are sent and received until a deadline; children that cannot be
//! killed are left behind.

use super::fields::{CHANGED, LAST, MAX_BYTES, packets};
use super::request::{Reply, Request, decode_result};
use platform::process::{
    Channel, Child, ChildRole, Launcher, MAX_PACKET, receive_descriptor, send_descriptor, wait_writable,
};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum number of children that are left behind, over all uses: each is a process that waits for dead storage.
const MAX_LEFT_BEHIND: usize = 32;
/// A killed child that can be killed is gone within this time.
const KILL_TIMEOUT: Duration = Duration::from_millis(50);
/// Interval between checks whether a killed child is gone.
const REAP_INTERVAL: Duration = Duration::from_millis(1);

/// Starts the children; unset, operations are executed in place.
static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
/// A child has answered.
static HAVE_WORKED: AtomicBool = AtomicBool::new(false);
/// Killed children that are not gone yet, each with its number.
static LEFT_BEHIND: Mutex<Vec<(LeftBehind, Child)>> = Mutex::new(Vec::new());
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The number of a child that was left behind. It never refers to another child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeftBehind(u64);

/// Makes children execute all operations of this process from now on. Without this call, in tests of this library,
/// operations are executed in place: a test binary cannot be started as a child.
///
/// # Errors
/// Those of [`Launcher::new`].
pub fn use_children() -> io::Result<()> {
    let launcher = Launcher::new(ChildRole::Files, None)?;
    let _ = LAUNCHER.set(launcher); // a second call changes nothing
    Ok(())
}

/// Whether children can be started: at least one has answered. Before the launcher exists, they cannot if the program was
/// started by the dynamic loader (`ld.so PROGRAM`), which is then what would be executed.
pub(super) fn have_worked() -> bool {
    HAVE_WORKED.load(Ordering::Relaxed)
}

pub(super) fn uses_children() -> bool {
    LAUNCHER.get().is_some()
}

/// Number of children that wait for storage and cannot be killed.
#[must_use]
pub fn left_behind() -> usize {
    reap_left_behind().len()
}

fn reap_left_behind() -> MutexGuard<'static, Vec<(LeftBehind, Child)>> {
    let mut left_behind = LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner);
    left_behind.retain_mut(|(_, child)| child.try_reap().is_none());
    left_behind
}

/// Whether a child that was left behind still exists.
pub(super) fn is_left_behind(number: LeftBehind) -> bool {
    reap_left_behind().iter().any(|(other, _)| *other == number)
}

/// The error at the deadline.
pub(super) fn no_answer(timeout: Duration) -> io::Error {
    let text = format!("no answer from its storage in {}s", timeout.as_secs_f64());
    io::Error::new(ErrorKind::TimedOut, text)
}

/// The error while an earlier child is left behind.
pub(super) fn still_no_answer() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "its storage still does not answer an earlier request")
}

pub(super) struct Helper {
    child: Option<Child>,
    channel: Channel,
    buffer: Vec<u8>,
    has_changed: bool,
}

impl Helper {
    pub(super) fn start() -> io::Result<Helper> {
        let launcher = LAUNCHER.get().ok_or(ErrorKind::Unsupported)?;
        if reap_left_behind().len() >= MAX_LEFT_BEHIND {
            return Err(io::Error::other("too many processes wait for storage that does not answer"));
        }
        let (child, channel) = launcher.spawn()?;
        Ok(Helper { child: Some(child), channel, buffer: vec![0; MAX_PACKET], has_changed: false })
    }

    /// Executes a request. After an error of the channel or at the deadline the child cannot be used again.
    pub(super) fn call(
        &mut self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> io::Result<Reply> {
        self.send(request, descriptors, deadline)?;
        self.receive_result(deadline)
    }

    pub(super) fn send(
        &mut self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> io::Result<()> {
        for packet in packets(&request.encode()) {
            self.retry(deadline, |channel| channel.send(&packet), wait_writable)?;
        }
        self.retry(deadline, Channel::flush, wait_writable)?;
        for descriptor in descriptors {
            self.retry(deadline, |channel| send_descriptor(channel, *descriptor), wait_writable)?;
        }
        Ok(())
    }

    pub(super) fn receive_result(&mut self, deadline: Instant) -> io::Result<Reply> {
        let mut packed = Vec::new();
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received =
                self.retry(deadline, |channel| channel.receive(&mut buffer), Channel::wait_readable);
            self.buffer = buffer;
            match self.buffer.get(..received?) {
                None | Some([]) => {
                    let text = "the process that executes this has ended";
                    return Err(io::Error::new(ErrorKind::BrokenPipe, text));
                }
                Some([CHANGED, ..]) => self.has_changed = true,
                Some([mark, part @ ..]) => {
                    packed.extend_from_slice(part);
                    if packed.len() > MAX_BYTES {
                        return Err(ErrorKind::InvalidData.into());
                    }
                    if *mark == LAST {
                        break;
                    }
                }
            }
        }
        HAVE_WORKED.store(true, Ordering::Relaxed);
        let (mut reply, has_descriptor) = decode_result(&packed)?;
        if has_descriptor {
            reply.descriptor = Some(self.receive_descriptor(deadline)?);
        }
        Ok(reply)
    }

    fn receive_descriptor(&mut self, deadline: Instant) -> io::Result<OwnedFd> {
        self.retry(deadline, |channel| receive_descriptor(channel), Channel::wait_readable)
    }

    fn retry<T>(
        &mut self,
        deadline: Instant,
        mut attempt: impl FnMut(&mut Channel) -> io::Result<T>,
        wait: impl Fn(&Channel, Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<T> {
        loop {
            match attempt(&mut self.channel) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    wait(&self.channel, Some(left))?;
                }
                result => return result,
            }
        }
    }

    /// Whether a watched file has changed since the last call. Never waits.
    ///
    /// # Errors
    /// The child has ended.
    pub(super) fn take_changed(&mut self) -> io::Result<bool> {
        loop {
            match self.channel.receive(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.has_changed = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(std::mem::take(&mut self.has_changed));
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.channel.as_raw_fd()
    }

    /// Waits until the child has ended by itself, at most until the deadline.
    pub(super) fn wait_for_end(&mut self, deadline: Instant) {
        let _ = self.receive_result(deadline); // its result does not matter
    }

    /// Kills the child. Returns its number if it is left behind.
    pub(super) fn end(mut self) -> Option<LeftBehind> {
        self.kill()
    }

    fn kill(&mut self) -> Option<LeftBehind> {
        let mut child = self.child.take()?;
        child.kill();
        let deadline = Instant::now() + KILL_TIMEOUT;
        while child.try_reap().is_none() {
            if Instant::now() >= deadline {
                let number = LeftBehind(NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
                reap_left_behind().push((number, child));
                return Some(number);
            }
            thread::park_timeout(REAP_INTERVAL);
        }
        None
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
    }
}
