//! The threads of a prober and what they share: the waiting questions, who asks which, and the answers that wait to
//! be sent. One lock guards it all; nobody holds it over a call that may hang. A thread takes one question at a
//! time, so that nothing waits behind a mount that hangs.

use super::ProbeId;
use super::wire::{self, Reply};
use platform::process::{self, MAX_PACKET};
use platform::{Call, Errno, ProbeOutcome, Target, probe};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Threads that stay when there is nothing to do. One is enough for healthy mounts; a few spare a start when some
/// are slow.
const KEEP: usize = 4;
/// One stuck thread takes about 37 KiB, most of it in the kernel: this is 75 MiB. More mounts than this that hang at
/// the same time are an outage in which the rest can wait.
const MAX_THREADS: usize = 2048;
/// The calls of a probe need little; the rest would be address space and page tables.
const STACK: usize = 64 * 1024;
/// Room for questions that stays when there are none.
const KEEP_ROOM: usize = 256;

/// The threads and what they share.
pub(super) struct Crew(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Signalled for each waiting question that an idle thread may take.
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(ProbeId, Target)>,
    /// One for each thread; `None` for a place left by one that ended.
    places: Vec<Option<Place>>,
    threads: usize,
    idle: usize,
    /// Answers so far.
    done: u64,
    /// A packet in the making, and a buffer for the next.
    replies: Vec<u8>,
    spare: Vec<u8>,
}

/// What a thread is doing.
struct Place {
    work: Option<(ProbeId, Instant)>,
    at: Arc<At>,
}

/// Where a thread is, told without the lock.
#[derive(Default)]
struct At {
    call: AtomicU8,
    tid: AtomicU32,
}

/// How the crew gets on.
pub(super) struct Progress {
    /// Answers so far.
    pub(super) done: u64,
    /// Questions that nobody has taken yet.
    pub(super) waiting: usize,
    /// Threads that are asking.
    pub(super) busy: usize,
}

/// What came of adding threads.
pub(super) enum Started {
    /// At least one was added or woken.
    Some,
    /// No one, for this reason.
    None(Errno),
}

impl Crew {
    pub(super) fn new() -> Crew {
        Crew(Arc::new(Shared { state: Mutex::default(), more: Condvar::new() }))
    }

    /// Queues questions and sees to it that somebody is there to take the first.
    pub(super) fn take_in(&self, probes: Vec<(ProbeId, Target)>) {
        let mut state = self.0.lock();
        state.waiting.extend(probes);
        let nobody = state.threads == 0;
        if state.idle > 0 {
            self.0.more.notify_one();
        }
        drop(state);
        if nobody {
            self.grow(1); // a failure shows at the next look
        }
    }

    /// Says of each of these what has become of it, unless it was answered.
    pub(super) fn confirm(&self, probes: &[ProbeId]) {
        let mut others: HashSet<ProbeId> = probes.iter().copied().collect();
        let mut state = self.0.lock();
        let mut replies = at_work(&state, &mut others);
        if !others.is_empty() {
            state.waiting.retain(|(probe, _)| {
                let asked = others.contains(probe);
                if asked {
                    replies.push(Reply::NotStarted(*probe));
                }
                !asked
            });
        }
        drop(state);
        self.reply(&replies);
    }

    /// Says at which of these a thread is.
    pub(super) fn locate(&self, probes: &[ProbeId]) {
        let mut wanted: HashSet<ProbeId> = probes.iter().copied().collect();
        let replies = at_work(&self.0.lock(), &mut wanted);
        self.reply(&replies);
    }

    /// Gives back all that waits: nobody can be found to ask it.
    pub(super) fn give_back(&self, why: Errno) {
        let mut replies = vec![Reply::ThreadsFailed(why)];
        replies.extend(self.0.lock().waiting.drain(..).map(|(probe, _)| Reply::NotStarted(probe)));
        self.reply(&replies);
    }

    /// Sends these at once, after what waits to be sent.
    pub(super) fn reply(&self, replies: &[Reply]) {
        let mut state = self.0.lock();
        for reply in replies {
            state = self.0.put(state, reply);
        }
        drop(self.0.flush(state));
    }

    /// Sends what waits to be sent.
    pub(super) fn flush(&self) {
        drop(self.0.flush(self.0.lock()));
    }

    /// Is there anything that the main thread has to look after?
    pub(super) fn has_open_ends(&self) -> bool {
        let state = self.0.lock();
        !state.waiting.is_empty() || !state.replies.is_empty()
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.0.lock();
        Progress { done: state.done, waiting: state.waiting.len(), busy: state.threads - state.idle }
    }

    /// Wakes idle threads, and adds what is missing, up to `number`.
    pub(super) fn grow(&self, number: usize) -> Started {
        let idle = self.0.lock().idle;
        for _ in 0..idle.min(number) {
            self.0.more.notify_one();
        }
        for added in idle..number {
            let reserved = self.0.lock().reserve(None);
            if let Err(errno) = reserved.and_then(|place| self.0.start(place, Shared::work)) {
                return if added == 0 { Started::None(errno) } else { Started::Some };
            }
        }
        Started::Some
    }

    /// Nothing waits any more: gives back the room that a rush has taken.
    pub(super) fn rest(&self) {
        self.0.lock().waiting.shrink_to(KEEP_ROOM);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // a panic ends the process anyway
    }

    /// The life of an ordinary thread: one question after the other.
    fn work(self: &Arc<Shared>, place: usize, at: &At) {
        let mut state = self.lock();
        loop {
            let Some((probe, target)) = state.waiting.pop_front() else {
                state = self.flush(state);
                if !state.waiting.is_empty() {
                    continue;
                }
                if state.idle >= KEEP {
                    state.leave(place);
                    return;
                }
                state.idle += 1;
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            match target.owner.filter(|&owner| !probe::is_current_user(owner)) {
                None => {
                    let began = Instant::now();
                    state.occupy(place, probe, began);
                    drop(state);
                    let outcome = probe::probe_mount(&target, |call| at.set_call(call));
                    let took = began.elapsed();
                    state = self.answer(place, probe, outcome, took);
                }
                Some(owner) => state = self.ask_apart(state, probe, target, owner),
            }
        }
    }

    /// Has a question asked by a thread of its own, which takes on the owner's identity and ends.
    fn ask_apart<'a>(
        self: &'a Arc<Shared>,
        mut state: MutexGuard<'_, State>,
        probe: ProbeId,
        target: Target,
        owner: (u32, u32),
    ) -> MutexGuard<'a, State> {
        let reserved = state.reserve(Some((probe, Instant::now())));
        drop(state);
        let started = reserved.and_then(|place| {
            self.start(place, move |shared, place, at| {
                let began = Instant::now();
                let outcome = probe::probe_as_owner(&target, owner, |call| at.set_call(call));
                let mut state = shared.answer(place, probe, outcome, began.elapsed());
                state.leave(place);
                if state.waiting.is_empty() {
                    drop(shared.flush(state));
                }
            })
        });
        let state = self.lock();
        match started {
            Ok(()) => state,
            Err(errno) => self.put(self.put(state, &Reply::ThreadsFailed(errno)), &Reply::NotStarted(probe)),
        }
    }

    /// Notes an answer; it is sent when the packet is full or nothing else is to be done.
    fn answer(
        &self,
        place: usize,
        probe: ProbeId,
        outcome: ProbeOutcome,
        took: Duration,
    ) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.done += 1;
        if let Some(Some(place)) = state.places.get_mut(place) {
            place.work = None;
        }
        self.put(state, &Reply::Answer { probe, outcome, took })
    }

    fn put<'a>(&'a self, mut state: MutexGuard<'a, State>, reply: &Reply) -> MutexGuard<'a, State> {
        if state.replies.len() + wire::MAX_REPLY > MAX_PACKET {
            state = self.flush(state);
        }
        wire::put_reply(&mut state.replies, reply);
        state
    }

    /// Sends the packet in the making, without the lock. Waits where the daemon does not read: there is no use in
    /// asking on then. It ends the process if the daemon is gone.
    fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.replies.is_empty() {
            return state;
        }
        let spare = std::mem::take(&mut state.spare);
        let mut packet = std::mem::replace(&mut state.replies, spare);
        drop(state);
        if process::answer(&packet).is_err() {
            process::exit_now(0);
        }
        packet.clear();
        let mut state = self.lock();
        state.spare = packet;
        state
    }

    /// Starts a thread for a reserved place.
    fn start(
        self: &Arc<Shared>,
        place: usize,
        life: impl FnOnce(&Arc<Shared>, usize, &At) + Send + 'static,
    ) -> Result<(), Errno> {
        let at = self.lock().places[place].as_ref().map(|place| Arc::clone(&place.at)).unwrap_or_default();
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("msm-probe".into()).stack_size(STACK);
        let started = thread.spawn(move || {
            at.tid.store(process::thread_id(), Ordering::Relaxed);
            life(&shared, place, &at);
        });
        started.map(drop).map_err(|error| {
            self.lock().leave(place);
            Errno::from_io(&error)
        })
    }
}

/// Those that a thread is at, which are then no longer among the wanted.
fn at_work(state: &State, wanted: &mut HashSet<ProbeId>) -> Vec<Reply> {
    let now = Instant::now();
    let stuck = state.places.iter().flatten().filter_map(|place| {
        let (probe, began) = place.work.filter(|(probe, _)| wanted.remove(probe))?;
        let tid = place.at.tid.load(Ordering::Relaxed);
        Some(Reply::Stuck { probe, call: place.at.call(), elapsed: now - began, tid })
    });
    stuck.collect()
}

impl State {
    /// A place for one more thread, which will do this first.
    fn reserve(&mut self, work: Option<(ProbeId, Instant)>) -> Result<usize, Errno> {
        if self.threads >= MAX_THREADS {
            return Err(Errno::EAGAIN);
        }
        self.threads += 1;
        let place = Some(Place { work, at: Arc::default() });
        if let Some(free) = self.places.iter().position(Option::is_none) {
            self.places[free] = place;
            return Ok(free);
        }
        self.places.push(place);
        Ok(self.places.len() - 1)
    }

    fn occupy(&mut self, place: usize, probe: ProbeId, began: Instant) {
        if let Some(Some(place)) = self.places.get_mut(place) {
            place.work = Some((probe, began));
        }
    }

    fn leave(&mut self, place: usize) {
        self.places[place] = None;
        self.threads -= 1;
    }
}

impl At {
    const CALLS: [Call; 3] = [Call::Identify, Call::Statx, Call::Statfs];

    fn set_call(&self, call: Call) {
        self.call.store(call as u8, Ordering::Relaxed);
    }

    fn call(&self) -> Call {
        Self::CALLS[usize::from(self.call.load(Ordering::Relaxed)).min(2)]
    }
}
