//! The worker threads of a prober and their shared state: waiting probes, the probe of each thread, and replies to be
//! sent. One lock guards everything and is never held during a call that may hang. A thread takes one probe at a time,
//! so no probe waits behind a hung mount.

use super::ProbeId;
use super::running_time::RunningTime;
use super::wire::{self, Reply};
use crate::children::daemon_channel;
use platform::process::{self, MAX_PACKET};
use platform::{Call, Errno, ProbeOutcome, Target, probe};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of idle threads. One is enough for healthy mounts; a few save thread starts when some are slow.
const MAX_IDLE_THREADS: usize = 4;
/// Maximum number of threads. A stuck thread takes about 37 KiB, most of it in the kernel: 75 MiB for all. With more
/// hung mounts than this, the rest can wait.
const MAX_THREADS: usize = 2048;
/// Enough for the calls of a probe; more would waste address space and page tables.
const STACK_SIZE: usize = 64 * 1024;
/// Capacity of the queue that is kept while it is empty.
const MIN_QUEUE_CAPACITY: usize = 256;

pub(super) struct WorkerPool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Signalled for each waiting probe that an idle thread may take.
    work_available: Condvar,
}

struct State {
    running_time: RunningTime,
    waiting: VecDeque<WaitingProbe>,
    /// One slot for each thread; `None` after a thread has ended.
    slots: Vec<Option<WorkerSlot>>,
    threads: usize,
    idle: usize,
    /// Responses so far.
    done: u64,
    /// The next packet, and an empty buffer for the one after it.
    replies: Vec<u8>,
    spare: Vec<u8>,
}

/// A probe that no thread has taken.
struct WaitingProbe {
    probe: ProbeId,
    target: Target<PathInPacket>,
}

/// A path in a packet that its requests share: none needs an allocation of its own.
struct PathInPacket {
    packet: Arc<[u8]>,
    place: Range<usize>,
}

impl AsRef<OsStr> for PathInPacket {
    fn as_ref(&self) -> &OsStr {
        OsStr::from_bytes(&self.packet[self.place.clone()])
    }
}

struct WorkerSlot {
    work: Option<Work>,
    position: Arc<WorkerPosition>,
}

/// What a thread works on.
#[derive(Clone, Copy)]
struct Work {
    probe: ProbeId,
    since: Instant,
    /// The lost time by then.
    lost: Duration,
}

/// Where a thread is, written without the lock.
#[derive(Default)]
struct WorkerPosition {
    call: AtomicU8,
    tid: AtomicU32,
}

/// The thread that works on a probe, for how long, and its present call.
#[derive(Clone, Copy)]
pub(super) struct Position {
    pub(super) probe: ProbeId,
    pub(super) call: Call,
    pub(super) elapsed: Duration,
    /// 0 if the thread does not run yet.
    pub(super) tid: u32,
}

pub(super) struct Progress {
    /// Responses so far.
    pub(super) done: u64,
    /// Number of probes that no thread has taken.
    pub(super) waiting: usize,
    /// Number of threads that work on a probe.
    pub(super) busy: usize,
}

impl WorkerPool {
    pub(super) fn new() -> WorkerPool {
        let state = State {
            running_time: RunningTime::new(Instant::now()),
            waiting: VecDeque::new(),
            slots: Vec::new(),
            threads: 0,
            idle: 0,
            done: 0,
            replies: Vec::new(),
            spare: Vec::new(),
        };
        WorkerPool(Arc::new(Shared { state: Mutex::new(state), work_available: Condvar::new() }))
    }

    /// The main thread runs now. Returns whether a thread works on a probe.
    pub(super) fn beat(&self) -> bool {
        let mut state = self.0.lock();
        state.running_time.beat(Instant::now());
        state.threads > state.idle
    }

    /// Queues the probes that this packet requests, and makes sure that there is a thread to take the first.
    pub(super) fn enqueue(&self, packet: &[u8], probes: Vec<(ProbeId, Target<Range<usize>>)>) {
        let packet: Arc<[u8]> = packet.into();
        let mut state = self.0.lock();
        state.waiting.extend(probes.into_iter().map(|(probe, target)| {
            let path = PathInPacket { packet: Arc::clone(&packet), place: target.path.clone() };
            WaitingProbe { probe, target: target.with_path(path) }
        }));
        let has_no_thread = state.threads == 0;
        // A thread that works takes these too, and several would share what one processor has in its caches. If it is stuck,
        // the check of the progress adds others.
        if state.idle > 0 && state.idle == state.threads {
            self.0.work_available.notify_one();
        }
        drop(state);
        if has_no_thread {
            let _ = self.add_workers(1); // the next check of the progress reports a failure
        }
    }

    /// Replies with the state of each of these probes, unless its response was sent. Returns those that a thread works on.
    pub(super) fn confirm(&self, probes: &[ProbeId]) -> Vec<Position> {
        let mut others: HashSet<ProbeId> = probes.iter().copied().collect();
        let mut state = self.0.lock();
        let positions = state.take_positions(&mut others);
        let mut replies: Vec<Reply> =
            positions.iter().map(|position| Reply::Confirming(position.probe)).collect();
        if !others.is_empty() {
            state.waiting.retain(|WaitingProbe { probe, .. }| {
                let is_requested = others.contains(probe);
                if is_requested {
                    replies.push(Reply::NotStarted(*probe));
                }
                !is_requested
            });
        }
        drop(state);
        self.reply(&replies);
        positions
    }

    /// Replies with the thread of each of these probes.
    pub(super) fn locate(&self, probes: &[ProbeId]) {
        self.reply_about(probes, |Position { probe, tid, .. }| Some(Reply::Located { probe, tid }));
    }

    /// Sends the replies that are made from the positions of those of these probes that a thread works on.
    pub(super) fn reply_about(&self, probes: &[ProbeId], make_reply: impl FnMut(Position) -> Option<Reply>) {
        let mut wanted = probes.iter().copied().collect();
        let positions = self.0.lock().take_positions(&mut wanted);
        let replies: Vec<Reply> = positions.into_iter().filter_map(make_reply).collect();
        self.reply(&replies);
    }

    /// Rejects all waiting probes because no thread can be started.
    pub(super) fn reject_pending(&self, errno: Errno) {
        let mut replies = vec![Reply::ThreadsFailed(errno)];
        replies.extend(self.0.lock().waiting.drain(..).map(|waiting| Reply::NotStarted(waiting.probe)));
        self.reply(&replies);
    }

    /// Sends these replies at once, after those that wait to be sent.
    pub(super) fn reply(&self, replies: &[Reply]) {
        let mut state = self.0.lock();
        for reply in replies {
            state = self.0.queue_reply(state, reply);
        }
        drop(self.0.flush(state));
    }

    /// Sends the replies that wait for their packet to be full.
    pub(super) fn flush(&self) {
        drop(self.0.flush(self.0.lock()));
    }

    /// Whether there are waiting probes or unsent replies.
    pub(super) fn has_pending(&self) -> bool {
        let state = self.0.lock();
        !state.waiting.is_empty() || !state.replies.is_empty()
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.0.lock();
        Progress { done: state.done, waiting: state.waiting.len(), busy: state.threads - state.idle }
    }

    /// Puts `number` more threads to work, idle ones first. Fails if not even one could be woken or started.
    pub(super) fn add_workers(&self, number: usize) -> Result<(), Errno> {
        let idle = self.0.lock().idle;
        for _ in 0..idle.min(number) {
            self.0.work_available.notify_one();
        }
        for added in idle..number {
            let slot = self.0.lock().reserve_slot(None);
            if let Err(errno) = slot.and_then(|slot| self.0.start_thread(slot, Shared::work)) {
                return if added == 0 { Err(errno) } else { Ok(()) };
            }
        }
        Ok(())
    }

    /// Releases the memory of a long queue once it is empty.
    pub(super) fn shrink(&self) {
        self.0.lock().waiting.shrink_to(MIN_QUEUE_CAPACITY);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // a panic ends the process anyway
    }

    /// The body of an ordinary thread.
    fn work(self: &Arc<Shared>, slot: usize, position: &WorkerPosition) {
        let mut state = self.lock();
        // The end of one probe is the start of the next: one reading of the clock for each.
        let mut now = Instant::now();
        loop {
            let Some(WaitingProbe { probe, target }) = state.waiting.pop_front() else {
                state = self.flush(state);
                if state.waiting.is_empty() {
                    if state.idle >= MAX_IDLE_THREADS {
                        state.release_slot(slot);
                        return;
                    }
                    state.idle += 1;
                    state = self.work_available.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
                now = Instant::now();
                continue;
            };
            let work = state.begin(probe, now);
            if probe::needs_own_thread(&target) {
                state = self.run_in_own_thread(state, work, target);
                now = Instant::now();
                continue;
            }
            state.set_work(slot, Some(work));
            drop(state);
            let outcome = probe::probe_mount(&target, |call| position.set_call(call));
            now = Instant::now();
            state = self.finish(slot, work, outcome, now);
            if state.is_packet_full() {
                state = self.flush(state);
                now = Instant::now();
            }
        }
    }

    /// Runs a probe in a new thread, which takes another identity and ends after the probe.
    fn run_in_own_thread<'a>(
        self: &'a Arc<Shared>,
        mut state: MutexGuard<'_, State>,
        work: Work,
        target: Target<PathInPacket>,
    ) -> MutexGuard<'a, State> {
        let slot = state.reserve_slot(Some(work));
        drop(state);
        let result = slot.and_then(|slot| {
            self.start_thread(slot, move |shared, slot, position| {
                let since = Instant::now();
                let outcome = probe::probe_in_own_thread(&target, |call| position.set_call(call));
                let mut state = shared.finish(slot, Work { since, ..work }, outcome, Instant::now());
                state.release_slot(slot);
                if state.waiting.is_empty() || state.is_packet_full() {
                    drop(shared.flush(state));
                }
            })
        });
        let state = self.lock();
        match result {
            Ok(()) => state,
            Err(errno) => {
                let state = self.queue_reply(state, &Reply::ThreadsFailed(errno));
                self.queue_reply(state, &Reply::NotStarted(work.probe))
            }
        }
    }

    /// Queues the response of a probe. The caller sends the packet if it is full.
    fn finish(
        &self,
        slot: usize,
        work: Work,
        outcome: ProbeOutcome,
        ended_at: Instant,
    ) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.done += 1;
        state.set_work(slot, None);
        let took = state.elapsed(&work, ended_at);
        wire::encode_reply(&mut state.replies, &Reply::Response { probe: work.probe, outcome, took });
        state
    }

    /// Queues a reply, which is sent when the packet is full or no probe waits.
    fn queue_reply<'a>(&'a self, mut state: MutexGuard<'a, State>, reply: &Reply) -> MutexGuard<'a, State> {
        wire::encode_reply(&mut state.replies, reply);
        if state.is_packet_full() { self.flush(state) } else { state }
    }

    /// Sends the queued replies without the lock. Blocks while the daemon does not read: more probes would be useless.
    fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.replies.is_empty() {
            return state;
        }
        let spare = std::mem::take(&mut state.spare);
        let mut packet = std::mem::replace(&mut state.replies, spare);
        drop(state);
        daemon_channel::send(&packet);
        packet.clear();
        let mut state = self.lock();
        state.spare = packet;
        state
    }

    /// Starts the thread of a reserved slot.
    fn start_thread(
        self: &Arc<Shared>,
        slot: usize,
        body: impl FnOnce(&Arc<Shared>, usize, &WorkerPosition) + Send + 'static,
    ) -> Result<(), Errno> {
        let reserved = self.lock().slots[slot].as_ref().map(|reserved| Arc::clone(&reserved.position));
        let position = reserved.unwrap_or_default();
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("msm-probe".into()).stack_size(STACK_SIZE);
        let started = thread.spawn(move || {
            position.tid.store(process::thread_id(), Ordering::Relaxed);
            body(&shared, slot, &position);
        });
        started.map(drop).map_err(|error| {
            self.lock().release_slot(slot);
            Errno::from_io(&error)
        })
    }
}

impl State {
    fn begin(&self, probe: ProbeId, since: Instant) -> Work {
        Work { probe, since, lost: self.running_time.lost_by(since) }
    }

    /// Whether the next packet has no room for one more reply. It is sent before the lock is released.
    fn is_packet_full(&self) -> bool {
        self.replies.len() + wire::MAX_REPLY > MAX_PACKET
    }

    /// How long this process has run since the thread began with this.
    fn elapsed(&self, work: &Work, now: Instant) -> Duration {
        let lost = self.running_time.lost_by(now).saturating_sub(work.lost);
        now.saturating_duration_since(work.since).saturating_sub(lost)
    }

    /// Reserves a slot for one more thread, which will work on this first.
    fn reserve_slot(&mut self, work: Option<Work>) -> Result<usize, Errno> {
        if self.threads >= MAX_THREADS {
            return Err(Errno::EAGAIN);
        }
        self.threads += 1;
        let slot = Some(WorkerSlot { work, position: Arc::default() });
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = slot;
            return Ok(free);
        }
        self.slots.push(slot);
        Ok(self.slots.len() - 1)
    }

    fn set_work(&mut self, slot: usize, work: Option<Work>) {
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            slot.work = work;
        }
    }

    fn release_slot(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.threads -= 1;
    }

    /// The positions of the wanted probes that a thread works on, which are removed from `wanted`.
    fn take_positions(&self, wanted: &mut HashSet<ProbeId>) -> Vec<Position> {
        let now = Instant::now();
        let positions = self.slots.iter().flatten().filter_map(|slot| {
            let work = slot.work.filter(|work| wanted.remove(&work.probe))?;
            let (probe, elapsed) = (work.probe, self.elapsed(&work, now));
            let tid = slot.position.tid.load(Ordering::Relaxed);
            Some(Position { probe, call: slot.position.call(), elapsed, tid })
        });
        positions.collect()
    }
}

impl WorkerPosition {
    fn set_call(&self, call: Call) {
        self.call.store(call as u8, Ordering::Relaxed);
    }

    fn call(&self) -> Call {
        let index = usize::from(self.call.load(Ordering::Relaxed));
        Call::ALL.get(index).copied().unwrap_or(Call::Statfs)
    }
}
