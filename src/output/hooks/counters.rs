//! What came of hooks; written by their thread, read by whoever renders.

use std::sync::atomic::{AtomicU64, Ordering};

/// What came of one event at one hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookOutcome {
    /// The command ended with 0, the server took it.
    Ok,
    /// The command did not start or ended with something else, the server refused.
    Failed,
    /// Time was up.
    Timeout,
    /// It never ran, or was given up, because its queue was full or the daemon ended.
    Dropped,
}

impl HookOutcome {
    /// All of them.
    pub const ALL: [HookOutcome; 4] =
        [HookOutcome::Ok, HookOutcome::Failed, HookOutcome::Timeout, HookOutcome::Dropped];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HookOutcome::Ok => "ok",
            HookOutcome::Failed => "failed",
            HookOutcome::Timeout => "timeout",
            HookOutcome::Dropped => "dropped",
        }
    }
}

/// Counts of one hook.
#[derive(Debug, Default)]
pub(super) struct HookCounters {
    outcomes: [AtomicU64; HookOutcome::ALL.len()],
    pub(super) left: AtomicU64,
}

impl HookCounters {
    pub(super) fn add(&self, outcome: HookOutcome, n: u64) {
        self.outcomes[outcome as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn read(&self, name: &str, waiting: usize) -> HookCount {
        let runs = std::array::from_fn(|at| self.outcomes[at].load(Ordering::Relaxed));
        HookCount { name: name.to_owned(), runs, waiting, left: self.left.load(Ordering::Relaxed) }
    }
}

/// Counts of one hook at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HookCount {
    /// Its name.
    pub name: String,
    /// Events by what came of them, in the order of [`HookOutcome::ALL`].
    pub runs: [u64; HookOutcome::ALL.len()],
    /// Events that wait.
    pub waiting: usize,
    /// Commands that were killed and have not ended.
    pub left: u64,
}

impl HookCount {
    /// Events of which this came.
    #[must_use]
    pub const fn runs(&self, outcome: HookOutcome) -> u64 {
        self.runs[outcome as usize]
    }
}
