//! The configured hooks, each with its queue, its counters and its log limits. Never blocks.

use super::log_limiter::LogLimiter;
use super::outcome::{HookOutcome, HookResult};
use super::payload::Payload;
use super::queue::{MAX_RUNNING, Queue};
use super::settings::Hook;
use crate::monitor::Event;
use crate::output::http_client::CachedClient;
use crate::output::saved_state::{Records, Versions};
use crate::output::{Drill, DrillOutcome, LogFn};
use crate::render::metrics::HookStats;
use crate::render::{Message, Priority};
use platform::command::RunningCommand;
use std::sync::Arc;
use std::time::Instant;

/// Maximum number of commands that could not be killed, over all hooks, including removed ones. Each is a process.
const MAX_STRANDED: usize = 64;

struct HookRunner {
    /// Does not change while the hook keeps its name.
    id: u64,
    hook: Arc<Hook>,
    client: CachedClient,
    queue: Queue,
    outcomes: [u64; HookOutcome::LABELS.len()],
    stranded: usize,
    failures: LogLimiter,
    drops: LogLimiter,
    is_block_logged: bool,
}

/// A run that may start now.
pub(super) struct Job {
    runner: u64,
    pub(super) hook: Arc<Hook>,
    pub(super) client: CachedClient,
    pub(super) payload: Payload,
}

/// A command that was killed and has not exited.
struct StrandedCommand {
    runner: u64,
    hook: Arc<Hook>,
    command: RunningCommand,
}

pub(super) struct HookRunners {
    log: LogFn,
    runners: Vec<HookRunner>,
    stranded: Vec<StrandedCommand>,
    /// Runs in progress, including those of removed hooks.
    pub(super) running: usize,
    /// Of what has run, for the next daemon.
    pub(super) records: Option<Arc<Records>>,
    last_id: u64,
}

/// Its name among all outputs.
fn recorded_name(hook: &Hook) -> String {
    format!("hook {}", hook.name)
}

impl HookRunners {
    pub(super) fn new(log: LogFn) -> HookRunners {
        HookRunners { log, runners: Vec::new(), stranded: Vec::new(), running: 0, records: None, last_id: 0 }
    }

    /// A hook that keeps its name keeps its queue and its counters.
    pub(super) fn reconfigure(&mut self, hooks: &[Hook]) {
        let mut before = std::mem::take(&mut self.runners);
        for hook in hooks {
            let index = before.iter().position(|runner| runner.hook.name == hook.name);
            let mut runner = match index {
                Some(index) => before.swap_remove(index),
                None => {
                    self.last_id += 1;
                    HookRunner::new(self.last_id, hook)
                }
            };
            if *runner.hook != *hook {
                runner.client = CachedClient::new(hook.action.access());
                runner.hook = Arc::new(hook.clone());
            }
            self.runners.push(runner);
        }
        let dropped: usize = before.iter_mut().map(|runner| runner.queue.clear()).sum();
        if dropped > 0 {
            let text = format!("{dropped} events were dropped with the hooks that were removed");
            (self.log)(Priority::Notice, &text);
        }
    }

    /// Puts an event into the queues of the hooks that selected it. `selected` are the hooks selected by a rule; `None`
    /// means all.
    pub(super) fn offer(
        &mut self,
        versions: &Versions,
        selected: Option<&[String]>,
        severity: &'static str,
        now: Instant,
    ) {
        let Some(event) = versions.any().event.as_ref().map(Event::name) else { return };
        for runner in &mut self.runners {
            let is_selected = selected.is_none_or(|names| names.contains(&runner.hook.name));
            if !is_selected || !runner.hook.events.contains(&event) {
                continue;
            }
            let Some(message) = versions.of(&recorded_name(&runner.hook)) else { continue };
            let dropped =
                runner.queue.push(Payload { message: Arc::clone(message), severity, receipt: None });
            runner.count(HookOutcome::Dropped, dropped);
            for _ in 0..dropped {
                if runner.drops.admit(now) {
                    let name = &runner.hook.name;
                    let text = format!("Hook {name}: an event was dropped, too many are waiting");
                    (self.log)(Priority::Warning, &text);
                }
            }
        }
    }

    /// Puts the event of a drill into the queue of every hook.
    pub(super) fn drill(&mut self, drill: &Drill, message: &Arc<Message>, severity: &'static str) {
        let are_too_many = self.stranded.len() >= MAX_STRANDED;
        for runner in &mut self.runners {
            let receipt = Arc::new(drill.expect_hook(&runner.hook.name, runner.hook.action.target()));
            let payload =
                Payload { message: Arc::clone(message), severity, receipt: Some(Arc::clone(&receipt)) };
            if runner.is_blocked(are_too_many) {
                let why = "it is not started: too many commands of hooks cannot be killed";
                receipt.finish(DrillOutcome::Failed(why.to_owned()));
            } else if !runner.queue.push_drill(payload) {
                receipt.finish(DrillOutcome::Failed("its queue is full".to_owned()));
            }
        }
    }

    /// The next run that may start.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if self.stranded.len() >= MAX_STRANDED {
            return None;
        }
        self.runners.iter_mut().find_map(|runner| {
            let payload = runner.next_payload()?;
            self.running += 1;
            let (hook, client) = (Arc::clone(&runner.hook), runner.client.clone());
            Some(Job { runner: runner.id, hook, client, payload })
        })
    }

    /// Records and logs the result of a run.
    pub(super) fn finish(&mut self, job: &Job, result: HookResult, now: Instant) {
        self.running -= 1;
        if let Some(receipt) = &job.payload.receipt {
            receipt.finish(result.of_drill());
        }
        let HookResult { outcome, text, stranded } = result;
        if let Some(records) = &self.records
            && outcome != HookOutcome::Dropped
        {
            records.deliver(&recorded_name(&job.hook), &job.payload.message);
        }
        let is_drill = job.payload.is_of_drill();
        let runner = self.runners.iter_mut().find(|runner| runner.id == job.runner);
        let is_logged = runner.is_none_or(|runner| {
            runner.queue.finish(&job.payload);
            if !is_drill {
                runner.count(outcome, 1);
            }
            runner.stranded += usize::from(stranded.is_some());
            outcome == HookOutcome::Ok || is_drill || runner.failures.admit(now)
        });
        if let Some(command) = stranded {
            self.stranded.push(StrandedCommand { runner: job.runner, hook: Arc::clone(&job.hook), command });
        }
        if is_drill {
            return; // its command shows it
        }
        let (name, subject) = (&job.hook.name, job.payload.subject());
        if outcome == HookOutcome::Ok {
            (self.log)(Priority::Debug, &format!("Hook {name} is done for {subject}"));
        } else if is_logged {
            let label = HookOutcome::LABELS[outcome as usize];
            (self.log)(Priority::Warning, &format!("Hook {name} failed for {subject} ({label}): {text}"));
        }
    }

    /// Checks whether commands that could not be killed have exited. Returns whether any have.
    pub(super) fn reap_stranded(&mut self) -> bool {
        let HookRunners { runners, stranded, log, .. } = self;
        let before = stranded.len();
        stranded.retain_mut(|stranded| {
            let has_exited = stranded.command.try_reap().is_some();
            if has_exited {
                if let Some(runner) = runners.iter_mut().find(|runner| runner.id == stranded.runner) {
                    runner.stranded -= 1;
                }
                let (pid, name) = (stranded.command.pid(), &stranded.hook.name);
                let text = format!("Process {pid} of hook {name}, which could not be killed, has exited");
                log(Priority::Notice, &text);
            }
            !has_exited
        });
        stranded.len() < before
    }

    /// Logs due summaries, and hooks that were blocked. Returns when the next summary is due.
    pub(super) fn log_due(&mut self, now: Instant) -> Option<Instant> {
        let are_too_many = self.stranded.len() >= MAX_STRANDED;
        for runner in &mut self.runners {
            let name = &runner.hook.name;
            let summaries =
                [(&mut runner.failures, "runs failed"), (&mut runner.drops, "events were dropped")];
            for (limiter, what) in summaries {
                if let Some(count) = limiter.take_summary(now) {
                    let text = format!("Hook {name}: {count} more {what} in the last minute");
                    (self.log)(Priority::Warning, &text);
                }
            }
            let is_blocked = runner.is_blocked(are_too_many);
            if is_blocked && !runner.is_block_logged {
                let text =
                    format!("Hook {name} is no longer started: too many commands of hooks cannot be killed");
                (self.log)(Priority::Error, &text);
            }
            runner.is_block_logged = is_blocked;
        }
        let limiters = self.runners.iter().flat_map(|runner| [&runner.failures, &runner.drops]);
        limiters.filter_map(LogLimiter::summary_at).min()
    }

    pub(super) fn stats(&self) -> Vec<HookStats> {
        let stats = |runner: &HookRunner| HookStats {
            name: runner.hook.name.clone(),
            runs: HookOutcome::LABELS.into_iter().zip(runner.outcomes).collect(),
            waiting: runner.queue.waiting(),
            stranded: runner.stranded as u64,
        };
        self.runners.iter().map(stats).collect()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.runners.iter().all(|runner| runner.queue.waiting() == 0)
    }

    /// Drops all events that wait.
    pub(super) fn clear(&mut self) {
        for runner in &mut self.runners {
            let dropped = runner.queue.clear();
            runner.count(HookOutcome::Dropped, dropped as u64);
        }
    }
}

impl HookRunner {
    fn new(id: u64, hook: &Hook) -> HookRunner {
        HookRunner {
            id,
            client: CachedClient::new(hook.action.access()),
            hook: Arc::new(hook.clone()),
            queue: Queue::default(),
            outcomes: Default::default(),
            stranded: 0,
            failures: LogLimiter::default(),
            drops: LogLimiter::default(),
            is_block_logged: false,
        }
    }

    fn is_blocked(&self, are_too_many_stranded: bool) -> bool {
        self.stranded >= MAX_RUNNING || are_too_many_stranded
    }

    fn next_payload(&mut self) -> Option<Payload> {
        loop {
            let payload = self.queue.next(self.stranded)?;
            if !payload.has_expired() {
                return Some(payload);
            }
            self.queue.finish(&payload);
        }
    }

    fn count(&mut self, outcome: HookOutcome, count: u64) {
        self.outcomes[outcome as usize] += count;
    }
}
