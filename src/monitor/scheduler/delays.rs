//! Delays: retries of dead mounts and their timeouts, intervals of automounted file systems, and the jitter between
//! machines.

use crate::monitor::ProbeSettings;
use std::time::Duration;

/// The pause before the first retry of a dead mount; it doubles with each retry.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// A probe of a hung mount waits for 1/`BUSY_SHARE` of the pause before it: during a probe the mount is busy, and a
/// plain `umount` fails.
const BUSY_SHARE: u32 = 8;
/// A healthy file system responds within this time on a loaded machine.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The pause before retry `n` (from 0).
pub(super) fn pause(n: u32, settings: &ProbeSettings) -> Duration {
    doubled(FIRST_PAUSE, n).min(settings.poll_interval)
}

/// How long a retry of a hung mount waits after `pause`, where `since_full` is the time since the last probe that
/// waited for the full timeout. The full timeout recurs often enough for storage that recovers but is slow.
pub(super) fn retry_timeout(pause: Duration, since_full: Duration, settings: &ProbeSettings) -> Duration {
    if since_full >= settings.timeout * BUSY_SHARE {
        return settings.timeout;
    }
    (pause / BUSY_SHARE).max(MIN_TIMEOUT).min(settings.timeout)
}

/// `first * 2^n`, saturating.
pub(crate) fn doubled(first: Duration, n: u32) -> Duration {
    first.saturating_mul(1_u32 << n.min(31))
}

/// An automounter checks for idle mounts at intervals: automount(8) every quarter of the idle timeout, systemd every
/// third. 1/`CHECK_SHARE` of the timeout is longer than either.
const CHECK_SHARE: u32 = 2;
/// Additional time for a late check.
const CHECK_DELAY: Duration = Duration::from_secs(5);

/// The probe interval of a mount that expires after `idle_timeout` without use. A probe walks the automount trigger's
/// path, and the kernel counts that as use: probed in each run, such a mount would never expire.
pub(crate) fn idle_safe_interval(idle_timeout: Duration) -> Duration {
    idle_timeout.saturating_add(idle_timeout / CHECK_SHARE).saturating_add(CHECK_DELAY)
}

/// The jitter shortens a pause by at most 1/`JITTER_SHARE`.
const JITTER_SHARE: u32 = 4;

/// Spreads the probes of many machines. Thousands that start at the same moment, or lose the same server, would
/// otherwise always probe it at the same moments. From its seed each machine draws an offset for its runs and a jitter
/// for its retries. Both only shorten waits, so every promised time holds on each machine. Seed 0 changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jitter(pub(super) u64);

impl Jitter {
    /// The first wait of something that recurs at `interval`: at most the interval, never zero.
    pub(super) fn first_wait(self, interval: Duration, subject: u64) -> Duration {
        interval - self.part_of(interval, subject, 0)
    }

    /// The pause before retry `n` of `subject`: between three quarters of it and all of it.
    pub(super) fn shorten(self, pause: Duration, subject: u64, n: u32) -> Duration {
        pause - self.part_of(pause / JITTER_SHARE, subject, u64::from(n) + 1)
    }

    /// A duration less than `span`; zero without a seed.
    fn part_of(self, span: Duration, subject: u64, n: u64) -> Duration {
        if self.0 == 0 {
            return Duration::ZERO;
        }
        let drawn = splitmix64(splitmix64(splitmix64(self.0) ^ subject) ^ n);
        // The upper half of the product: evenly distributed and less than the span.
        let nanos = (span.as_nanos() * u128::from(drawn >> 32)) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(span)
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): each bit of the input changes half of the output bits.
/// Implemented here so that a machine draws the same numbers with every version of this program.
pub(crate) fn splitmix64(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn generator_is_splitmix64() {
        // The first two outputs for the state 0, as in the reference implementation.
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn waits_are_never_longer_and_never_zero() {
        for seed in 1..2_000 {
            for span in [Duration::from_millis(1), MINUTE, Duration::from_secs(366 * 86_400)] {
                let first = Jitter(seed).first_wait(span, seed);
                assert!(first > Duration::ZERO && first <= span, "{first:?} of {span:?}");
                let pause = Jitter(seed).shorten(span, seed, 1);
                assert!(pause > span * 3 / 4 - Duration::from_nanos(4) && pause <= span, "{pause:?}");
            }
        }
    }

    #[test]
    fn machines_are_distributed_evenly_over_the_interval() {
        let mut seconds = [0; 60];
        for seed in 1..=6_000 {
            let wait = Jitter(seed).first_wait(MINUTE, 0);
            seconds[usize::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap() - 1] += 1;
        }
        // 100 each are expected, with a standard deviation of 10.
        assert!(seconds.iter().all(|n| (50..=150).contains(n)), "{seconds:?}");
    }

    #[test]
    fn one_machine_draws_the_same_numbers_again_and_others_for_each_retry() {
        let draw = |subject, n| Jitter(0xfeed).shorten(MINUTE, subject, n);
        let drawn = BTreeSet::from_iter((0..8).chain(0..8).map(|n| draw(5, n)));
        assert_eq!(drawn.len(), 8, "{drawn:?}");
        assert_ne!(draw(6, 0), draw(5, 0));
    }

    #[test]
    fn pauses_double_up_to_the_interval() {
        let settings = ProbeSettings::default();
        let pauses: Vec<u64> = (0..7).map(|n| pause(n, &settings).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, &settings), MINUTE);
    }

    #[test]
    fn retries_of_a_hung_mount_are_short_until_a_full_timeout_is_due() {
        let settings = ProbeSettings {
            poll_interval: Duration::from_secs_f64(1.0),
            timeout: Duration::from_secs_f64(1.0),
            slow_after: Duration::from_secs_f64(0.5),
            ..ProbeSettings::default()
        };
        assert_eq!(
            retry_timeout(Duration::from_secs_f64(1.0), Duration::from_secs_f64(1.0), &settings),
            Duration::from_secs_f64(0.125)
        );
        assert_eq!(
            retry_timeout(Duration::from_secs_f64(1.0), Duration::from_secs_f64(8.0), &settings),
            Duration::from_secs_f64(1.0)
        );
        assert_eq!(
            retry_timeout(Duration::from_secs_f64(0.1), Duration::from_secs_f64(0.2), &settings),
            MIN_TIMEOUT
        );
    }

    #[test]
    fn automounter_finds_the_mount_idle_between_two_probes() {
        for (timeout, expected) in [(1, 6.5), (40, 65.0), (300, 455.0)] {
            let interval = idle_safe_interval(Duration::from_secs(timeout));
            assert_eq!(interval, Duration::from_secs_f64(expected));
            assert!(interval > Duration::from_secs(timeout + timeout.div_ceil(3)), "{timeout}");
        }
        assert_eq!(idle_safe_interval(Duration::MAX), Duration::MAX);
    }
}
