//! Keeps machines apart. Thousands that start at the same moment, or lose the same server, would otherwise probe it at
//! the same moments ever after, and all together when it comes back. From a seed of its own each machine draws an
//! offset for what recurs and a jitter for retries. Both only shorten waits, so every promised time holds for each
//! machine.

use std::time::Duration;

/// The jitter shortens a pause by at most one part in this many.
const JITTER_SHARE: u32 = 4;

/// Draws from the seed of one machine; seed 0 changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jitter {
    seed: u64,
}

impl Jitter {
    pub(super) const fn new(seed: u64) -> Jitter {
        Jitter { seed }
    }

    /// The first wait of something that recurs each `interval`: within the interval, never zero.
    pub(super) fn first_wait(self, interval: Duration, subject: u64) -> Duration {
        interval - self.part_of(interval, subject, 0)
    }

    /// The pause before retry `n` of `subject`: between three quarters of it and the whole.
    pub(super) fn shorten(self, pause: Duration, subject: u64, n: u32) -> Duration {
        pause - self.part_of(pause / JITTER_SHARE, subject, u64::from(n) + 1)
    }

    /// A part of `span`, less than the whole; nothing without a seed.
    fn part_of(self, span: Duration, subject: u64, n: u64) -> Duration {
        if self.seed == 0 {
            return Duration::ZERO;
        }
        let drawn = splitmix64(splitmix64(splitmix64(self.seed) ^ subject) ^ n);
        // The upper half of the product: evenly distributed and less than the span.
        let nanos = (span.as_nanos() * u128::from(drawn >> 32)) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(span)
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): each bit of the input changes half of the output's.
/// Written out so that a machine draws the same numbers with every version of this program.
pub(crate) fn splitmix64(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn generator_is_splitmix64() {
        // The first two outputs for the state 0, as in the reference implementation.
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn without_a_seed_no_wait_is_shortened() {
        let jitter = Jitter::default();
        assert_eq!(jitter.first_wait(MINUTE, 7), MINUTE);
        assert_eq!(jitter.shorten(MINUTE, 7, 3), MINUTE);
    }

    #[test]
    fn waits_are_never_longer_and_never_zero() {
        for seed in 1..2_000 {
            for span in [Duration::from_millis(1), MINUTE, Duration::from_secs(366 * 86_400)] {
                let first = Jitter::new(seed).first_wait(span, seed);
                assert!(first > Duration::ZERO && first <= span, "{first:?} of {span:?}");
                let pause = Jitter::new(seed).shorten(span, seed, 1);
                assert!(pause > span * 3 / 4 - Duration::from_nanos(4) && pause <= span, "{pause:?}");
            }
        }
    }

    #[test]
    fn machines_are_distributed_evenly_over_the_interval() {
        let mut seconds = [0; 60];
        for seed in 1..=6_000 {
            let wait = Jitter::new(seed).first_wait(MINUTE, 0);
            seconds[usize::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap() - 1] += 1;
        }
        // 100 each are expected, with a standard deviation of 10.
        assert!(seconds.iter().all(|n| (50..=150).contains(n)), "{seconds:?}");
    }

    #[test]
    fn one_machine_draws_the_same_numbers_again_and_others_for_each_retry() {
        let jitter = Jitter::new(0xfeed);
        let drawn: Vec<Duration> = (0..8).map(|n| jitter.shorten(MINUTE, 5, n)).collect();
        assert_eq!(drawn, (0..8).map(|n| jitter.shorten(MINUTE, 5, n)).collect::<Vec<_>>());
        let mut different = drawn.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 8, "{drawn:?}");
        assert_ne!(jitter.shorten(MINUTE, 6, 0), drawn[0]);
    }
}
