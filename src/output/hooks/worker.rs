//! The thread of hooks: takes what may run, starts it, and tells what came of it.

use super::counters::{HookCount, HookOutcome};
use super::lanes::{HookRunners, Job};
use super::limit::{Say, WINDOW};
use super::payload::Payload;
use super::settings::{Hook, HookAction, HookSettings, MAX_HOOKS};
use super::stop::Stop;
use super::{LogFn, command, post};
use crate::monitor::Event;
use crate::output::http_client::executor;
use crate::render::Priority;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// What the loop and the thread share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Something is to be done.
    bell: Notify,
    /// A child of this process has ended.
    reaped: Notify,
    stop: Stop,
    /// All is done, perhaps.
    idle: Condvar,
    tell: LogFn,
}

#[derive(Default)]
struct State {
    lanes: HookRunners,
    /// By when, if at all.
    stopping: Option<Instant>,
    /// Events that the loop saw dropped and the thread is to tell.
    full: Vec<(Arc<Hook>, Say)>,
}

/// Drops that wait to be told: each hook has a few lines, then a sum.
const MAX_FULL: usize = 16 * MAX_HOOKS;

/// Starts the thread. The other end of the channel is dropped when it ends.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<mpsc::Receiver<()>> {
    // A thread beside for each that may have to look up a name.
    let runtime = executor(MAX_HOOKS + 1)?;
    let children = {
        let _inside = runtime.enter();
        signal(SignalKind::child())?
    };
    let (end, ended) = mpsc::channel();
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("hooks".into()).spawn(move || {
        run(&runtime, children, &shared);
        drop(end);
        // What still looks up a name is left behind.
        runtime.shutdown_background();
    })?;
    Ok(ended)
}

fn run(runtime: &Runtime, mut children: Signal, shared: &Arc<Shared>) {
    runtime.block_on(async {
        let of_children = Arc::clone(shared);
        tokio::spawn(async move {
            while children.recv().await.is_some() {
                of_children.look_after_children();
            }
        });
        loop {
            // From here on no ring is missed: the bell keeps one.
            if shared.start_what_may_run() {
                return;
            }
            shared.bell.notified().await;
        }
    });
}

impl Shared {
    pub(super) fn new(tell: LogFn) -> Shared {
        Shared {
            state: Mutex::default(),
            bell: Notify::new(),
            reaped: Notify::new(),
            stop: Stop::new(),
            idle: Condvar::new(),
            tell,
        }
    }

    pub(super) fn adopt(&self, settings: HookSettings) {
        let lost = self.lock().lanes.adopt(&settings);
        if lost > 0 {
            let text = format!("{lost} events were dropped with the hooks that are gone");
            (self.tell)(Priority::Notice, &text);
        }
        self.bell.notify_one();
    }

    pub(super) fn offer(&self, event: &Event, payload: &Payload, selected: Option<&[String]>) {
        let mut state = self.lock();
        if state.stopping.is_some() {
            return;
        }
        let full = state.lanes.offer(event.name(), payload, selected, Instant::now());
        let room = MAX_FULL.saturating_sub(state.full.len());
        state.full.extend(full.into_iter().filter(|(_, say)| *say != Say::Nothing).take(room));
        drop(state);
        self.bell.notify_one();
    }

    pub(super) fn counts(&self) -> Vec<HookCount> {
        let state = self.lock();
        state.lanes.iter().map(|lane| lane.counters.read(&lane.hook.name, lane.waiting())).collect()
    }

    pub(super) fn wait_until_idle(&self, patience: Duration) -> bool {
        let busy = |state: &mut State| !state.lanes.is_idle();
        let waited = self.idle.wait_timeout_while(self.lock(), patience, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// By when all will have ended, or is left behind.
    pub(super) fn stop(&self, patience: Duration) -> Instant {
        let mut state = self.lock();
        state.lanes.clear();
        let by = *state.stopping.get_or_insert_with(|| Instant::now() + patience);
        drop(state);
        self.stop.within(patience);
        self.bell.notify_one();
        by
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is this the end?
    fn start_what_may_run(self: &Arc<Shared>) -> bool {
        let full = std::mem::take(&mut self.lock().full);
        for (hook, say) in full {
            match say {
                Say::Line => {
                    let text = format!("Hook {}: an event was dropped, too many wait", hook.name);
                    (self.tell)(Priority::Warning, &text);
                }
                Say::SumUpLater => self.sum_up_later(hook.name.clone(), Summed::Drops),
                Say::Nothing => {}
            }
        }
        loop {
            let (job, stuck) = self.lock().lanes.next();
            for hook in stuck {
                let text = format!(
                    "Hook {} is not started any more: too many of its commands cannot be killed",
                    hook.name
                );
                (self.tell)(Priority::Error, &text);
            }
            let Some(job) = job else { break };
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.carry_out(job).await });
        }
        let state = self.lock();
        self.idle.notify_all();
        state.stopping.is_some() && state.lanes.running() == 0
    }

    async fn carry_out(self: Arc<Shared>, job: Job) {
        let (payload, limit) = (&job.payload, job.hook.timeout);
        let report = match &job.hook.action {
            HookAction::Command(arguments) => {
                command::run(arguments, payload, limit, &self.reaped, &self.stop).await
            }
            HookAction::Post { url, .. } => post::run(url, &job.client, payload, limit, &self.stop).await,
        };
        job.counters.add(report.outcome, 1);
        self.tell_outcome(&job, report.outcome, &report.text);
        self.lock().lanes.ended(&job, report.left);
        // It may have ended before it was in the list.
        self.look_after_children();
        self.bell.notify_one();
    }

    fn tell_outcome(self: &Arc<Shared>, job: &Job, outcome: HookOutcome, text: &str) {
        let (name, subject) = (&job.hook.name, job.payload.subject());
        if outcome == HookOutcome::Ok {
            return (self.tell)(Priority::Debug, &format!("Hook {name} is done for {subject}"));
        }
        let say = self.lock().lanes.lane_of(&job.counters).map(|lane| lane.runs.admit(Instant::now()));
        match say.unwrap_or(Say::Line) {
            Say::Line => {
                let text = format!("Hook {name} failed for {subject} ({}): {text}", outcome.as_str());
                (self.tell)(Priority::Warning, &text);
            }
            Say::SumUpLater => self.sum_up_later(name.clone(), Summed::Runs),
            Say::Nothing => {}
        }
    }

    fn sum_up_later(self: &Arc<Shared>, name: String, what: Summed) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(WINDOW).await;
            let mut state = shared.lock();
            let Some(lane) = state.lanes.lane_named(&name) else { return };
            let (limit, words) = match what {
                Summed::Runs => (&mut lane.runs, "runs failed"),
                Summed::Drops => (&mut lane.drops, "events were dropped"),
            };
            let n = limit.sum_up(Instant::now());
            drop(state);
            if n == 0 {
                return; // it was another hook of this name
            }
            (shared.tell)(Priority::Warning, &format!("Hook {name}: {n} more {words} in the last minute"));
        });
    }

    fn look_after_children(&self) {
        let ended = self.lock().lanes.reap_left();
        self.reaped.notify_waiters();
        for (name, pid) in &ended {
            let text = format!("Process {pid} of hook {name}, which was left behind, has ended");
            (self.tell)(Priority::Notice, &text);
        }
        if !ended.is_empty() {
            self.bell.notify_one();
        }
    }
}

/// What is summed up.
#[derive(Clone, Copy)]
enum Summed {
    Runs,
    Drops,
}
