//! The thread of hooks: starts the runs that may start, and records and logs their results.

use super::outcome::HookResult;
use super::payload::Payload;
use super::runners::{HookRunners, Job, LogLine};
use super::settings::{HookAction, HookSettings, MAX_HOOKS};
use super::shutdown::Shutdown;
use super::{command, post};
use crate::output::LogFn;
use crate::output::worker_thread::{Signals, WorkerThread};
use crate::render::Priority;
use crate::render::metrics::HookStats;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Shared by the thread and the handles.
pub(super) struct Shared {
    state: Mutex<State>,
    signals: Signals,
    /// A child of this process has exited.
    child_exited: Notify,
    shutdown: Shutdown,
    /// Notified when everything may be done.
    idle: Condvar,
    log: LogFn,
}

#[derive(Default)]
struct State {
    runners: HookRunners,
    /// The deadline of the stop that has begun.
    stop_by: Option<Instant>,
}

pub(super) fn start(shared: &Arc<Shared>) -> io::Result<WorkerThread> {
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

impl Shared {
    pub(super) fn new(log: LogFn) -> Shared {
        Shared {
            state: Mutex::default(),
            signals: Signals::default(),
            child_exited: Notify::new(),
            shutdown: Shutdown::new(),
            idle: Condvar::new(),
            log,
        }
    }

    pub(super) fn reconfigure(&self, settings: &HookSettings) {
        let dropped = self.lock().runners.reconfigure(settings);
        if dropped > 0 {
            (self.log)(
                Priority::Notice,
                &format!("{dropped} events were dropped with the hooks that were removed"),
            );
        }
        self.signals.wake();
    }

    pub(super) fn offer(&self, event: &str, payload: &Payload, selected: Option<&[String]>) {
        let mut state = self.lock();
        if state.stop_by.is_none() {
            state.runners.offer(event, payload, selected, Instant::now());
            drop(state);
            self.signals.wake();
        }
    }

    pub(super) fn stats(&self) -> Vec<HookStats> {
        self.lock().runners.stats()
    }

    pub(super) fn wait_until_idle(&self, timeout: Duration) -> bool {
        let is_busy = |state: &mut State| !state.runners.is_idle();
        let waited = self.idle.wait_timeout_while(self.lock(), timeout, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Returns the deadline, which is that of the first call.
    pub(super) fn begin_stop(&self, timeout: Duration) -> Instant {
        let mut state = self.lock();
        state.runners.clear();
        let stop_by = *state.stop_by.get_or_insert_with(|| Instant::now() + timeout);
        drop(state);
        self.shutdown.begin(timeout);
        self.signals.wake();
        stop_by
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the runs that may start, and logs what is due. Returns when it is due again without being woken, or none
    /// at the end.
    fn run_due(self: &Arc<Shared>) -> Option<Option<Instant>> {
        let mut state = self.lock();
        let jobs: Vec<Job> = std::iter::from_fn(|| state.runners.next_job()).collect();
        let lines = state.runners.take_due_lines(Instant::now());
        let next_summary = state.runners.next_summary();
        let is_over = state.stop_by.is_some() && state.runners.running() == 0;
        drop(state);
        self.log_all(lines);
        for job in jobs {
            tokio::spawn(Arc::clone(self).execute(job));
        }
        self.idle.notify_all();
        (!is_over).then_some(next_summary)
    }

    async fn execute(self: Arc<Shared>, job: Job) {
        let (payload, timeout) = (&job.payload, job.hook.timeout);
        let result: HookResult = match &job.hook.action {
            HookAction::Command(arguments) => {
                command::run(arguments, payload, timeout, &self.child_exited, &self.shutdown).await
            }
            HookAction::Post { url, .. } => {
                post::run(url, &job.client, payload, timeout, &self.shutdown).await
            }
        };
        let line = self.lock().runners.finish(&job, result, Instant::now());
        self.log_all(line);
        self.reap(); // it may have exited before it was in the list
        self.signals.wake();
    }

    /// Called when a child has exited.
    fn reap(&self) {
        let lines = self.lock().runners.reap_unkilled();
        self.child_exited.notify_waiters();
        if !lines.is_empty() {
            self.log_all(lines);
            self.signals.wake();
        }
    }

    fn log_all(&self, lines: impl IntoIterator<Item = LogLine>) {
        for (priority, text) in lines {
            (self.log)(priority, &text);
        }
    }
}
