//! Proves that probes are stuck now. A probe can be late because this process was stopped or had no processor: when it
//! goes on, this thread may run before the threads whose calls have long returned. So after the request two samples of
//! the thread are taken; it is stuck if it has not run between them and is in the same system call. Many probes are
//! confirmed together.

use super::ProbeId;
use super::wire::Reply;
use super::worker_pool::{Position, WorkerPool};
use crate::monitor::PROOF_TIME;
use platform::process::{ThreadSample, ThreadSampler};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The time between two samples: a thread that is ready to run gets a processor meanwhile, and one that is still frozen
/// goes on.
const SAMPLE_INTERVAL: Duration = PROOF_TIME;
/// If more time passed between two samples, this process may have been stopped between them, and they prove nothing.
const MAX_SAMPLE_INTERVAL: Duration = Duration::from_millis(300);
/// A driver that polls lets its thread run now and then. So many intervals in a row in the same call prove that the
/// thread runs and the call does not return.
const MAX_SWITCHED: u32 = 20;

/// The probes that are to be confirmed.
pub(super) struct Confirmations {
    threads: ThreadSampler,
    pending: HashMap<ProbeId, Pending>,
}

struct Pending {
    /// Where it is now.
    position: Position,
    /// How long it had taken when it was asked for.
    elapsed: Duration,
    last: Sample,
    /// Intervals in a row in which the thread ran without leaving its call.
    switched: u32,
}

/// A sample, and when it was begun and complete.
struct Sample {
    begun: Instant,
    done: Instant,
    thread: ThreadSample,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Stuck,
    /// It is in the same call, but ran in between.
    Switched,
    Unproven,
}

impl Confirmations {
    pub(super) fn new(threads: ThreadSampler) -> Confirmations {
        Confirmations { threads, pending: HashMap::new() }
    }

    /// Begins to confirm these probes.
    pub(super) fn begin(&mut self, workers: &WorkerPool, probes: &[ProbeId]) {
        for position in workers.confirm(probes) {
            if self.pending.contains_key(&position.probe) {
                continue;
            }
            let (elapsed, last) = (position.elapsed, self.sample(position.tid));
            self.pending.insert(position.probe, Pending { position, elapsed, last, switched: 0 });
        }
    }

    /// When [`Confirmations::check`] must be called next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.last.done + SAMPLE_INTERVAL).min()
    }

    /// Takes the samples that are due, and reports the probes that are proven to be stuck.
    pub(super) fn check(&mut self, workers: &WorkerPool, now: Instant) {
        let is_due = |pending: &Pending| pending.last.done + SAMPLE_INTERVAL <= now;
        let due = self.pending.iter().filter(|(_, pending)| is_due(pending));
        let mut samples: HashMap<ProbeId, Sample> =
            due.map(|(&probe, pending)| (probe, self.sample(pending.position.tid))).collect();
        if samples.is_empty() {
            return;
        }
        let probes: Vec<ProbeId> = samples.keys().copied().collect();
        workers.reply_about(&probes, |position| {
            let Position { probe, call, tid, .. } = position;
            let pending = self.pending.get_mut(&probe)?;
            if pending.judge(position, samples.remove(&probe)?) != Verdict::Stuck {
                return None;
            }
            let elapsed = self.pending.remove(&probe)?.elapsed;
            Some(Reply::Stuck { probe, call, elapsed, tid })
        });
        for responded in samples.keys() {
            self.pending.remove(responded);
        }
    }

    fn sample(&self, tid: u32) -> Sample {
        let begun = Instant::now();
        let thread = self.threads.sample(tid);
        Sample { begun, done: Instant::now(), thread }
    }
}

impl Pending {
    /// Takes the next sample of a probe, which is at this position now.
    fn judge(&mut self, position: Position, sample: Sample) -> Verdict {
        let has_moved = (position.call, position.tid) != (self.position.call, self.position.tid);
        let apart = sample.done.saturating_duration_since(self.last.begun);
        let mut verdict =
            if has_moved { Verdict::Unproven } else { verdict(&self.last.thread, &sample.thread, apart) };
        self.switched = if verdict == Verdict::Switched { self.switched + 1 } else { 0 };
        if self.switched >= MAX_SWITCHED {
            verdict = Verdict::Stuck;
        }
        (self.position, self.last) = (position, sample);
        verdict
    }
}

/// What two samples of a thread prove that works on the same call of a probe in both; `apart` is the time from the
/// beginning of the first to the end of the second.
fn verdict(first: &ThreadSample, second: &ThreadSample, apart: Duration) -> Verdict {
    match (first, second) {
        _ if apart > MAX_SAMPLE_INTERVAL => Verdict::Unproven,
        // No sample is possible on this system: what the thread itself wrote down must suffice.
        (ThreadSample::Unknown, ThreadSample::Unknown) => Verdict::Stuck,
        (ThreadSample::Waiting { .. }, ThreadSample::Waiting { .. }) if first == second => Verdict::Stuck,
        (ThreadSample::Waiting { call: a, .. }, ThreadSample::Waiting { call: b, .. }) if a == b => {
            Verdict::Switched
        }
        _ => Verdict::Unproven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::Call;

    fn waiting(call: &str, switches: u64) -> ThreadSample {
        ThreadSample::Waiting { call: call.into(), switches }
    }

    #[test]
    fn thread_is_stuck_if_it_has_not_run_between_the_samples() {
        let ms = Duration::from_millis;
        let statx = || waiting("332 0x1", 7);
        for (first, second, apart, expected) in [
            (statx(), statx(), ms(101), Verdict::Stuck),
            (statx(), statx(), ms(300), Verdict::Stuck),
            (statx(), statx(), ms(301), Verdict::Unproven),
            (statx(), waiting("332 0x1", 8), ms(101), Verdict::Switched),
            (statx(), waiting("137 0x1", 8), ms(101), Verdict::Unproven),
            (statx(), ThreadSample::Elsewhere, ms(101), Verdict::Unproven),
            (ThreadSample::Elsewhere, statx(), ms(101), Verdict::Unproven),
            (ThreadSample::Elsewhere, ThreadSample::Elsewhere, ms(101), Verdict::Unproven),
            (ThreadSample::Unknown, statx(), ms(101), Verdict::Unproven),
            (ThreadSample::Unknown, ThreadSample::Unknown, ms(101), Verdict::Stuck),
        ] {
            assert_eq!(verdict(&first, &second, apart), expected, "{first:?} {second:?} {apart:?}");
        }
    }

    /// Judges a row of samples, each 100 ms after the one before; `moves` to another call after each.
    fn judge(samples: impl Iterator<Item = ThreadSample>, moves: bool) -> Vec<Verdict> {
        let start = Instant::now();
        let position = |call| Position { probe: ProbeId(1), call, elapsed: Duration::ZERO, tid: 7 };
        let sample = |n: u32, thread| {
            let at = start + SAMPLE_INTERVAL * n;
            Sample { begun: at, done: at, thread }
        };
        let last = sample(0, waiting("x", 0));
        let mut pending =
            Pending { position: position(Call::Statx), elapsed: Duration::ZERO, last, switched: 0 };
        let calls = [Call::Statx, Call::Statfs].into_iter().cycle();
        let step = |((n, thread), call)| {
            let call = if moves { call } else { Call::Statx };
            pending.judge(position(call), sample(n, thread))
        };
        (1..).zip(samples).zip(calls.skip(1)).map(step).collect()
    }

    #[test]
    fn thread_that_polls_in_one_call_is_stuck_in_the_end() {
        let polls = || (1..=u64::from(MAX_SWITCHED)).map(|n| waiting("x", n));
        let verdicts = judge(polls(), false);
        assert_eq!(verdicts.iter().position(|&verdict| verdict == Verdict::Stuck), Some(verdicts.len() - 1));
        let interrupted = polls().take(19).chain([ThreadSample::Elsewhere]).chain(polls().take(19));
        assert!(!judge(interrupted, false).contains(&Verdict::Stuck), "it left its call");
        assert!(!judge(polls(), true).contains(&Verdict::Stuck), "it makes progress");
    }
}
