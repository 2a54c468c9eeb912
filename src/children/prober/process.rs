//! The prober process, which may hang.
//!
//! Its main thread never touches a file system: it reads requests and watches the worker threads. While probes wait it
//! checks their progress every [`CHECK_INTERVAL`]; without progress it doubles the number of threads, so that within
//! tens of milliseconds even a thousand hung mounts each have a thread. When the daemon closes its end of the socket,
//! the process ends at once, whatever its threads do.

use super::confirmation::Confirmations;
use super::running_time::BEAT_INTERVAL;
use super::wire::{self, Reply, Request};
use super::worker_pool::WorkerPool;
use crate::children::codec::Malformed;
use crate::children::daemon_channel::{DaemonChannel, exit_with_error};
use platform::process::{ChildRole, ThreadSampler};
use std::time::{Duration, Instant};

/// How long waiting probes may make no progress before threads are added; also how long a reply may wait for others to
/// fill its packet. Enough for a few thousand healthy mounts.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Threads are added too if the waiting probes would take longer than this at the current pace: a server that takes
/// 10 ms for each response is not hung, but a thousand such mounts would wait for each other.
const MAX_BACKLOG: Duration = Duration::from_millis(250);
/// With this many busy threads, none is added because of slow responses: the processor or the server is the limit.
const MAX_THREADS_FOR_BACKLOG: usize = 64;
/// When no thread can be started and no probe ends for this long, the waiting probes are rejected.
const STARVATION_TIMEOUT: Duration = Duration::from_millis(250);

/// Runs the prober until the daemon closes its end of the channel.
pub(in crate::children) fn run(role: ChildRole) -> ! {
    let mut confirmations = Confirmations::new(ThreadSampler::open());
    let mut channel = DaemonChannel::init(role);
    let workers = WorkerPool::new();
    workers.reply(&[Reply::Ready]);
    let mut monitor = ProgressMonitor { next_check: None, done: 0, starved_since: None };
    loop {
        let now = Instant::now();
        if monitor.next_check.is_some_and(|at| at <= now) {
            monitor.check(&workers, now);
        }
        confirmations.check(&workers, now);
        let next_beat = workers.beat().then(|| now + BEAT_INTERVAL);
        let wake_at = [monitor.next_check, confirmations.next_check(), next_beat].into_iter().flatten().min();
        let is_readable = channel.wait(wake_at.map(|at| at.saturating_duration_since(Instant::now())));
        workers.beat(); // before probes start: the wait before them is not theirs
        if is_readable && let Some(packet) = channel.receive() {
            handle_packet(packet, &workers, &mut confirmations);
        }
        if monitor.next_check.is_none() && workers.has_pending() {
            monitor.start(&workers);
        }
    }
}

fn handle_packet(packet: &[u8], workers: &WorkerPool, confirmations: &mut Confirmations) {
    let (mut probes, mut confirms, mut locates) = (Vec::new(), Vec::new(), Vec::new());
    for request in wire::decode_requests(packet) {
        match request {
            Ok(Request::Probe(probe, target)) => probes.push((probe, target)),
            Ok(Request::Confirm(probe)) => confirms.push(probe),
            Ok(Request::Locate(probe)) => locates.push(probe),
            Err(Malformed) => exit_with_error(),
        }
    }
    if !probes.is_empty() {
        workers.enqueue(packet, probes);
    }
    if !confirms.is_empty() {
        confirmations.begin(workers, &confirms);
    }
    if !locates.is_empty() {
        workers.locate(&locates);
    }
}

/// Watches the progress of the waiting probes; inactive while there are none.
struct ProgressMonitor {
    next_check: Option<Instant>,
    /// Responses at the last check.
    done: u64,
    starved_since: Option<Instant>,
}

impl ProgressMonitor {
    fn start(&mut self, workers: &WorkerPool) {
        self.done = workers.progress().done;
        self.starved_since = None;
        self.next_check = Some(Instant::now() + CHECK_INTERVAL);
    }

    fn check(&mut self, workers: &WorkerPool, now: Instant) {
        workers.flush();
        let progress = workers.progress();
        let done = progress.done - self.done;
        self.done = progress.done;
        if progress.waiting == 0 {
            self.next_check = None;
            workers.shrink();
            return;
        }
        self.next_check = Some(now + CHECK_INTERVAL);
        if done > 0 {
            self.starved_since = None;
        }
        let growth = growth(done, progress.waiting, progress.busy);
        if growth > 0
            && let Err(errno) = workers.add_workers(growth)
        {
            let since = *self.starved_since.get_or_insert(now);
            if done == 0 && now - since >= STARVATION_TIMEOUT {
                workers.reject_pending(errno);
                self.starved_since = None;
            }
        }
    }
}

/// How many threads to add when `busy` threads finished `done` probes in the last [`CHECK_INTERVAL`].
fn growth(done: u64, waiting: usize, busy: usize) -> usize {
    let backlog = CHECK_INTERVAL.as_nanos() * waiting as u128 / u128::from(done.max(1));
    let is_slow = backlog > MAX_BACKLOG.as_nanos() && busy < MAX_THREADS_FOR_BACKLOG;
    if done == 0 || is_slow { busy.max(1).min(waiting) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::growth;

    #[test]
    fn threads_double_without_progress_or_with_a_long_backlog() {
        for (done, waiting, busy, expected, why) in [
            (0, 100, 1, 1, "no progress: twice as many"),
            (0, 100, 16, 16, "no progress: twice as many"),
            (0, 100, 0, 1, "no progress and no busy thread"),
            (0, 5, 16, 5, "not more than there are probes"),
            (700, 10_000, 1, 0, "healthy: 70 ms left"),
            (5, 1_000, 1, 1, "1 ms for each response: a second left"),
            (5, 1_000, 64, 0, "enough threads for slowness"),
            (5, 200, 1, 0, "200 ms left"),
        ] {
            assert_eq!(growth(done, waiting, busy), expected, "{why}");
        }
    }
}
