//! When runs have to end because the daemon does.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The sign for all runs, and who gives it.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Sender<Option<(Instant, Instant)>>);

impl Stop {
    pub(super) fn new() -> Stop {
        Stop(watch::Sender::new(None))
    }

    /// Half of the time is for runs to end by themselves, a quarter for those that are asked to.
    pub(super) fn within(&self, patience: Duration) {
        let now = Instant::now();
        self.0.send_if_modified(|at| {
            let first = at.is_none();
            if first {
                *at = Some((now + patience / 2, now + patience * 3 / 4));
            }
            first
        });
    }

    /// Ends when runs are to end.
    pub(super) async fn soft(&self) {
        sleep_until(self.at().await.0).await;
    }

    /// Ends when they are not asked any longer.
    pub(super) async fn hard(&self) {
        sleep_until(self.at().await.1).await;
    }

    async fn at(&self) -> (Instant, Instant) {
        let mut seen = self.0.subscribe();
        loop {
            if let Some(at) = *seen.borrow_and_update() {
                return at;
            }
            // The sender is `self`: it cannot be gone.
            let _ = seen.changed().await;
        }
    }
}
