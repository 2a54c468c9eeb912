//! When running hooks have to end because the daemon stops.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(super) struct Shutdown(watch::Sender<Option<Deadlines>>);

#[derive(Clone, Copy, Debug)]
struct Deadlines {
    terminate_at: Instant,
    kill_at: Instant,
}

impl Shutdown {
    pub(super) fn new() -> Shutdown {
        Shutdown(watch::Sender::new(None))
    }

    /// Runs may end by themselves for half of the timeout, and after SIGTERM for another quarter.
    pub(super) fn begin(&self, timeout: Duration) {
        let now = Instant::now();
        let deadlines = Deadlines { terminate_at: now + timeout / 2, kill_at: now + timeout * 3 / 4 };
        self.0.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(deadlines);
            is_first
        });
    }

    /// Returns when runs have to be terminated.
    pub(super) async fn terminate(&self) {
        sleep_until(self.deadlines().await.terminate_at).await;
    }

    /// Returns when runs have to be killed.
    pub(super) async fn kill(&self) {
        sleep_until(self.deadlines().await.kill_at).await;
    }

    async fn deadlines(&self) -> Deadlines {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(deadlines) = *receiver.borrow_and_update() {
                return deadlines;
            }
            let _ = receiver.changed().await; // the sender is `self`, so it exists
        }
    }
}
