//! Which waits last: a request that waits in one sample is usual, one that waits in all of them for a while, while no
//! answer arrives, is a sign.

use platform::DeviceNumber;
use platform::signs::{Sign, Waiting};
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

/// A wait for a server is a sign after two samples of [`SUSPICION_INTERVAL`] after the first, less than a late timer:
/// with 5 % loss of packets, a healthy server is rarely silent for so long.
const MIN_WAIT_OF_SERVER: Duration = Duration::from_millis(950);
/// A wait in FUSE is one after the next sample: the first may be late, as many file systems cost more to look at.
const MIN_WAIT_OF_FUSE: Duration = Duration::from_millis(450);
/// The interval of samples from the first sample of a wait until it is a sign or over.
pub(super) const SUSPICION_INTERVAL: Duration = Duration::from_millis(500);
/// A sign that lasts is repeated after this pause: the mount may have been probed for another reason at first, and on a
/// busy FUSE server one wait follows another, of which one may be the first of a hang.
const REPEAT: Duration = Duration::from_secs(2);

#[derive(Default, Debug)]
pub struct WaitTracker {
    waits: FxHashMap<(Sign, u32), Wait>,
}

#[derive(Debug)]
struct Wait {
    answers: u64,
    since: Instant,
    reported_at: Option<Instant>,
}

impl WaitTracker {
    /// Takes a sample. Returns the signs to report now.
    pub fn observe(&mut self, now: Instant, sample: Vec<Waiting>) -> Vec<Sign> {
        let mut before = std::mem::take(&mut self.waits);
        let mut signs = Vec::new();
        for Waiting { sign, connection, answers } in sample {
            let key = (sign, connection);
            // An answer is progress; a transport that is not connected shows none.
            let same = before.remove(&key).filter(|wait| answers <= wait.answers);
            let mut wait = same.unwrap_or(Wait { answers, since: now, reported_at: None });
            if wait.is_due(now, &key.0) {
                wait.reported_at = Some(now);
                signs.push(key.0.clone());
            }
            self.waits.insert(key, wait);
        }
        signs.sort_unstable();
        signs.dedup();
        signs
    }

    /// The FUSE file systems with waits.
    pub fn fuse(&self) -> Vec<DeviceNumber> {
        let device = |(sign, _): &(Sign, u32)| match sign {
            Sign::Fuse(device) => Some(*device),
            Sign::Server(_) => None,
        };
        self.waits.keys().filter_map(device).collect()
    }

    /// Whether a wait may soon be a sign.
    pub fn has_suspicion(&self) -> bool {
        self.waits.values().any(|wait| wait.reported_at.is_none())
    }
}

impl Wait {
    fn is_due(&self, now: Instant, sign: &Sign) -> bool {
        let min_wait = match sign {
            Sign::Server(_) => MIN_WAIT_OF_SERVER,
            Sign::Fuse(_) => MIN_WAIT_OF_FUSE,
        };
        now >= self.reported_at.map_or(self.since + min_wait, |at| at + REPEAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUSE: Sign = Sign::Fuse(DeviceNumber { major: 0, minor: 40 });

    fn nfs(answers: u64) -> Waiting {
        Waiting { sign: Sign::Server(b"10.9.0.2".to_vec()), connection: 3, answers }
    }

    fn fuse() -> Waiting {
        Waiting { sign: FUSE, connection: 40, answers: 0 }
    }

    /// The times in milliseconds at which a sign was reported. `sample` is called for each time as the child does.
    fn reported(until_ms: u64, mut sample: impl FnMut(u64) -> Vec<Waiting>) -> Vec<u64> {
        let (start, mut tracker, mut now, mut signs) = (Instant::now(), WaitTracker::default(), 0, vec![]);
        while now <= until_ms {
            let at = start + Duration::from_millis(now);
            signs.extend(tracker.observe(at, sample(now)).iter().map(|_| now));
            now += if tracker.has_suspicion() { 500 } else { 2000 };
        }
        signs
    }

    #[test]
    fn wait_without_answers_is_a_sign_soon_and_is_repeated() {
        for (waiting, first) in [(nfs(7), 3000), (fuse(), 2500)] {
            let signs = reported(9_000, |ms| if ms < 2000 { vec![] } else { vec![waiting.clone()] });
            assert_eq!(signs, [0, 2000, 4000, 6000].map(|later| first + later));
        }
    }

    #[test]
    fn answers_and_pauses_end_a_suspicion() {
        assert_eq!(reported(600_000, |ms| vec![nfs(ms)]), [0; 0]);
        for (waiting, pause) in [(nfs(7), 3), (fuse(), 2)] {
            let mut count = 0;
            let signs = reported(600_000, |_| {
                count += 1;
                if count % pause == 0 { vec![] } else { vec![waiting.clone()] }
            });
            assert_eq!(signs, [0; 0]);
        }
    }

    #[test]
    fn transport_that_loses_its_connection_stays_suspect() {
        let signs = reported(3500, |ms| if ms < 1000 { vec![nfs(7)] } else { vec![nfs(0)] });
        assert_eq!(signs, [1000, 3000]);
    }

    #[test]
    fn server_with_two_connections_is_one_sign() {
        let other = Waiting { connection: 4, ..nfs(1) };
        assert_eq!(reported(1000, |_| vec![nfs(1), other.clone()]), [1000]);
    }
}
