//! Damps mounts that change between dead (or slow) and healthy again and again: after several changes within a window
//! one event says that the mount is flapping, and then nothing is reported until it is steady or stays dead.

use super::evidence::Occasion;
use super::registry::MountEntry;
use super::{Event, FlapSettings, Flapping, Health, Monitor, Time};
use platform::MountKey;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A flapping mount is steady after this part of the window without a change. Less than the window, so that the last
/// news is not too old; more than the time between two changes that made it flap.
const STEADY_SHARE: u32 = 2;
/// A failure that lasts for so many timeouts and an interval is more than flapping.
const MAX_SILENT_TIMEOUTS: u32 = 3;

/// The changes of one mount. Most mounts have none.
#[derive(Default, Debug)]
pub(super) struct FlapDetector(Option<Box<Changes>>);

#[derive(Default, Debug)]
struct Changes {
    /// The reported changes within the window, fewer than [`FlapSettings::changes`].
    changes: VecDeque<Time>,
    flapping: Option<Flapping>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damping {
    /// The change is reported.
    None,
    /// The mount flaps from now on, after this many changes within this time.
    Begins { changes: u32, within: Duration },
    /// The mount flaps: the change is not reported.
    Silent,
}

impl FlapDetector {
    pub(super) fn flapping(&self) -> Option<Flapping> {
        self.0.as_ref()?.flapping
    }

    /// It flapped when an earlier daemon stopped.
    pub(super) fn restore(&mut self, flapping: Flapping) {
        self.0.get_or_insert_default().flapping = Some(flapping);
    }

    pub(super) fn end(&mut self) -> Option<Flapping> {
        self.0.take()?.flapping
    }

    /// The mount died, recovered or became slow.
    fn on_change(&mut self, now: Time, settings: FlapSettings) -> Damping {
        if settings.changes == 0 {
            self.end();
            return Damping::None;
        }
        let Changes { changes: times, flapping } = &mut **self.0.get_or_insert_default();
        if let Some(flapping) = flapping {
            flapping.changes = flapping.changes.saturating_add(1);
            flapping.last = now;
            return Damping::Silent;
        }
        while times.front().is_some_and(|&at| now.since(at) > settings.window) {
            times.pop_front();
        }
        times.push_back(now);
        let (changes, since) = (times.len(), times[0]);
        if changes < settings.changes as usize {
            return Damping::None;
        }
        *times = VecDeque::new();
        *flapping = Some(Flapping { since, changes: settings.changes, last: now });
        Damping::Begins { changes: settings.changes, within: now - since }
    }
}

impl Monitor {
    /// Reports a change of a mount's health, unless it flaps. False if the event itself was not reported.
    pub(super) fn report_change(&mut self, now: Time, key: MountKey, event: Event) -> bool {
        let Some(entry) = self.registry.get_mut(key) else { return false };
        let settings = entry.settings.flap;
        let damping = match event {
            Event::StillFailing { .. } if entry.flaps.flapping().is_some() => Damping::Silent,
            Event::Failed { .. } | Event::Slow { .. } => entry.flaps.on_change(now, settings),
            Event::Recovered { was: "unknown" | "denied", .. } => Damping::None,
            Event::Recovered { .. } => entry.flaps.on_change(now, settings),
            _ => Damping::None,
        };
        if damping == Damping::None {
            return self.report(event);
        }
        if let Damping::Begins { changes, within } = damping {
            let (mount, health) = (Arc::clone(&entry.mount), entry.health.as_str());
            self.report(Event::Flapping { mount, health, changes, within });
        }
        self.check_flapping(now, key); // and plans the next check
        false
    }

    /// Looks whether a flapping mount is steady, or dead for too long.
    pub(super) fn check_flapping(&mut self, now: Time, key: MountKey) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        let Some(flapping) = entry.flaps.flapping() else { return };
        let quiet = entry.settings.flap.window / STEADY_SHARE;
        let next = match &entry.health {
            Health::Dead(_) if entry.is_dead_itself() => entry.since + longest_silence(entry),
            Health::Ok | Health::Slow => flapping.last + quiet,
            // Nothing is known now.
            _ => now + quiet,
        };
        if next > now {
            return self.reports.flap_checks.set(key, next.min(now + quiet));
        }
        let Some(Flapping { since, changes, .. }) = entry.flaps.end() else { return };
        let mount = Arc::clone(&entry.mount);
        match entry.health.failure().cloned() {
            Some(failure) => {
                self.stop_reminders(key);
                self.plan_reminder(now, key);
                if self.report(Event::Failed { mount, failure }) {
                    self.collect(now, key, Occasion::Death, None);
                }
            }
            None => {
                let (health, lasted) = (entry.health.as_str(), now - since);
                self.report(Event::Steady { mount, health, changes, lasted });
            }
        }
    }

    /// The mount ceases to flap because it is not judged any more; returns the event that says so.
    pub(super) fn end_flapping(&mut self, now: Time, key: MountKey) -> Option<Event> {
        self.reports.flap_checks.cancel(key);
        let entry = self.registry.get_mut(key)?;
        let Flapping { since, changes, .. } = entry.flaps.end()?;
        let (mount, health) = (Arc::clone(&entry.mount), entry.health.as_str());
        Some(Event::Steady { mount, health, changes, lasted: now - since })
    }
}

fn longest_silence(entry: &MountEntry) -> Duration {
    entry.settings.timeout.saturating_mul(MAX_SILENT_TIMEOUTS).saturating_add(entry.settings.probe_interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: FlapSettings = FlapSettings { changes: 4, window: Duration::from_secs(60) };

    fn at(seconds: u64) -> Time {
        Time::after_start(Duration::from_secs(seconds))
    }

    fn play(changes: &[u64], settings: FlapSettings) -> (FlapDetector, Vec<Damping>) {
        let mut detector = FlapDetector::default();
        let dampings = changes.iter().map(|&seconds| detector.on_change(at(seconds), settings)).collect();
        (detector, dampings)
    }

    #[test]
    fn changes_within_the_window_are_damped() {
        let begins = |within| Damping::Begins { changes: 4, within: Duration::from_secs(within) };
        let (_, dampings) = play(&[0, 10, 20, 60, 61, 500], SETTINGS);
        let none = Damping::None;
        assert_eq!(dampings, [none, none, none, begins(60), Damping::Silent, Damping::Silent]);
        let (mut detector, dampings) = play(&[0, 61, 100, 122, 150], SETTINGS);
        assert_eq!(dampings, [none, none, none, none, Damping::None], "only the window counts");
        assert_eq!(detector.on_change(at(155), SETTINGS), begins(55));
        let flapping = Flapping { since: at(100), changes: 4, last: at(155) };
        assert_eq!(detector.flapping(), Some(flapping));
        assert!(detector.end().is_some() && detector.flapping().is_none());
        assert_eq!(detector.on_change(at(183), SETTINGS), none, "it begins anew");
    }

    #[test]
    fn zero_changes_damp_nothing_and_memory_is_bounded() {
        let off = FlapSettings { changes: 0, ..SETTINGS };
        let times: Vec<u64> = (0..1000).collect();
        let (detector, dampings) = play(&times, off);
        assert!(dampings.iter().all(|damping| *damping == Damping::None) && detector.0.is_none());
        let (detector, _) = play(&times, SETTINGS);
        assert!(detector.0.unwrap().changes.capacity() < 8);
    }
}
