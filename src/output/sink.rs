//! A sink: one thread that writes messages, and a bounded queue before it. The thread may block for ever; nothing waits
//! for it. Messages that do not fit are dropped, counted, and reported when the sink accepts messages again.

use super::token_bucket::TokenBucket;
use crate::backoff::Backoff;
use crate::render::{Message, Priority};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Queued messages: the burst that the token bucket allows.
const MAX_QUEUED: usize = 10_000;
/// Memory of queued messages. Ordinary ones take less than 1 KiB; very long paths fill this before [`MAX_QUEUED`].
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Reports of dropped messages are messages themselves, so they are limited.
const DROP_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause after a failed write.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause: a collector that returns is found within a minute.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Where a sink's thread writes to. Both methods may block.
pub trait SinkWriter: Send + 'static {
    /// Called once, before the first message.
    fn open(&mut self) {}
    /// Writes one message.
    fn write(&mut self, message: &Message) -> Delivery;
}

/// The result of writing one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It is written.
    Done,
    /// It cannot be written, and another attempt would not help.
    Lost,
    /// It has to be written again after a pause.
    Retry,
}

/// A handle of a sink. Dropping it does not stop the thread.
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
    /// Messages dropped since the last one that was queued, and the time of the last of them.
    dropped: u64,
    dropped_at: SystemTime,
    bucket: TokenBucket,
    is_closing: bool,
    retry_now: bool,
    has_ended: bool,
    /// Messages were left unwritten at the end.
    has_given_up: bool,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    dropped_before: u64,
}

impl Sink {
    /// Starts the thread of a sink. `name` is its label in metrics.
    pub fn start(name: &'static str, writer: impl SinkWriter) -> io::Result<Sink> {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            dropped_at: SystemTime::UNIX_EPOCH,
            bucket: TokenBucket::full(),
            is_closing: false,
            retry_now: false,
            has_ended: false,
            has_given_up: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            dropped_total: AtomicU64::new(0),
            written_total: AtomicU64::new(0),
        });
        let worker = Worker { shared: Arc::clone(&shared), unreported_drops: 0, drops_reported_at: None };
        std::thread::Builder::new().name(format!("sink-{name}")).spawn(move || worker.run(writer))?;
        Ok(Sink { name, shared })
    }

    /// Queues a message; never blocks. It is dropped if the queue is full or there are too many messages.
    pub fn offer(&self, message: Arc<Message>) {
        let cost = message.cost();
        let mut state = self.shared.lock();
        let fits = state.queue.len() < MAX_QUEUED && state.bytes + cost <= MAX_QUEUED_BYTES;
        if fits && !state.has_ended && state.bucket.take(message.time) {
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

    /// Messages that were dropped or lost.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.shared.dropped_total.load(Ordering::Relaxed)
    }

    /// Messages that were written.
    #[must_use]
    pub fn written_total(&self) -> u64 {
        self.shared.written_total.load(Ordering::Relaxed)
    }

    /// Messages and bytes in the queue.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.queue.len(), state.bytes)
    }

    /// Ends a pause after a failure: the cause may be gone.
    pub fn retry_now(&self) {
        self.shared.lock().retry_now = true;
        self.shared.changed.notify_all();
    }

    /// Makes the thread write what is queued and end.
    pub fn finish(&self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
    }

    /// [`Sink::finish`], then waits for the end of the thread at most until the timeout. Returns whether everything was
    /// written.
    pub fn close(&self, timeout: Duration) -> bool {
        self.finish();
        let is_running = |state: &mut State| !state.has_ended;
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), timeout, is_running);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.has_ended && !state.has_given_up
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
    unreported_drops: u64,
    drops_reported_at: Option<Instant>,
}

impl Worker {
    fn run(mut self, mut writer: impl SinkWriter) {
        writer.open();
        let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
        while let Some(message) = self.next() {
            loop {
                match writer.write(&message) {
                    Delivery::Done => {
                        self.shared.written_total.fetch_add(1, Ordering::Relaxed);
                        backoff.reset();
                        break;
                    }
                    Delivery::Lost => {
                        self.shared.dropped_total.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Delivery::Retry if self.shared.lock().is_closing => return self.give_up(),
                    Delivery::Retry => {
                        if self.pause(backoff.next(Instant::now())) {
                            backoff.reset();
                        }
                    }
                }
            }
        }
    }

    /// Waits for the next message, which may be a report of dropped ones. None at the end.
    fn next(&mut self) -> Option<Arc<Message>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if let Some(mut entry) = state.queue.pop_front() {
                self.unreported_drops += std::mem::take(&mut entry.dropped_before);
                if self.unreported_drops > 0 && self.until_drop_report().is_zero() {
                    let report = self.drop_report(entry.message.time);
                    state.queue.push_front(entry);
                    return Some(report);
                }
                state.bytes -= entry.message.cost();
                return Some(entry.message);
            }
            self.unreported_drops += std::mem::take(&mut state.dropped);
            let wait = self.until_drop_report();
            if self.unreported_drops > 0 && (wait.is_zero() || state.is_closing) {
                return Some(self.drop_report(state.dropped_at));
            }
            if state.is_closing {
                return None;
            }
            state = if self.unreported_drops > 0 {
                shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            } else {
                shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Drops what is left when the sink is closed and cannot be written.
    fn give_up(&self) {
        let mut state = self.shared.lock();
        let left = state.queue.len() as u64 + 1;
        state.queue.clear();
        (state.bytes, state.has_given_up) = (0, true);
        self.shared.dropped_total.fetch_add(left, Ordering::Relaxed);
    }

    fn until_drop_report(&self) -> Duration {
        self.drops_reported_at.map_or(Duration::ZERO, |at| DROP_REPORT_INTERVAL.saturating_sub(at.elapsed()))
    }

    fn drop_report(&mut self, time: SystemTime) -> Arc<Message> {
        self.drops_reported_at = Some(Instant::now());
        let text = format!("{} messages were dropped", std::mem::take(&mut self.unreported_drops));
        Arc::new(Message { time, priority: Priority::Warning, text, event: None })
    }

    /// Waits, but not beyond [`Sink::finish`] and [`Sink::retry_now`]. Returns whether the latter was called.
    fn pause(&self, pause: Duration) -> bool {
        let may_wait = |state: &mut State| !state.is_closing && !state.retry_now;
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), pause, may_wait);
        std::mem::take(&mut waited.unwrap_or_else(PoisonError::into_inner).0.retry_now)
    }
}

/// Also when the thread panics, nothing waits for it any longer.
impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.changed.notify_all();
    }
}
