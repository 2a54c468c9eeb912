//! The hooks that there are, each with its queue, its counters and what is said of it.

use super::counters::{HookCounters, HookOutcome};
use super::limit::{Limit, Say};
use super::payload::Payload;
use super::queue::{MAX_RUNNING, Place, Queue};
use super::settings::{Hook, HookSettings};
use crate::output::http_client::CachedClient;
use platform::command::RunningCommand;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Of all hooks, those among them that are not configured any more: a process each.
const MAX_LEFT_IN_ALL: usize = 64;

/// One hook.
pub(super) struct HookRunner {
    pub(super) hook: Arc<Hook>,
    pub(super) client: CachedClient,
    queue: Queue,
    pub(super) counters: Arc<HookCounters>,
    /// What is said of runs, and of events that found no room.
    pub(super) runs: Limit,
    pub(super) drops: Limit,
    /// It was told that it is not started any more.
    told_left: bool,
}

/// What may run now.
pub(super) struct Job {
    pub(super) hook: Arc<Hook>,
    pub(super) client: CachedClient,
    pub(super) counters: Arc<HookCounters>,
    pub(super) place: Place,
    pub(super) payload: Payload,
}

/// All hooks.
#[derive(Default)]
pub(super) struct HookRunners {
    lanes: Vec<HookRunner>,
    left: Vec<(Arc<Hook>, Arc<HookCounters>, RunningCommand)>,
    /// Runs under way, those of hooks that are gone among them.
    running: usize,
}

impl HookRunners {
    /// Goes on with these hooks. How many events are lost with those that are gone?
    pub(super) fn adopt(&mut self, settings: &HookSettings) -> u64 {
        let mut before = std::mem::take(&mut self.lanes);
        for hook in &settings.hooks {
            let at = before.iter().position(|lane| lane.hook.name == hook.name);
            let lane = match at.map(|at| before.swap_remove(at)) {
                Some(lane) if *lane.hook == *hook => lane,
                Some(lane) => {
                    let client = CachedClient::new(hook.action.access());
                    HookRunner { hook: Arc::new(hook.clone()), client, ..lane }
                }
                None => HookRunner::new(hook),
            };
            self.lanes.push(lane);
        }
        before.iter_mut().map(|lane| lane.queue.clear() as u64).sum()
    }

    /// Puts an event into the queues of those who want it. Those whose queue is full are named, with what may be said.
    pub(super) fn offer(
        &mut self,
        event: &str,
        payload: &Payload,
        selected: Option<&[String]>,
        now: Instant,
    ) -> Vec<(Arc<Hook>, Say)> {
        let mut full = Vec::new();
        for lane in &mut self.lanes {
            let chosen = selected.is_none_or(|names| names.contains(&lane.hook.name));
            if chosen && lane.hook.wants(event) && !lane.queue.offer(payload.clone()) {
                lane.counters.add(HookOutcome::Dropped, 1);
                full.push((Arc::clone(&lane.hook), lane.drops.admit(now)));
            }
        }
        full
    }

    /// The next run, and the hooks that are not started any more because too much is left behind, once each.
    pub(super) fn next(&mut self) -> (Option<Job>, Vec<Arc<Hook>>) {
        let mut told = Vec::new();
        let too_many = self.left.len() >= MAX_LEFT_IN_ALL;
        for lane in &mut self.lanes {
            let left = usize::try_from(lane.counters.left.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            if left >= MAX_RUNNING || too_many {
                if !std::mem::replace(&mut lane.told_left, true) {
                    told.push(Arc::clone(&lane.hook));
                }
                continue;
            }
            lane.told_left = false;
            if let Some((place, payload)) = lane.queue.next(left) {
                let (hook, client) = (Arc::clone(&lane.hook), lane.client.clone());
                self.running += 1;
                let counters = Arc::clone(&lane.counters);
                return (Some(Job { hook, client, counters, place, payload }), told);
            }
        }
        (None, told)
    }

    /// A run is over.
    pub(super) fn ended(&mut self, job: &Job, left: Option<RunningCommand>) {
        self.running -= 1;
        if let Some(lane) = self.lane_of(&job.counters) {
            lane.queue.ended(&job.place);
        }
        if let Some(left) = left {
            job.counters.left.fetch_add(1, Ordering::Relaxed);
            self.left.push((Arc::clone(&job.hook), Arc::clone(&job.counters), left));
        }
    }

    /// Looks for the ends of what was left behind. How many have ended, by the names of their hooks?
    pub(super) fn reap_left(&mut self) -> Vec<(String, u32)> {
        let mut ended = Vec::new();
        self.left.retain_mut(|(hook, counters, running)| {
            let gone = running.try_reap().is_some();
            if gone {
                counters.left.fetch_sub(1, Ordering::Relaxed);
                ended.push((hook.name.clone(), running.pid()));
            }
            !gone
        });
        ended
    }

    pub(super) fn lane_of(&mut self, counters: &Arc<HookCounters>) -> Option<&mut HookRunner> {
        self.lanes.iter_mut().find(|lane| Arc::ptr_eq(&lane.counters, counters))
    }

    pub(super) fn lane_named(&mut self, name: &str) -> Option<&mut HookRunner> {
        self.lanes.iter_mut().find(|lane| lane.hook.name == name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &HookRunner> {
        self.lanes.iter()
    }

    /// Nothing waits and nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.lanes.iter().all(|lane| lane.queue.waiting() == 0)
    }

    pub(super) const fn running(&self) -> usize {
        self.running
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        for lane in &mut self.lanes {
            let lost = lane.queue.clear();
            lane.counters.add(HookOutcome::Dropped, lost as u64);
        }
    }
}

impl HookRunner {
    fn new(hook: &Hook) -> HookRunner {
        HookRunner {
            client: CachedClient::new(hook.action.access()),
            hook: Arc::new(hook.clone()),
            queue: Queue::default(),
            counters: Arc::default(),
            runs: Limit::default(),
            drops: Limit::default(),
            told_left: false,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }
}
