//! Hooks: a command or a request for each event of some kinds.
//!
//! A command gets the event as one JSON object on its standard input (the object of JSON lines, with `host` and
//! `severity`), and its most used fields as variables: `MSM_EVENT`, `MSM_TIME`, `MSM_PRIORITY`, `MSM_SEVERITY`,
//! `MSM_HOST`, `MSM_MESSAGE`, `MSM_MOUNTPOINT`, `MSM_DEVICE`, `MSM_FSTYPE`, `MSM_STATE`, `MSM_REASON`, `MSM_ERRNO`,
//! `MSM_BEHIND`, `MSM_WAS` and `MSM_LASTED_SECONDS`. All are always set and may be empty. `MSM_MOUNTPOINT` and
//! `MSM_DEVICE` are the bytes of the kernel, the rest is escaped as in messages. There are also `PATH` and
//! `LANG=C.UTF-8`, and no other variables. The command runs in `/`, in a session of its own, without a shell, as the
//! user of the daemon. When it exits, processes that it has started may go on, but their output is not read.
//!
//! [`Hooks::offer`] only puts the event into queues. One thread starts commands without waiting for them; what may
//! block (files of secrets, lookups of names) runs in other threads, one per hook. So a hook that hangs, fails or
//! floods delays nothing else.

mod command;
mod log_limiter;
mod outcome;
mod payload;
mod post;
mod queue;
mod runners;
mod settings;
mod shutdown;
mod worker;

pub use queue::{MAX_RUNNING, MAX_WAITING};
pub use settings::{EVENTS, Hook, HookAction, HookSettings};

use super::LogFn;
use super::worker_thread::WorkerThread;
use crate::render::Message;
use crate::render::metrics::HookStats;
use payload::Payload;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use worker::Shared;

/// The handle of all hooks. Clones share them.
#[derive(Clone)]
pub struct Hooks {
    shared: Arc<Shared>,
    /// None before there were hooks, and after the stop.
    thread: Arc<Mutex<Option<WorkerThread>>>,
}

impl Hooks {
    /// Starts the thread, if there are hooks. Results of hooks are logged.
    ///
    /// # Errors
    /// The thread or its event queue could not be created.
    pub fn start(settings: &HookSettings, log: LogFn) -> io::Result<Hooks> {
        let hooks = Hooks { shared: Arc::new(Shared::new(log)), thread: Arc::default() };
        hooks.reconfigure(settings)?;
        Ok(hooks)
    }

    /// Queues an event for the hooks that want it; never blocks. `selected` are the names that a rule has selected;
    /// none for all.
    pub fn offer(&self, message: &Arc<Message>, selected: Option<&[String]>, severity: &'static str) {
        if let Some(event) = &message.event {
            let payload = Payload { message: Arc::clone(message), severity };
            self.shared.offer(event.name(), &payload, selected);
        }
    }

    /// Applies other settings. A hook that keeps its name keeps its queue, its counters and its runs.
    ///
    /// # Errors
    /// As [`Hooks::start`], if there were no hooks before.
    pub fn reconfigure(&self, settings: &HookSettings) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() && !settings.is_empty() {
            *thread = Some(worker::start(&self.shared)?);
        }
        self.shared.reconfigure(settings);
        Ok(())
    }

    /// The statistics of each hook, in the order of the configuration.
    #[must_use]
    pub fn counters(&self) -> Vec<HookStats> {
        self.shared.stats()
    }

    /// Waits until everything that was offered has run, for a single run of the daemon. Returns false at the timeout.
    #[must_use]
    pub fn wait_until_idle(&self, timeout: Duration) -> bool {
        self.shared.wait_until_idle(timeout)
    }

    /// Drops what waits and stops what runs, without waiting. Commands may exit by themselves, then get SIGTERM, then
    /// SIGKILL, all within the timeout.
    pub fn begin_stop(&self, timeout: Duration) {
        let _ = self.shared.begin_stop(timeout);
    }

    /// [`Hooks::begin_stop`], then waits for the end of the thread until the deadline of the first such call.
    pub fn stop(&self, timeout: Duration) {
        let stop_by = self.shared.begin_stop(timeout);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.wait(stop_by);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("counters", &self.counters()).finish_non_exhaustive()
    }
}
