//! What came of the pushes; written by the thread that pushes, read by whoever renders.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Counts of one gateway.
#[derive(Debug, Default)]
pub struct PushCounters {
    failures: AtomicU64,
    /// Milliseconds since the epoch; 0 before the first.
    last_success: AtomicU64,
}

impl PushCounters {
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn succeeded(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_success.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Failures so far, and when a push last succeeded, since the epoch.
    pub(crate) fn read(&self) -> (u64, Duration) {
        let last = Duration::from_millis(self.last_success.load(Ordering::Relaxed));
        (self.failures.load(Ordering::Relaxed), last)
    }
}
