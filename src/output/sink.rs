//! A sink: a bounded queue and a thread that writes its messages. The thread may block forever; nothing waits for it.
//! Messages that do not fit, the least important first, are dropped, counted, and reported when the sink accepts messages
//! again.

use super::drill::{Outcome, Receipt};
use super::lock;
use super::ranked_queue::{Limits, Rank, RankedQueue};
use super::saved_state::Records;
use super::token_bucket::TokenBucket;
use crate::backoff::Backoff;
use crate::render::{Message, Priority};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Maximum number of queued messages: the burst that the token bucket allows.
const MAX_QUEUED: usize = 10_000;
/// Maximum memory of queued messages. Ordinary ones take less than 1 KiB; with very long paths this limit is reached
/// before [`MAX_QUEUED`].
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Memory reserved for a report of dropped messages.
const MAX_REPORT_COST: usize = 1 << 10;
/// Minimum interval between reports of dropped messages, because these are messages themselves.
const DROP_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The most messages at once: one for every mount of a machine with ten thousand that appear together, and [`VITAL`]
/// more.
const BURST: f64 = 14_000.0;
/// Of them, kept for deaths and recoveries.
const VITAL: f64 = 4_000.0;
/// Messages per second in the long run: more than an operator or log collector follows, and 100 lines of 200 bytes are
/// less than 2 GiB a day.
const PER_SECOND: f64 = 100.0;
/// The first pause after a failed write.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause: a collector that works again receives messages within a minute.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// The destination of a sink. Both methods run in the sink's thread and may block.
pub trait SinkWriter: Send + 'static {
    /// Called once, before the first message.
    fn open(&mut self) {}
    /// Writes one message.
    fn write(&mut self, message: &Message) -> Delivery;
    /// What was wrong with the last write, for drills.
    fn take_problem(&mut self) -> Option<Outcome> {
        None
    }
    /// The message of the last write, which must be written again, is given up instead.
    fn abandon(&mut self) {}
}

/// The result of writing one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The message was written.
    Done,
    /// The message cannot be written, and another attempt would not help.
    Lost,
    /// The message must be written again after a pause.
    Retry,
}

/// A handle of a sink. Dropping it does not stop the thread.
#[derive(Clone, Debug)]
pub struct Sink {
    pub(super) name: &'static str,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped_total: AtomicU64,
    written_total: AtomicU64,
    /// Of what is written, for the next daemon.
    records: OnceLock<Arc<Records>>,
}

#[derive(Debug)]
struct Queued {
    message: Arc<Message>,
    /// Of a drill, which has one attempt.
    receipt: Option<Receipt>,
}

impl Queued {
    fn is_of_drill(&self) -> bool {
        self.receipt.is_some()
    }
}

#[derive(Debug)]
struct State {
    queue: RankedQueue<Queued>,
    /// Messages dropped since the last report, and the time of the last of them.
    dropped: u64,
    dropped_at: Option<SystemTime>,
    reported_at: Option<Instant>,
    bucket: TokenBucket,
    is_closing: bool,
    retry_now: bool,
    /// A message that is no longer in the queue is being written.
    is_writing: bool,
    /// Why the present message cannot be written.
    problem: Option<Outcome>,
    has_ended: bool,
    /// Whether unwritten messages were left at the end.
    has_given_up: bool,
}

impl Default for State {
    fn default() -> State {
        let bytes = MAX_QUEUED_BYTES - MAX_REPORT_COST;
        State {
            queue: RankedQueue::new(Limits { items: MAX_QUEUED, bytes }),
            dropped: 0,
            dropped_at: None,
            reported_at: None,
            bucket: TokenBucket::new(BURST, PER_SECOND),
            is_closing: false,
            retry_now: false,
            is_writing: false,
            problem: None,
            has_ended: false,
            has_given_up: false,
        }
    }
}

impl State {
    /// Returns how many messages were dropped: this one, or less important ones.
    fn push(&mut self, message: Arc<Message>) -> u64 {
        if self.is_closing {
            return 0; // of an output that is left behind: the last line has been said
        }
        let rank = Rank::of_message(&message);
        let reserve = if rank.is_vital() { 0.0 } else { VITAL };
        if self.has_ended || !self.bucket.take(Instant::now(), 1.0, reserve) {
            return 1;
        }
        let cost = message.cost();
        if self.queue.fits(rank, cost) {
            self.report_drops(); // before the message that follows the dropped ones
        }
        self.queue.push(rank, cost, Queued { message, receipt: None })
    }

    /// Queues a report of dropped messages, if there are any and it is due.
    fn report_drops(&mut self) {
        if self.report_due_in().is_some_and(|wait| wait.is_zero() || self.is_closing) {
            self.reported_at = Some(Instant::now());
            let text = format!("{} messages were dropped", std::mem::take(&mut self.dropped));
            let time = self.dropped_at.unwrap_or(SystemTime::UNIX_EPOCH);
            let report = Message { time, priority: Priority::Warning, text, event: None };
            let cost = report.cost();
            let report = Queued { message: Arc::new(report), receipt: None };
            self.queue.push_always(Rank::OfSystem, cost, report);
        }
    }

    /// Takes no place from others.
    fn push_drill(&mut self, message: Arc<Message>, receipt: Receipt) {
        self.take_drills().for_each(drop); // of an earlier one, which is over
        let (rank, cost) = (Rank::of_message(&message), message.cost());
        if self.has_ended || !self.queue.fits(rank, cost) {
            let why = if self.has_ended { "its thread has ended" } else { "its queue is full" };
            let problem = self.problem.clone().unwrap_or_else(|| Outcome::Failed(why.to_owned()));
            return receipt.finish(problem);
        }
        self.queue.push_always(rank, cost, Queued { message, receipt: Some(receipt) });
        self.retry_now = true;
    }

    fn take_drills(&mut self) -> impl Iterator<Item = Receipt> {
        std::iter::from_fn(|| {
            let (place, _) = self.queue.find(Queued::is_of_drill)?;
            self.queue.take(place)?.receipt
        })
    }

    /// None if no message was dropped.
    fn report_due_in(&self) -> Option<Duration> {
        let wait = self.reported_at.map(|at| DROP_REPORT_INTERVAL.saturating_sub(at.elapsed()));
        (self.dropped > 0).then(|| wait.unwrap_or_default())
    }
}

impl Sink {
    /// Starts the thread of a sink. `name` is its label in metrics.
    pub fn start(name: &'static str, writer: impl SinkWriter) -> io::Result<Sink> {
        let shared = Arc::new(Shared::default());
        let worker = Worker(Arc::clone(&shared), name);
        std::thread::Builder::new().name(format!("sink-{name}")).spawn(move || worker.run(writer))?;
        Ok(Sink { name, shared })
    }

    /// Queues a message; never blocks. Messages are dropped if the queue is full or there are
    /// too many.
    pub fn offer(&self, message: Arc<Message>) {
        let mut state = lock(&self.shared.state);
        let time = message.time;
        let dropped = state.push(message);
        if dropped > 0 {
            state.dropped += dropped;
            state.dropped_at = Some(time);
            self.shared.dropped_total.fetch_add(dropped, Ordering::Relaxed);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Records from now on what is written.
    pub(super) fn record_in(&self, records: &Arc<Records>) {
        let _ = self.shared.records.set(Arc::clone(records)); // once
    }

    /// Queues the event of a drill. A pause after a failure ends.
    pub(super) fn drill(&self, message: Arc<Message>, receipt: Receipt) {
        lock(&self.shared.state).push_drill(message, receipt);
        self.shared.changed.notify_all();
    }

    /// Messages that were dropped or lost.
    pub fn dropped_total(&self) -> u64 {
        self.shared.dropped_total.load(Ordering::Relaxed)
    }

    /// Messages that were written.
    pub fn written_total(&self) -> u64 {
        self.shared.written_total.load(Ordering::Relaxed)
    }

    /// Messages and bytes in the queue.
    pub fn queued(&self) -> (usize, usize) {
        let state = lock(&self.shared.state);
        (state.queue.len(), state.queue.bytes())
    }

    /// Whether everything was written, or will never be.
    pub fn is_idle(&self) -> bool {
        let state = lock(&self.shared.state);
        state.has_ended || (state.queue.is_empty() && !state.is_writing)
    }

    /// Ends a pause after a failure: the cause may be gone.
    pub fn retry_now(&self) {
        lock(&self.shared.state).retry_now = true;
        self.shared.changed.notify_all();
    }

    /// Makes the thread write the queued messages and end.
    pub fn finish(&self) {
        lock(&self.shared.state).is_closing = true;
        self.shared.changed.notify_all();
    }

    /// [`Sink::finish`], then waits for the end of the thread at most until the timeout. Returns whether everything was
    /// written.
    pub fn close(&self, timeout: Duration) -> bool {
        self.finish();
        let is_running = |state: &mut State| !state.has_ended;
        let waited = self.shared.changed.wait_timeout_while(lock(&self.shared.state), timeout, is_running);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.has_ended && !state.has_given_up
    }
}

/// The thread's side, and its name.
struct Worker(Arc<Shared>, &'static str);

impl Worker {
    fn run(self, mut writer: impl SinkWriter) {
        writer.open();
        let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
        while let Some(Queued { message, receipt }) = self.next() {
            loop {
                let delivery = writer.write(&message);
                let problem = writer.take_problem();
                self.set_problem(delivery, problem.as_ref());
                match delivery {
                    Delivery::Done => {
                        if let Some(records) = self.0.records.get() {
                            records.deliver(self.1, &message);
                        }
                        self.0.written_total.fetch_add(1, Ordering::Relaxed);
                        backoff.reset();
                    }
                    // Neither a loss that counts nor written again.
                    _ if receipt.is_some() => writer.abandon(),
                    Delivery::Lost => {
                        self.0.dropped_total.fetch_add(1, Ordering::Relaxed);
                    }
                    Delivery::Retry if lock(&self.0.state).is_closing => return self.give_up(),
                    Delivery::Retry => {
                        if self.pause(backoff.next(Instant::now())) {
                            backoff.reset();
                        }
                        continue;
                    }
                }
                if let Some(receipt) = &receipt {
                    receipt.finish(problem.unwrap_or_else(|| outcome(delivery)));
                }
                break;
            }
        }
    }

    /// Drills that wait behind a message that must be written again cannot be written either.
    fn set_problem(&self, delivery: Delivery, problem: Option<&Outcome>) {
        let mut state = lock(&self.0.state);
        state.problem = None;
        if delivery == Delivery::Retry {
            let problem = problem.cloned().unwrap_or_else(|| outcome(delivery));
            state.take_drills().for_each(|receipt| receipt.finish(problem.clone()));
            state.problem = Some(problem);
        }
    }

    /// Waits for the next message, which may be a report of dropped ones. None at the end.
    fn next(&self) -> Option<Queued> {
        let mut state = lock(&self.0.state);
        state.is_writing = false;
        loop {
            if state.queue.is_empty() {
                state.report_drops();
            }
            while let Some(queued) = state.queue.pop() {
                if queued.receipt.as_ref().is_none_or(|receipt| !receipt.has_expired()) {
                    state.is_writing = true;
                    return Some(queued);
                }
            }
            if state.is_closing {
                return None;
            }
            let wait = state.report_due_in().unwrap_or(Duration::MAX);
            state = self.0.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Drops the remaining messages when the sink is closed and cannot be written to.
    fn give_up(&self) {
        let mut state = lock(&self.0.state);
        let left = state.queue.clear() as u64 + 1;
        state.has_given_up = true;
        self.0.dropped_total.fetch_add(left, Ordering::Relaxed);
    }

    /// Waits, but not beyond [`Sink::finish`] and [`Sink::retry_now`]. Returns whether the latter was called.
    fn pause(&self, pause: Duration) -> bool {
        let may_wait = |state: &mut State| !state.is_closing && !state.retry_now;
        let waited = self.0.changed.wait_timeout_while(lock(&self.0.state), pause, may_wait);
        std::mem::take(&mut waited.unwrap_or_else(PoisonError::into_inner).0.retry_now)
    }
}

/// Of a drill whose writer has no words for it.
fn outcome(delivery: Delivery) -> Outcome {
    match delivery {
        Delivery::Done => Outcome::Sent,
        Delivery::Lost | Delivery::Retry => Outcome::Failed("it cannot be written".to_owned()),
    }
}

/// Runs even when the thread panics, so that nothing waits for it.
impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.0.state).has_ended = true;
        self.0.changed.notify_all();
    }
}
