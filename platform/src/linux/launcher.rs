//! The launcher: a small process that starts the children of the daemon without exec, so that the storage of the program
//! is not needed. It is forked from the daemon while that has a single thread, and has nothing but a channel.
//!
//! The daemon sends it requests and never waits for it: a request names a slot of a shared memory, where the kernel
//! stores the process id of the child before the child runs (`CLONE_PARENT_SETTID`). The children are children of the
//! daemon (`CLONE_PARENT`), which reaps them, and outlive the launcher.

use super::process::init_child;
use super::residency::{memory_file, run_from_memory};
use crate::Errno;
use crate::process::child::{Child, ExitStatus, Progress};
use crate::process::spawn::{EXTRA_FD, detach, open_null, spawn};
use crate::process::{ChildRole, exit_now};
use nix::errno::Errno as NixErrno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::unistd::{ForkResult, Pid};
use std::ffi::{CStr, c_long};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Far more than the children that exist at the same time. Without a free slot, children are started by exec.
const SLOTS: usize = 256;
const SLOTS_SIZE: NonZeroUsize = NonZeroUsize::new(SLOTS * size_of::<AtomicU32>()).unwrap();
/// The first slot says whether the launcher accepts requests.
const READY: usize = 0;

// The states of the other slots; every other value is a process id.
/// The launcher has not seen the request.
const REQUESTED: u32 = 0;
/// The launcher is starting the child. (1 is the process id of init, which is no child of the daemon.)
const STARTING: u32 = 1;
/// The daemon does not want the child any more.
const CANCELLED: u32 = u32::MAX;
/// The launcher has seen that. Until then the slot stays taken: the launcher would take its next request for this one.
const DISCARDED: u32 = u32::MAX - 1;
/// The child could not be started; the lower bits are the error number. Process ids are lower (`PID_MAX_LIMIT`).
const REFUSED: u32 = 1 << 31;

/// What a child runs: never returns.
type Run = fn(ChildRole) -> !;

/// The second takes over when the first ends, also while no program can be executed, and starts another second.
const LAUNCHERS: usize = 2;

/// The launchers of this process. They belong to the whole process, as its program text does: every part that starts
/// children uses the first that is ready.
static CURRENT: Mutex<Vec<Launcher>> = Mutex::new(Vec::new());
static NEXT_REQUEST: AtomicU64 = AtomicU64::new(0);

fn current() -> MutexGuard<'static, Vec<Launcher>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Launcher {
    process: Child,
    channel: OwnedFd,
    requests: Arc<Requests>,
    is_killed: bool,
}

impl Launcher {
    fn new(process: Child, channel: OwnedFd, slots: Slots) -> Launcher {
        let table = Table { used: [None; SLOTS], has_ended: false };
        let requests = Arc::new(Requests { slots, table: Mutex::new(table) });
        Launcher { process, channel, requests, is_killed: false }
    }

    fn is_ready(&self) -> bool {
        !self.is_killed && self.requests.slots.get(READY).load(Ordering::Acquire) != 0
    }

    /// Asks it for a child with these descriptors: its end of the channel, and perhaps [`EXTRA_FD`]. Never waits. `None`
    /// if it accepts no request now.
    fn request(
        &self,
        role: ChildRole,
        channel: BorrowedFd<'_>,
        extra: Option<BorrowedFd<'_>>,
    ) -> Option<RequestedChild> {
        let mut table = self.requests.table();
        let slot = (READY + 1..SLOTS).find(|slot| table.used[*slot].is_none())?;
        self.requests.slots.get(slot).store(REQUESTED, Ordering::Release);
        let packet =
            [u32::try_from(slot).ok()?.to_ne_bytes(), u32::from(role.number()).to_ne_bytes()].concat();
        let fds: Vec<RawFd> = std::iter::once(channel).chain(extra).map(|fd| fd.as_raw_fd()).collect();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(self.channel.as_raw_fd(), &[IoSlice::new(&packet)], &rights, flags, None).ok()?;
        table.used[slot] = Some(NEXT_REQUEST.fetch_add(1, Ordering::Relaxed));
        Some(RequestedChild { requests: Arc::clone(&self.requests), slot })
    }

    /// The number of its oldest request without an answer.
    fn oldest_request(&self) -> Option<u64> {
        let table = self.requests.table();
        let is_waiting = |(slot, request): (usize, &Option<u64>)| {
            let state = self.requests.slots.get(slot).load(Ordering::Acquire);
            request.filter(|_| matches!(state, REQUESTED | STARTING))
        };
        table.used.iter().enumerate().filter_map(is_waiting).min()
    }
}

/// The requests to one launcher, shared with it.
#[derive(Debug)]
struct Requests {
    slots: Slots,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    /// The numbers of the requests whose children still exist, by slot.
    used: [Option<u64>; SLOTS],
    /// The launcher has ended: no slot changes any more.
    has_ended: bool,
}

impl Requests {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child that the launcher was asked to start.
#[derive(Debug)]
pub(crate) struct RequestedChild {
    requests: Arc<Requests>,
    slot: usize,
}

impl RequestedChild {
    pub(crate) fn progress(&self) -> Progress {
        // Read before the slot: afterwards the slot does not change.
        let has_ended = self.requests.table().has_ended;
        match self.requests.slots.get(self.slot).load(Ordering::Acquire) {
            REQUESTED | STARTING if has_ended => Progress::NotStarted(ExitStatus::LauncherEnded),
            REQUESTED | STARTING => Progress::Waiting,
            CANCELLED | DISCARDED => Progress::NotStarted(ExitStatus::Unknown),
            refused if refused & REFUSED != 0 => {
                Progress::NotStarted(ExitStatus::NotStarted(Errno((refused & !REFUSED).cast_signed())))
            }
            pid => Progress::Started(Pid::from_raw(pid.cast_signed())),
        }
    }

    /// Withdraws a request that the launcher has not seen.
    pub(crate) fn cancel(&self) {
        let slot = self.requests.slots.get(self.slot);
        let _ = slot.compare_exchange(REQUESTED, CANCELLED, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Drop for RequestedChild {
    fn drop(&mut self) {
        // A slot that the launcher may still write to stays taken.
        let state = |slot: usize| self.requests.slots.get(slot).load(Ordering::Acquire);
        let is_seen = !matches!(state(self.slot), REQUESTED | STARTING | CANCELLED);
        let mut table = self.requests.table();
        let has_ended = table.has_ended;
        for (slot, used) in table.used.iter_mut().enumerate() {
            if slot == self.slot && (is_seen || has_ended) || used.is_some() && state(slot) == DISCARDED {
                *used = None;
            }
        }
    }
}

/// Starts the first launcher of this process. Its children run `run`.
///
/// # Errors
/// Those of `socketpair(2)`, `memfd_create(2)`, `mmap(2)`, `fork(2)`.
pub fn start(run: Run) -> io::Result<()> {
    let (channel, theirs) = channel()?;
    let (slots, memory) = Slots::new()?;
    slots.get(READY).store(1, Ordering::Release); // it runs from memory already: requests may wait for it
    let null = open_null()?;
    let standard = [theirs.as_raw_fd(), null.as_raw_fd(), null.as_raw_fd()];
    // SAFETY: the caller has no other thread (its memory was moved), so the child may do everything.
    let process = match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => {
            // SAFETY: this is the child of a fork; it uses only the descriptors that it passes.
            unsafe { detach(standard, Some(memory.as_raw_fd())) };
            show_role(ChildRole::Launcher);
            run(ChildRole::Launcher)
        }
        ForkResult::Parent { child } => Child::new(child),
    };
    current().push(Launcher::new(process, channel, slots));
    Ok(())
}

/// Starts the launchers that are missing: by one that is ready, else from the file of the program. A launcher from the
/// file is used as soon as it runs from memory; if the storage of the program hangs, that is never.
///
/// # Errors
/// Those of [`start`].
pub fn complete() -> io::Result<()> {
    let mut current = current();
    while current.iter().filter(|it| !it.is_killed).count() < LAUNCHERS {
        let (channel, theirs) = channel()?;
        let (slots, memory) = Slots::new()?;
        let ready = current.iter().find(|it| it.is_ready());
        let role = ChildRole::Launcher;
        let process = match ready.and_then(|it| it.request(role, theirs.as_fd(), Some(memory.as_fd()))) {
            Some(child) => Child::requested(child),
            None => {
                let null = open_null()?;
                let standard = [theirs.as_fd(), null.as_fd(), null.as_fd()];
                let program = super::process::own_program()?;
                Child::new(spawn(&program, &role.command_line(), &[], standard, Some(memory.as_fd()))?)
            }
        };
        current.push(Launcher::new(process, channel, slots));
    }
    Ok(())
}

fn channel() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Asks a launcher for a child of this role with these descriptors: its end of the channel, and perhaps [`EXTRA_FD`].
/// Never waits. `None` if no launcher accepts requests now.
pub(crate) fn request(
    role: ChildRole,
    channel: BorrowedFd<'_>,
    extra: Option<BorrowedFd<'_>>,
) -> Option<RequestedChild> {
    current().iter().find(|it| it.is_ready())?.request(role, channel, extra)
}

/// The number of the oldest request to a launcher that has not answered it and was not killed. Numbers increase.
#[must_use]
pub fn oldest_request() -> Option<u64> {
    current().iter().filter(|it| !it.is_killed).filter_map(Launcher::oldest_request).min()
}

/// Kills the launcher that got this request, and sends it no more. Its children go on.
pub fn kill(request: u64) {
    let mut current = current();
    if let Some(launcher) = current.iter_mut().find(|it| it.requests.table().used.contains(&Some(request))) {
        launcher.is_killed = true;
        launcher.process.kill();
    }
}

/// How a launcher ended, once for each, and whether another one is ready.
#[must_use]
pub fn try_reap() -> Option<(ExitStatus, bool)> {
    let mut current = current();
    let statuses = current.iter_mut().map(|launcher| launcher.process.try_reap());
    let (index, status) = statuses.enumerate().find_map(|(index, status)| Some((index, status?)))?;
    current.remove(index).requests.table().has_ended = true;
    Some((status, current.iter().any(Launcher::is_ready)))
}

/// The launcher process. Ends when the daemon has closed its end of the channel.
pub fn serve(run: Run) -> ! {
    init_child(ChildRole::Launcher.thread_name());
    // SAFETY: `start` and `complete` passed these descriptors, and nothing else here owns them.
    let (channel, memory) =
        unsafe { (OwnedFd::from_raw_fd(libc::STDIN_FILENO), OwnedFd::from_raw_fd(EXTRA_FD)) };
    let slots = Slots::map(&memory);
    let (Ok(slots), Ok(())) = (slots, run_from_memory()) else { exit_now(ExitStatus::LAUNCHER_FAILED) };
    // A service manager that stops all processes sends these: the daemon ends its launcher itself.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    slots.get(READY).store(1, Ordering::Release);
    loop {
        match receive_request(channel.as_fd()) {
            Ok(Some((slot, role, fds))) => slots.start_child(slot, role, &fds, run),
            Ok(None) => exit_now(0),
            Err(NixErrno::EINTR) => {}
            Err(_) => exit_now(ExitStatus::LAUNCHER_FAILED),
        }
    }
}

/// The slot, the role and the descriptors of a request; `None` when the daemon has closed its end.
fn receive_request(channel: BorrowedFd<'_>) -> nix::Result<Option<(usize, ChildRole, Vec<OwnedFd>)>> {
    let mut packet = [[0; 4]; 2];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let (length, fds) = {
        let mut buffer = [IoSliceMut::new(packet.as_flattened_mut())];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(channel.as_raw_fd(), &mut buffer, Some(&mut space), flags)?;
        let mut fds = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(rights) = message {
                // SAFETY: the kernel has just made these descriptors for this process.
                fds.extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (received.bytes, fds)
    };
    if length == 0 {
        return Ok(None);
    }
    let [slot, role] = packet.map(u32::from_ne_bytes);
    let role = u8::try_from(role).ok().and_then(ChildRole::from_number).ok_or(NixErrno::EPROTO)?;
    Ok(Some((slot as usize, role, fds)))
}

/// The page that the daemon and its launcher share.
#[derive(Debug)]
struct Slots(NonNull<AtomicU32>);

// SAFETY: atomic numbers, which live as long as this value.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    fn new() -> io::Result<(Slots, OwnedFd)> {
        let memory = memory_file(c"msm-launcher")?;
        nix::unistd::ftruncate(&memory, SLOTS_SIZE.get() as i64)?;
        Ok((Slots::map(&memory)?, memory))
    }

    fn map(memory: &OwnedFd) -> nix::Result<Slots> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of a file that keeps its size.
        let mapped = unsafe { mmap(None, SLOTS_SIZE, protection, MapFlags::MAP_SHARED, memory, 0) }?;
        // The children cannot change it.
        // SAFETY: they do not use it.
        unsafe { madvise(mapped, SLOTS_SIZE.get(), MmapAdvise::MADV_DONTFORK) }?;
        Ok(Slots(mapped.cast()))
    }

    fn get(&self, slot: usize) -> &AtomicU32 {
        assert!(slot < SLOTS);
        // SAFETY: within the mapping, whose bytes are valid atomic numbers.
        unsafe { self.0.add(slot).as_ref() }
    }

    fn start_child(&self, slot: usize, role: ChildRole, fds: &[OwnedFd], run: Run) {
        let Some(slot) = Some(slot).filter(|slot| *slot < SLOTS).map(|slot| self.get(slot)) else { return };
        if slot.compare_exchange(REQUESTED, STARTING, Ordering::AcqRel, Ordering::Acquire).is_err() {
            let _ = slot.compare_exchange(CANCELLED, DISCARDED, Ordering::AcqRel, Ordering::Acquire);
            return;
        }
        let [channel, extra @ ..] = fds else {
            return slot.store(REFUSED | libc::EBADF as u32, Ordering::Release);
        };
        match clone_for_parent(slot) {
            Ok(0) => {
                let standard = [channel.as_raw_fd(), libc::STDOUT_FILENO, libc::STDERR_FILENO];
                // SAFETY: this is the child of a fork; it uses only the descriptors that it passes.
                unsafe { detach(standard, extra.first().map(AsRawFd::as_raw_fd)) };
                show_role(role);
                run(role)
            }
            Ok(_) => {} // the kernel has stored the process id
            Err(errno) => {
                if !matches!(errno, NixErrno::EAGAIN | NixErrno::ENOMEM) {
                    self.get(READY).store(0, Ordering::Release); // it will never work: a sandbox refuses it
                }
                slot.store(REFUSED | (errno as i32).cast_unsigned(), Ordering::Release);
            }
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; no reference to it is left.
        let _ = unsafe { munmap(self.0.cast(), SLOTS_SIZE.get()) };
    }
}

/// Forks a child of this process's parent. The kernel stores its process id before it runs.
fn clone_for_parent(pid: &AtomicU32) -> nix::Result<c_long> {
    let flags = c_long::from(libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID | libc::SIGCHLD);
    let none: *mut u32 = std::ptr::null_mut();
    // libc's `fork` cannot do this. What it does beside the system call is for processes with threads; the launcher has
    // none. (In the child the C library has a wrong cached thread id of the main thread, which it uses only to recognize
    // its own locks.)
    // SAFETY: as fork(2): the child has its own memory and goes on with the same stack.
    NixErrno::result(unsafe {
        #[cfg(target_arch = "s390x")]
        let result = libc::syscall(libc::SYS_clone, none, flags, pid.as_ptr(), none, none);
        #[cfg(not(target_arch = "s390x"))]
        let result = libc::syscall(libc::SYS_clone, flags, none, pid.as_ptr(), none, none);
        result
    })
}

/// Shows the role in process lists instead of the daemon's command line, and removes the daemon's environment.
fn show_role(role: ChildRole) {
    let Some([arguments, arguments_end, environment, environment_end]) = command_line_area() else { return };
    // SAFETY: this process has one thread, and nothing keeps pointers to the variables.
    unsafe { libc::clearenv() };
    let size = arguments_end - arguments;
    let end = if environment == arguments_end { environment_end } else { arguments_end };
    let line = role.command_line().map(CStr::to_bytes);
    // A line that is longer than the old one is one text for the kernel: it ends with the first NUL (proc(5)).
    let separator = if line.iter().map(|word| word.len() + 1).sum::<usize>() <= size { 0 } else { b' ' };
    let mut text = line.join(&separator);
    text.push(0);
    if text.len() <= end - arguments {
        text.resize(end - arguments, 0);
        // SAFETY: the memory where the kernel stored the arguments and variables. Nothing reads them in this process
        // after this: the command line belongs to the daemon, and the environment was cleared.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), arguments as *mut u8, text.len()) };
    }
}

/// Where the kernel stored the arguments and the variables: `arg_start`, `arg_end`, `env_start`, `env_end` of proc(5).
fn command_line_area() -> Option<[usize; 4]> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let found: Vec<usize> = fields.skip(45).take(4).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let area: [usize; 4] = found.try_into().ok()?;
    (area[0] != 0 && area[0] < area[1] && area[2] <= area[3]).then_some(area)
}
