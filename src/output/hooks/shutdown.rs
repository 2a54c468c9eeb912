//! The deadlines of running hooks when the daemon stops.

use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep_until;

#[derive(Default)]
pub(super) struct Shutdown(watch::Sender<Option<Deadlines>>);

#[derive(Clone, Copy)]
struct Deadlines {
    terminate_at: Instant,
    kill_at: Instant,
    end: Instant,
}

impl Shutdown {
    /// Runs may end by themselves in the first half of the timeout, and after SIGTERM in the next quarter. Returns the end
    /// of the timeout of the first call; later calls change nothing.
    pub(super) fn begin(&self, timeout: Duration) -> Instant {
        let now = Instant::now();
        let (terminate_at, kill_at, end) = (now + timeout / 2, now + timeout * 3 / 4, now + timeout);
        self.0.send_modify(|deadlines| {
            deadlines.get_or_insert(Deadlines { terminate_at, kill_at, end });
        });
        self.0.borrow().map_or(end, |deadlines| deadlines.end)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Completes when runs must be terminated.
    pub(super) async fn terminate(&self) {
        sleep_until(self.deadlines().await.terminate_at.into()).await;
    }

    /// Completes when runs must be killed.
    pub(super) async fn kill(&self) {
        sleep_until(self.deadlines().await.kill_at.into()).await;
    }

    async fn deadlines(&self) -> Deadlines {
        let mut receiver = self.0.subscribe();
        let deadlines = receiver.wait_for(Option::is_some).await.expect("the sender is self");
        deadlines.expect("it was waited for")
    }
}
