//! Hooks: who is told what happens, besides the sinks. A command or a request for each event of some kinds, and
//! Alertmanager, which is told what is wrong for as long as it is.
//!
//! A command gets the event as one JSON object on its standard input (the object of JSON lines, with `host` and
//! `severity`), and the most used of it as variables: `MSM_EVENT`, `MSM_TIME`, `MSM_PRIORITY`, `MSM_SEVERITY`,
//! `MSM_HOST`, `MSM_MESSAGE`, `MSM_MOUNTPOINT`, `MSM_DEVICE`, `MSM_FSTYPE`, `MSM_STATE`, `MSM_REASON`, `MSM_ERRNO`,
//! `MSM_BEHIND`, `MSM_WAS` and `MSM_LASTED_SECONDS`, all of which are always set and may be empty. `MSM_MOUNTPOINT`
//! and `MSM_DEVICE` are byte for byte what they are, the rest is escaped as in messages. Besides them there are `PATH`
//! and `LANG=C.UTF-8`, and nothing else. It runs in `/`, in a session of its own, without a shell, and as the user
//! that the daemon is. When it ends, what it has started may go on, but nobody reads its output any more.
//!
//! [`Hooks::offer`] is called by the loop and only puts the message into a queue. One thread does all the rest: it
//! starts commands without waiting for them, and whatever may block (files of secrets, names of servers) is done
//! beside it, one thing at a time for each hook. So a hook that hangs, fails or floods costs nobody else anything.

mod command;
mod counters;
mod lanes;
mod limit;
mod payload;
mod post;
mod queue;
pub mod settings;
mod stop;
mod worker;

pub use counters::{HookCount, HookOutcome};
pub use queue::{MAX_RUNNING, MAX_WAITING};
pub use settings::{Hook, HookAction, HookSettings};

use crate::render::Message;
use crate::render::Priority;
use payload::Payload;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use worker::Shared;

/// Tells people what came of a hook; called by the thread of hooks.
pub type LogFn = Arc<dyn Fn(Priority, &str) + Send + Sync>;

/// The severity of what no rule says otherwise of.
pub const DEFAULT_SEVERITY: &str = "critical";

/// All hooks. Copies are the same hooks.
#[derive(Clone)]
pub struct Hooks {
    shared: Arc<Shared>,
    /// There while the thread is.
    ended: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
}

impl Hooks {
    /// Starts the thread, if there is anything to do for it.
    ///
    /// # Errors
    /// The machine has no thread or no event queue for it. What hooks themselves come to is told later.
    pub fn start(settings: HookSettings, tell: LogFn) -> io::Result<Hooks> {
        let hooks = Hooks { shared: Arc::new(Shared::new(tell)), ended: Arc::default() };
        hooks.begin(settings)?;
        Ok(hooks)
    }

    /// Tells the hooks that want it, and never waits. `selected` names those that may be told, `alertmanager` among
    /// them; all, if it is none. `severity` is `critical`, `warning` or `info`.
    pub fn offer(&self, message: &Arc<Message>, selected: Option<&[String]>, severity: &'static str) {
        if let Some(event) = &message.event {
            self.shared.offer(event, &Payload { message: Arc::clone(message), severity }, selected);
        }
    }

    /// Goes on with other settings. A hook that keeps its name keeps its queue, its counters and what runs; alerts
    /// that fire go on to fire.
    ///
    /// # Errors
    /// As [`Hooks::start`]: with no hooks before, there was no thread.
    pub fn adopt(&self, settings: HookSettings) -> io::Result<()> {
        self.begin(settings)
    }

    /// What came of hooks so far.
    #[must_use]
    pub fn counters(&self) -> Vec<HookCount> {
        self.shared.counts()
    }

    /// Lets everything run that was offered, for at most `patience`; for a single run of the daemon. Is all done?
    #[must_use]
    pub fn finish(&self, patience: Duration) -> bool {
        self.shared.wait_until_idle(patience)
    }

    /// Stops within `patience`: what waits is dropped; what runs may end, is then asked to, and then killed. Alerts
    /// are not ended: they expire, or the next daemon goes on with them.
    pub fn stop(&self, patience: Duration) {
        let by = self.shared.stop(patience);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            // Nothing is ever sent: the other end is dropped, or time is up.
            let _ = ended.recv_timeout(by.saturating_duration_since(Instant::now()));
        }
    }

    /// The same without waiting; the time of [`Hooks::stop`] begins now.
    pub fn ask_to_stop(&self, patience: Duration) {
        self.shared.stop(patience);
    }

    fn begin(&self, settings: HookSettings) -> io::Result<()> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() && !settings.is_empty() {
            *ended = Some(worker::start(&self.shared)?);
        }
        self.shared.adopt(settings);
        Ok(())
    }
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").field("counters", &self.counters()).finish_non_exhaustive()
    }
}
