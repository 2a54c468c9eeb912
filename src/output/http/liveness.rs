//! Whether the event loop responds: it is woken and must then turn.

use super::limits::{LIVENESS_POLL_INTERVAL, LIVENESS_REUSE, LIVENESS_TIMEOUT};
use crate::output::SharedState;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

pub(super) struct LivenessCheck {
    state: SharedState,
    last: Mutex<Option<(Instant, bool)>>,
}

impl LivenessCheck {
    pub(super) fn new(state: SharedState) -> LivenessCheck {
        LivenessCheck { state, last: Mutex::new(None) }
    }

    /// Requests at the same time share one check.
    pub(super) async fn is_alive(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, is_alive)) = *last
            && at.elapsed() < LIVENESS_REUSE
        {
            return is_alive;
        }
        let (turns, start) = (self.state.turns(), Instant::now());
        self.state.wake_loop();
        while self.state.turns() == turns && start.elapsed() < LIVENESS_TIMEOUT {
            sleep(LIVENESS_POLL_INTERVAL).await;
        }
        let is_alive = self.state.turns() != turns;
        *last = Some((Instant::now(), is_alive));
        is_alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn loop_that_does_not_turn_is_not_alive() {
        assert!(!block_on(LivenessCheck::new(SharedState::default()).is_alive()));
    }

    #[test]
    fn loop_that_turns_is_alive() {
        let state = SharedState::default();
        let check = LivenessCheck::new(state.clone());
        let is_alive = block_on(async {
            let turn = async {
                sleep(LIVENESS_POLL_INTERVAL).await;
                state.tick();
            };
            futures_util::future::join(check.is_alive(), turn).await.0
        });
        assert!(is_alive);
    }
}
