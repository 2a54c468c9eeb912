//! Hooks: a command or a request for each event of some kinds.
//!
//! A command gets the event as one JSON object on its standard input and its most used fields as environment variables.
//! It runs in `/`, in its own session, without a shell, as the user of the daemon. When it exits, processes that it
//! started may continue, but their output is not read.
//!
//! [`Hooks::offer`] only puts the event into queues. One thread starts commands without waiting for them; operations
//! that may block (reading secret files, name lookups) run in other threads, one per hook. So a hook that hangs, fails
//! or floods delays nothing else.

mod command;
mod log_limiter;
mod outcome;
mod payload;
mod post;
mod queue;
mod runners;
mod settings;
mod shutdown;

pub use queue::{MAX_RUNNING, MAX_WAITING};
pub use settings::{EVENTS, Hook, HookAction, MAX_HOOKS};

use super::saved_state::{Records, Versions};
use super::worker_thread::{Signals, WorkerThread};
use super::{Drill, LogFn, lock};
use crate::render::Message;
use crate::render::metrics::HookStats;
use runners::{HookRunners, Job};
use shutdown::Shutdown;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// The handle of all hooks. Clones share them.
#[derive(Clone)]
pub struct Hooks(Arc<Shared>);

/// Shared by the thread and the handles.
struct Shared {
    state: Mutex<State>,
    signals: Signals,
    /// A child of this process has exited.
    child_exited: Notify,
    shutdown: Shutdown,
    /// Notified when all work may be complete.
    idle: Condvar,
}

struct State {
    runners: HookRunners,
    /// `None` before any hooks were configured, and after the stop.
    thread: Option<WorkerThread>,
}

impl Hooks {
    /// Starts the thread if there are hooks. Results of hooks are logged.
    pub fn start(hooks: &[Hook], log: LogFn) -> io::Result<Hooks> {
        let handle = Hooks(Arc::new(Shared {
            state: Mutex::new(State { runners: HookRunners::new(log), thread: None }),
            signals: Signals::default(),
            child_exited: Notify::new(),
            shutdown: Shutdown::default(),
            idle: Condvar::new(),
        }));
        handle.reconfigure(hooks)?;
        Ok(handle)
    }

    /// Queues an event for the hooks that selected it; never blocks. `selected` are the hooks selected by a rule; `None`
    /// means all.
    pub fn offer(&self, message: &Arc<Message>, selected: Option<&[String]>, severity: &'static str) {
        self.offer_versions(&Versions::from(Arc::clone(message)), selected, severity);
    }

    /// The same, as each hook gets it.
    pub(super) fn offer_versions(
        &self,
        versions: &Versions,
        selected: Option<&[String]>,
        severity: &'static str,
    ) {
        let mut state = lock(&self.0.state);
        if !self.0.shutdown.has_begun() {
            state.runners.offer(versions, selected, severity, Instant::now());
            drop(state);
            self.0.signals.wake();
        }
    }

    /// Records from now on which events have run.
    pub(super) fn record_in(&self, records: &Arc<Records>) {
        lock(&self.0.state).runners.records = Some(Arc::clone(records));
    }

    /// Queues the event of a drill for every hook, whatever it and the rules select.
    pub(super) fn drill(&self, drill: &Drill, message: &Arc<Message>, severity: &'static str) {
        let mut state = lock(&self.0.state);
        if !self.0.shutdown.has_begun() {
            state.runners.drill(drill, message, severity);
            drop(state);
            self.0.signals.wake();
        }
    }

    /// Applies new settings. A hook that keeps its name keeps its queue, its counters and its runs.
    pub fn reconfigure(&self, hooks: &[Hook]) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        if state.thread.is_none() && !hooks.is_empty() {
            state.thread = Some(Shared::start(&self.0)?);
        }
        state.runners.reconfigure(hooks);
        drop(state);
        self.0.signals.wake();
        Ok(())
    }

    /// The statistics of each hook, in the order of the configuration.
    pub fn counters(&self) -> Vec<HookStats> {
        lock(&self.0.state).runners.stats()
    }

    /// Waits until everything that was offered has run, for a single run of the daemon. Returns false at the timeout.
    pub fn wait_until_idle(&self, timeout: Duration) -> bool {
        let is_busy = |state: &mut State| !state.runners.is_idle();
        let waited = self.0.idle.wait_timeout_while(lock(&self.0.state), timeout, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Drops waiting events and stops running hooks, without waiting. Commands may first exit by themselves, then get
    /// SIGTERM, then SIGKILL, all within the timeout. Returns the end of the timeout, which later calls do not change.
    pub fn begin_stop(&self, timeout: Duration) -> Instant {
        let mut state = lock(&self.0.state);
        state.runners.clear();
        let stop_by = self.0.shutdown.begin(timeout);
        drop(state);
        self.0.signals.wake();
        stop_by
    }

    /// [`Hooks::begin_stop`], then waits for the end of the thread.
    pub fn stop(&self, timeout: Duration) {
        let stop_by = self.begin_stop(timeout);
        let thread = lock(&self.0.state).thread.take();
        if let Some(thread) = thread {
            thread.wait(stop_by);
        }
    }
}

/// The body of the thread: starts runs, and records and logs their results.
impl Shared {
    fn start(shared: &Arc<Shared>) -> io::Result<WorkerThread> {
        let runtime = WorkerThread::runtime(MAX_HOOKS)?; // each may look up a name
        let mut child_signals = {
            let _context = runtime.enter();
            signal(SignalKind::child())?
        };
        let (shared, reaper) = (Arc::clone(shared), Arc::clone(shared));
        WorkerThread::start("hooks", runtime, move |runtime| {
            runtime.spawn(async move {
                while child_signals.recv().await.is_some() {
                    reaper.reap();
                }
            });
            runtime.block_on(async {
                while let Some(next_summary) = shared.run_due() {
                    shared.signals.woken(next_summary).await;
                }
            });
        })
    }

    /// Starts the runs that may start, and logs what is due. Returns when it must be called again even without a
    /// wake-up, or `None` at the end.
    fn run_due(self: &Arc<Shared>) -> Option<Option<Instant>> {
        let mut state = lock(&self.state);
        let jobs: Vec<Job> = std::iter::from_fn(|| state.runners.next_job()).collect();
        let next_summary = state.runners.log_due(Instant::now());
        let is_over = self.shutdown.has_begun() && state.runners.running == 0;
        drop(state);
        for job in jobs {
            tokio::spawn(Arc::clone(self).execute(job));
        }
        self.idle.notify_all();
        (!is_over).then_some(next_summary)
    }

    async fn execute(self: Arc<Shared>, job: Job) {
        let (payload, timeout) = (&job.payload, job.hook.timeout);
        let result = match &job.hook.action {
            HookAction::Command(arguments) => {
                command::run(arguments, payload, timeout, &self.child_exited, &self.shutdown).await
            }
            HookAction::Post { url, .. } => {
                post::run(url, &job.client, payload, timeout, &self.shutdown).await
            }
        };
        lock(&self.state).runners.finish(&job, result, Instant::now());
        self.reap(); // it may have exited before it was in the list
        self.signals.wake();
    }

    /// Called when a child has exited.
    fn reap(&self) {
        let has_reaped = lock(&self.state).runners.reap_stranded();
        self.child_exited.notify_waiters();
        if has_reaped {
            self.signals.wake();
        }
    }
}
