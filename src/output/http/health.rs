//! Whether the loop turns: it is woken, and then it has to.

use super::limits::{ALIVE_FRESH, ALIVE_LOOK, ALIVE_WITHIN};
use crate::output::SharedState;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

pub(super) struct Pulse {
    live: SharedState,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Pulse {
    pub(super) fn new(live: SharedState) -> Pulse {
        Pulse { live, last: Mutex::new(None) }
    }

    /// Does it turn? One who asks while it is being found out gets the same answer.
    pub(super) async fn beats(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, alive)) = *last
            && at.elapsed() < ALIVE_FRESH
        {
            return alive;
        }
        let (before, start) = (self.live.turns(), Instant::now());
        self.live.wake_loop();
        let alive = loop {
            if self.live.turns() != before {
                break true;
            }
            if start.elapsed() >= ALIVE_WITHIN {
                break false;
            }
            sleep(ALIVE_LOOK).await;
        };
        *last = Some((Instant::now(), alive));
        alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn a_loop_that_stands_still_has_no_pulse() {
        assert!(!run(Pulse::new(SharedState::new()).beats()));
    }

    #[test]
    fn a_loop_that_turns_has_one() {
        let live = SharedState::new();
        let turning = live.clone();
        let pulse = Pulse::new(live);
        let alive = run(async {
            let beats = pulse.beats();
            let turns = async {
                sleep(ALIVE_LOOK).await;
                turning.tick();
            };
            futures_util::future::join(beats, turns).await.0
        });
        assert!(alive);
    }
}
