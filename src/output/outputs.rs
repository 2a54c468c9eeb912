//! The event loop's handle of all outputs: a bounded queue and the thread that empties it. Only [`Outputs::stop`]
//! waits.

use super::dispatcher::Dispatcher;
use super::ranked_queue::{Limits, Rank, RankedQueue};
use super::saved_state::{Restored, StateFile};
use super::{Drill, Reporter, SharedState, lock};
use crate::config::{Config, ReloadResult};
use crate::monitor::Event;
use crate::render::{Priority, Snapshot, event_cost};
use anyhow::Context as _;
use platform::MountTable;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Maximum number of reports in the queue. The thread only moves them to other queues, so the queue must hold the
/// reports of one turn of the event loop: ten thousand mounts that appear at once.
const MAX_QUEUED: usize = 32_768;
/// Maximum memory of the reports in the queue: their mounts may have the longest paths.
const MAX_QUEUED_BYTES: usize = 32 << 20;
/// A clean stop waits this long for the outputs: part of the second that a stop may take.
const STOP_TIMEOUT: Duration = Duration::from_millis(650);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    Event(Event),
    /// A line about the daemon itself.
    Notice(Priority, String),
}

impl Report {
    fn rank(&self) -> Rank {
        match self {
            Report::Event(event) => Rank::of_event(event),
            Report::Notice(priority, _) => Rank::of_notice(*priority),
        }
    }

    /// Memory that it uses while it waits, including its mount, which may be shared with nothing else.
    fn cost(&self) -> usize {
        size_of::<Item>()
            + match self {
                Report::Event(event) => event_cost(event),
                Report::Notice(_, text) => text.capacity(),
            }
    }
}

#[derive(Debug)]
pub(super) enum Item {
    Report(SystemTime, Report),
    /// With the current mount table, for warnings about rules.
    Reconfigure(ReloadResult, MountTable),
    Publish(Arc<Snapshot>),
    Drill(Drill),
    /// This many reports did not fit into the queue.
    Dropped(u64),
    /// Nothing else came until the deadline.
    Deadline,
    Stop,
}

pub struct Outputs {
    queue: Arc<OutputQueue>,
    state: SharedState,
    ended: mpsc::Receiver<()>,
}

impl Outputs {
    /// Starts every output. An output that cannot be reached is logged and retried.
    pub fn start(config: Arc<Config>, reporter: Reporter, table: &MountTable) -> anyhow::Result<Outputs> {
        Outputs::start_with_state(config, reporter, table, None)
    }

    /// The same. The state is kept in a file, in which an earlier daemon may have left what it knew.
    pub fn start_with_state(
        config: Arc<Config>,
        reporter: Reporter,
        table: &MountTable,
        state: Option<(StateFile, Option<Restored>)>,
    ) -> anyhow::Result<Outputs> {
        let mut dispatcher = Dispatcher::new(config, reporter)?;
        if let Some((file, restored)) = state {
            dispatcher.keep_state(file, restored).context("cannot start a thread for the state")?;
        }
        dispatcher.start(table)?;
        let queue = OutputQueue { dropped: dispatcher.dropped_reports(), ..OutputQueue::default() };
        let (queue, state) = (Arc::new(queue), dispatcher.state().clone());
        let (end, ended) = mpsc::channel();
        let source = Arc::clone(&queue);
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| dispatcher.run(&source)));
            if ended.is_err() {
                // A daemon without outputs is useless: it ends as if the event loop had panicked, and is restarted.
                std::process::exit(101);
            }
            drop(end);
        };
        thread::Builder::new()
            .name("outputs".into())
            .spawn(run)
            .context("cannot start a thread for outputs")?;
        Ok(Outputs { queue, state, ended })
    }

    pub fn report(&self, time: SystemTime, report: Report) {
        let dropped = self.queue.update(|queue| queue.add_report(time, report));
        self.queue.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Replaces a snapshot that is still waiting.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.queue.update(|queue| queue.snapshot = Some(snapshot));
    }

    /// Applies a configuration, or logs why it was refused. `table` is the current mount table.
    pub fn reconfigure(&self, result: ReloadResult, table: MountTable) {
        // Not limited here: the reloader has one result at a time and pauses between them.
        self.queue.update(|queue| queue.add(Item::Reconfigure(result, table)));
    }

    /// Sends the event of a drill to every output.
    pub(crate) fn drill(&self, drill: Drill) {
        self.queue.update(|queue| queue.add(Item::Drill(drill))); // one in ten seconds
    }

    /// Through which the HTTP server reaches the event loop.
    pub(crate) fn state(&self) -> &SharedState {
        &self.state
    }

    /// Stops every output except the reporter, after the waiting reports. Threads that hang are left behind.
    pub fn stop(self) {
        self.queue.update(|queue| queue.is_stopping = true);
        let _ = self.ended.recv_timeout(STOP_TIMEOUT); // nothing is sent: the other end is dropped, or time is up
    }
}

#[derive(Debug, Default)]
pub(super) struct OutputQueue {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// All reports that did not fit.
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Queue {
    items: RankedQueue<Item>,
    snapshot: Option<Arc<Snapshot>>,
    dropped: u64,
    is_stopping: bool,
}

impl OutputQueue {
    /// Waits for the next item, a snapshot only after everything that was reported before it.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Item {
        let mut queue = lock(&self.queue);
        while queue.is_empty() {
            let Some(deadline) = deadline else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Item::Deadline;
            }
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.take_next()
    }

    /// The waiting events of some kinds, and when each happened.
    pub(super) fn waiting(&self, is_wanted: impl Fn(&Event) -> bool) -> Vec<(SystemTime, Event)> {
        let queue = lock(&self.queue);
        let wanted = |item: &Item| match item {
            Item::Report(time, Report::Event(event)) if is_wanted(event) => Some((*time, event.clone())),
            _ => None,
        };
        queue.items.iter().filter_map(wanted).collect()
    }

    fn update<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let changed = change(&mut lock(&self.queue));
        self.changed.notify_one();
        changed
    }
}

impl Default for Queue {
    fn default() -> Queue {
        let limits = Limits { items: MAX_QUEUED, bytes: MAX_QUEUED_BYTES };
        Queue { items: RankedQueue::new(limits), snapshot: None, dropped: 0, is_stopping: false }
    }
}

impl Queue {
    /// Returns how many reports did not fit.
    fn add_report(&mut self, time: SystemTime, report: Report) -> u64 {
        if matches!(report, Report::Event(Event::Run { .. }))
            && let Some(snapshot) = self.snapshot.take()
        {
            // The results of a run are visible before its line.
            if let Some((place, _)) = self.items.find(|item| matches!(item, Item::Publish(_))) {
                self.items.take(place);
            }
            self.add(Item::Publish(snapshot));
        }
        let (rank, cost) = (report.rank(), report.cost());
        let dropped = self.items.push(rank, cost, Item::Report(time, report));
        self.dropped += dropped;
        dropped
    }

    /// Never dropped; there are few of them.
    fn add(&mut self, item: Item) {
        self.items.push_always(Rank::VitalOfSystem, 0, item);
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.snapshot.is_none() && self.dropped == 0 && !self.is_stopping
    }

    fn take_next(&mut self) -> Item {
        if let Some(item) = self.items.pop() {
            item
        } else if self.dropped > 0 {
            Item::Dropped(std::mem::take(&mut self.dropped))
        } else {
            self.snapshot.take().map_or(Item::Stop, Item::Publish)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Status;
    use crate::monitor::testing::mount;
    use crate::render::samples;

    fn appeared(path: &str) -> Report {
        Report::Event(Event::Mounted { mount: Arc::new(mount(1, path)) })
    }

    fn recovered(path: &str) -> Report {
        Report::Event(Event::Recovered {
            mount: Arc::new(mount(1, path)),
            lasted: Duration::ZERO,
            took: Duration::ZERO,
            was: "hung",
        })
    }

    fn snapshot(serial: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot { serial, ..samples::snapshot(Status::default()) })
    }

    #[test]
    fn recoveries_take_the_place_of_mounts_that_appeared() {
        let mut queue = Queue::default();
        let mut add = |report: Report| queue.add_report(SystemTime::UNIX_EPOCH, report);
        let dropped: u64 = (0..=MAX_QUEUED).map(|_| add(appeared("/"))).sum();
        assert_eq!(dropped, 1);
        let dropped: u64 = (0..=MAX_QUEUED).map(|_| add(recovered("/"))).sum();
        assert_eq!(dropped as usize, MAX_QUEUED + 1);
        assert_eq!((queue.items.len(), queue.dropped as usize), (MAX_QUEUED, MAX_QUEUED + 2));
    }

    #[test]
    fn long_paths_are_bounded_by_their_bytes() {
        let mut queue = Queue::default();
        let path = format!("/{}", "x".repeat(4000));
        for _ in 0..MAX_QUEUED {
            queue.add_report(SystemTime::UNIX_EPOCH, recovered(&path));
        }
        assert!(queue.items.bytes() <= MAX_QUEUED_BYTES && queue.dropped > 0);
        while let Item::Report(..) = queue.take_next() {}
        assert_eq!(queue.items.bytes(), 0);
    }

    #[test]
    fn results_of_a_run_are_published_before_its_line() {
        let queue = OutputQueue::default();
        let run = Event::Run { mounts: 1, dead: 0, unjudged: 0, took: Duration::ZERO };
        for serial in [1, 2] {
            lock(&queue.queue).snapshot = Some(snapshot(serial));
            lock(&queue.queue).add_report(SystemTime::UNIX_EPOCH, Report::Event(run.clone()));
        }
        assert!(matches!(queue.next(None), Item::Report(..)), "its snapshot was replaced");
        assert!(matches!(queue.next(None), Item::Publish(snapshot) if snapshot.serial == 2));
        assert!(matches!(queue.next(None), Item::Report(..)));
    }

    #[test]
    fn snapshot_follows_earlier_reports_and_only_the_latest_is_delivered() {
        let queue = OutputQueue::default();
        queue.update(|queue| {
            queue.snapshot = Some(snapshot(1));
            queue.add_report(SystemTime::UNIX_EPOCH, appeared("/"));
            queue.snapshot = Some(snapshot(2));
            queue.is_stopping = true;
        });
        assert!(matches!(queue.next(None), Item::Report(..)));
        assert!(matches!(queue.next(None), Item::Publish(snapshot) if snapshot.serial == 2));
        assert!(matches!(queue.next(None), Item::Stop));
    }
}
