//! A sink: one thread that writes, and a bounded queue before it. The thread may block for ever; nobody else ever
//! waits for it. What does not fit is dropped, counted, and told as soon as the sink takes messages again.

use super::token_bucket::Rate;
use crate::render::{Message, Priority};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Messages that wait for one sink: a burst of the allowed rate fits.
const MAX_QUEUED: usize = 10_000;
/// Memory of the messages that wait for one sink. Ordinary messages take below 1 KiB; paths of the worst kind fill
/// this long before [`MAX_QUEUED`], and the daemon stays small.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Notes about dropped messages are themselves messages: not more than one in this time.
const NOTE_PAUSE: Duration = Duration::from_secs(1);
/// The first pause before a sink that failed is tried again …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … doubled up to this: a collector that returns is found within a minute.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Where a sink's thread writes to. Both calls may block.
pub trait Output: Send + 'static {
    /// Called once, before anything is to be written.
    fn open(&mut self) {}
    /// Writes one message.
    fn write(&mut self, message: &Message) -> Delivery;
}

/// What came of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It is written.
    Done,
    /// It cannot be written, and trying again would not help.
    Lost,
    /// Not now: keep it and try again after a pause.
    Later,
}

/// A handle to a sink. Dropping it leaves the thread alone.
#[derive(Clone, Debug)]
pub struct Sink {
    name: &'static str,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped_total: AtomicU64,
    written_total: AtomicU64,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Entry>,
    bytes: usize,
    /// Dropped since the last message that found its place.
    dropped: u64,
    dropped_at: SystemTime,
    rate: Rate,
    closing: bool,
    /// What failed may work by now: nobody waits for the end of a pause.
    hurry: bool,
    ended: bool,
    /// Something was left unwritten at the end.
    gave_up: bool,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    dropped_before: u64,
}

impl Sink {
    /// Starts the thread of a sink. `name` is its label in metrics.
    pub fn start(name: &'static str, output: impl Output) -> io::Result<Sink> {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            dropped_at: SystemTime::UNIX_EPOCH,
            rate: Rate::new(),
            closing: false,
            hurry: false,
            ended: false,
            gave_up: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            dropped_total: AtomicU64::new(0),
            written_total: AtomicU64::new(0),
        });
        let worker = Worker { shared: Arc::clone(&shared), owed: 0, noted: None };
        std::thread::Builder::new().name(format!("sink-{name}")).spawn(move || worker.run(output))?;
        Ok(Sink { name, shared })
    }

    /// Hands over a message; never blocks. A full queue or too many messages drop it.
    pub fn offer(&self, message: Arc<Message>) {
        let cost = message.cost();
        let mut state = self.shared.lock();
        let fits = state.queue.len() < MAX_QUEUED && state.bytes + cost <= MAX_QUEUED_BYTES;
        if fits && !state.ended && state.rate.admits(message.time) {
            state.bytes += cost;
            let dropped_before = std::mem::take(&mut state.dropped);
            state.queue.push_back(Entry { message, dropped_before });
        } else {
            state.dropped += 1;
            state.dropped_at = message.time;
            self.shared.dropped_total.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// The label of this sink in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Messages that nobody will ever read here.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.shared.dropped_total.load(Ordering::Relaxed)
    }

    /// Messages that were written.
    #[must_use]
    pub fn written_total(&self) -> u64 {
        self.shared.written_total.load(Ordering::Relaxed)
    }

    /// Messages and bytes that wait.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.queue.len(), state.bytes)
    }

    /// What failed may work by now: it is tried again at once, and not after a pause.
    pub fn hurry(&self) {
        self.shared.lock().hurry = true;
        self.shared.changed.notify_all();
    }

    /// Asks the thread to write what waits and to end.
    pub fn finish(&self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
    }

    /// [`Sink::finish`], then waits for the end, but not longer than `patience`. Was all written? If not, the thread
    /// is left behind.
    pub fn close(&self, patience: Duration) -> bool {
        self.finish();
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.ended && !state.gave_up
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's side.
struct Worker {
    shared: Arc<Shared>,
    /// Dropped, and not told yet.
    owed: u64,
    /// When that was last told.
    noted: Option<Instant>,
}

impl Worker {
    fn run(mut self, mut output: impl Output) {
        output.open();
        let mut pause = FIRST_RETRY;
        while let Some(message) = self.next() {
            loop {
                match output.write(&message) {
                    Delivery::Done => {
                        self.shared.written_total.fetch_add(1, Ordering::Relaxed);
                        pause = FIRST_RETRY;
                        break;
                    }
                    Delivery::Lost => {
                        self.shared.dropped_total.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Delivery::Later => {
                        if self.shared.lock().closing {
                            return self.give_up();
                        }
                        pause = if self.wait(pause) { FIRST_RETRY } else { (pause * 2).min(LAST_RETRY) };
                    }
                }
            }
        }
    }

    /// The next thing to write; waits for it. None at the end.
    fn next(&mut self) -> Option<Arc<Message>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if let Some(mut entry) = state.queue.pop_front() {
                self.owed += std::mem::take(&mut entry.dropped_before);
                if self.owed > 0 && self.pause_left().is_zero() {
                    let note = self.note(entry.message.time);
                    state.queue.push_front(entry);
                    return Some(note);
                }
                state.bytes -= entry.message.cost();
                return Some(entry.message);
            }
            self.owed += std::mem::take(&mut state.dropped);
            let left = self.pause_left();
            if self.owed > 0 && (left.is_zero() || state.closing) {
                return Some(self.note(state.dropped_at));
            }
            if state.closing {
                return None;
            }
            state = if self.owed > 0 {
                shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            } else {
                shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Asked to end, and it does not work: what is left stays unwritten.
    fn give_up(&self) {
        let mut state = self.shared.lock();
        let left = state.queue.len() as u64 + 1;
        state.queue.clear();
        (state.bytes, state.gave_up) = (0, true);
        self.shared.dropped_total.fetch_add(left, Ordering::Relaxed);
    }

    /// How long until dropped messages may be told again.
    fn pause_left(&self) -> Duration {
        self.noted.map_or(Duration::ZERO, |noted| NOTE_PAUSE.saturating_sub(noted.elapsed()))
    }

    fn note(&mut self, time: SystemTime) -> Arc<Message> {
        self.noted = Some(Instant::now());
        let text = format!("{} messages were dropped", std::mem::take(&mut self.owed));
        Arc::new(Message { time, priority: Priority::Warning, text, event: None })
    }

    /// Waits this long, or until the sink is to end or to hurry; is it to hurry?
    fn wait(&self, pause: Duration) -> bool {
        let may_wait = |state: &mut State| !state.closing && !state.hurry;
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), pause, may_wait);
        std::mem::take(&mut waited.unwrap_or_else(PoisonError::into_inner).0.hurry)
    }
}

/// However the thread ends, nobody waits for it any longer.
impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}
