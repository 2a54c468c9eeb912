//! The time during which this process ran. While it is stopped, frozen or without a processor, its probes take longer
//! than their storage does.

use std::time::{Duration, Instant};

/// The main thread beats at least this often while a probe runs.
pub(super) const BEAT_INTERVAL: Duration = Duration::from_millis(100);
/// A longer pause between beats is more than the usual delay of a timer: this process did not run.
const MAX_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct RunningTime {
    last_beat: Instant,
    lost: Duration,
}

impl RunningTime {
    pub(super) fn new(now: Instant) -> RunningTime {
        RunningTime { last_beat: now, lost: Duration::ZERO }
    }

    /// The main thread runs now.
    pub(super) fn beat(&mut self, now: Instant) {
        self.lost = self.lost_by(now);
        self.last_beat = now;
    }

    /// The time that was lost so far. It never decreases; its increase during a probe is not the storage's.
    pub(super) fn lost_by(&self, now: Instant) -> Duration {
        let pause = now.saturating_duration_since(self.last_beat);
        self.lost + if pause > MAX_PAUSE { pause - BEAT_INTERVAL } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_pauses_between_beats_are_lost() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut time = RunningTime::new(start);
        assert_eq!(time.lost_by(at(200)), Duration::ZERO);
        assert_eq!(time.lost_by(at(1_000)), Duration::from_millis(900), "also before the next beat");
        for (beat, lost) in [(100, 0), (250, 0), (5_250, 4_900), (5_350, 4_900), (5_300, 4_900)] {
            time.beat(at(beat));
            assert_eq!(time.lost_by(at(beat)), Duration::from_millis(lost), "at {beat}");
        }
    }
}
