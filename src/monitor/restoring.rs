//! Continues from what an earlier daemon has left. It is known when it reported what, but not what has happened since: the
//! first probes decide that. Until then a mount has its last known health, and counts as not judged.

use super::probing::REMINDERS_AFTER_PAUSE;
use super::saved::{SavedMissing, SavedMount};
use super::{Event, Monitor, SavedStatus, Time};
use platform::{Mount, MountKey};
use std::path::Path;
use std::sync::Arc;

impl Monitor {
    /// Continues from this with the first mount table, which must not have come yet. Its times are those of this daemon.
    pub fn restore(&mut self, saved: SavedStatus) {
        self.saved = Some(saved);
    }

    /// Before the mounts of the first table are watched: their options are compared at once.
    pub(super) fn take_saved(&mut self) -> Option<SavedStatus> {
        let saved = self.saved.take()?;
        for unexpected in saved.mounts.iter().filter_map(SavedMount::unexpected_options) {
            self.options.restore(unexpected);
        }
        Some(saved)
    }

    /// Before the first run, and before it is checked which expected mounts are missing.
    pub(super) fn restore_mounts(&mut self, now: Time, saved: SavedStatus) {
        for mount in saved.mounts {
            self.restore_mount(now, &mount);
        }
        for SavedMissing { written, what, since, is_in_doubt, .. } in saved.missing {
            self.expected.restore(Path::new(&written.to_os_string()), &what, since, is_in_doubt);
        }
    }

    fn restore_mount(&mut self, now: Time, saved: &SavedMount) {
        let health = saved.health.to_health();
        let Some(key) = self.find_saved(saved) else {
            self.options.forget(saved.mount.key());
            return self.report_if_gone(now, saved);
        };
        let Some(entry) = self.registry.get_mut(key) else { return };
        if let Some(flapping) = saved.flapping {
            entry.flaps.restore(flapping);
            self.reports.flap_checks.set(key, now + REMINDERS_AFTER_PAUSE);
        }
        if let Some(report) = saved.report
            && let Some(at) = self.reports.restore(entry, report, now + REMINDERS_AFTER_PAUSE)
        {
            self.evidence.plan_for_reminder(now, key, at);
        }
        if let Some(health) = health.filter(|_| !entry.is_hidden) {
            self.registry.restore_health(key, health, saved.since);
        }
    }

    /// The watched mount that this is.
    fn find_saved(&self, saved: &SavedMount) -> Option<MountKey> {
        let is_like =
            |key: &MountKey| self.registry.get(*key).is_some_and(|it| saved.mount.is_like(&it.mount));
        let members = self.registry.members(saved.mount.device_number());
        [saved.mount.key()].into_iter().chain(members).find(is_like)
    }

    /// A mount that was dead and is no longer in the table.
    fn report_if_gone(&mut self, now: Time, saved: &SavedMount) {
        let is_like = |mount: &Arc<Mount>| saved.mount.is_like(mount);
        let is_there = self.registry.tree().get(saved.mount.key()).is_some_and(is_like);
        let Some(health) = saved.health.to_health().filter(|health| health.failure().is_some()) else {
            return;
        };
        if !is_there {
            let mount = Arc::new(saved.mount.to_mount());
            let lasted = now - saved.since;
            self.report_of(mount.user(), Event::Unmounted { mount, health, lasted });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use crate::monitor::{Effect, Expected, Health, Input, MonitorConfig, ProbeSettings};
    use platform::{Call, Errno, MountTable, ProbeOutcome, TableUpdate, Usage};
    use std::time::Duration;

    const DEAD: ProbeOutcome = ProbeOutcome::Failed { call: Call::Statfs, errno: Errno::EIO };
    const OTHER_DEAD: ProbeOutcome = ProbeOutcome::Failed { call: Call::Statfs, errno: Errno::ESTALE };
    /// The next daemon starts so much later.
    const LATER: i64 = 100 * 1_000_000_000;

    fn alive() -> ProbeOutcome {
        ProbeOutcome::Alive(Usage::default())
    }

    fn at(seconds: u64) -> Time {
        Time::after_start(Duration::from_secs(seconds))
    }

    struct Machine {
        monitor: Monitor,
        events: Vec<Event>,
    }

    impl Machine {
        fn new(saved: Option<SavedStatus>, mounts: Vec<Mount>) -> Machine {
            let expected = Expected::new("/data".into(), String::new(), "file:1".to_owned(), |_| true);
            let config = MonitorConfig {
                poll_interval: Duration::from_secs(60),
                policy: Box::new(|_| Some(ProbeSettings::default())),
                expected: vec![Arc::new(expected)],
                expected_options: None,
                data_paths: None,
                searches_every_directory: true,
            };
            let mut monitor = Monitor::new(config, 0);
            if let Some(saved) = saved {
                monitor.restore(saved);
            }
            let mut machine = Machine { monitor, events: Vec::new() };
            machine.read(0, mounts);
            machine
        }

        fn read(&mut self, seconds: u64, mounts: Vec<Mount>) {
            let table = MountTable::new(mounts.into_iter().map(Arc::new).collect());
            self.monitor.handle(at(seconds), Input::TableUpdate(TableUpdate::Whole(table)));
        }

        /// All probes end with this.
        fn respond(&mut self, seconds: u64, outcome: ProbeOutcome) {
            let now = at(seconds);
            self.monitor.settle(now);
            while let Some(effect) = self.monitor.next_effect() {
                match effect {
                    Effect::StartProbe { probe, .. } => {
                        let took = Duration::ZERO;
                        self.monitor.handle(now, Input::ProbeResponded { probe, outcome, took });
                        self.monitor.settle(now);
                    }
                    Effect::Report(Event::Run { .. }) => {}
                    Effect::Report(event) => self.events.push(event),
                    _ => {}
                }
            }
        }

        fn names(&self) -> Vec<&'static str> {
            self.events.iter().map(Event::name).collect()
        }

        fn saved(&mut self) -> SavedStatus {
            SavedStatus::of(&self.monitor.status())
        }

        fn only_status(&mut self) -> (&'static str, Time) {
            let status = self.monitor.status();
            let only = status.mounts.iter().next().expect("a mount");
            (only.health.as_str(), only.since)
        }
    }

    fn mounts() -> Vec<Mount> {
        vec![mount(1, "/a")]
    }

    /// A mount that is dead since 10 s, and an expected mount that is missing; as the next daemon gets it.
    fn left() -> SavedStatus {
        let mut first = Machine::new(None, mounts());
        first.respond(10, DEAD);
        first.read(10, mounts());
        first.respond(20, DEAD);
        assert_eq!(first.names(), ["failed", "missing"]);
        first.saved().shifted(-LATER)
    }

    #[test]
    fn what_is_as_before_is_not_reported_and_keeps_its_time() {
        let mut next = Machine::new(Some(left()), mounts());
        let dead_since = at(10).shifted(-LATER);
        assert_eq!(next.only_status(), ("failed", dead_since), "its last known health");
        assert_eq!(next.monitor.dead_mounts().count(), 0, "no remedy before a probe");
        next.respond(1, DEAD);
        assert_eq!((next.names(), next.only_status()), (vec![], ("failed", dead_since)));
        assert_eq!(next.monitor.dead_mounts().count(), 1);
        assert_eq!(
            (next.saved().problems(), next.saved().doubts().count()),
            ((1, 1), 0),
            "and so it is left again"
        );
        // The reminder was due at 70 s of the first daemon: it comes when the state is known again.
        next.respond(10, DEAD);
        assert_eq!(next.names(), ["still_failing"]);
        let Event::StillFailing { lasted, .. } = next.events[0] else { panic!("a reminder") };
        assert_eq!(lasted, Duration::from_secs(100));
        next.respond(11, OTHER_DEAD);
        next.respond(60, OTHER_DEAD);
        assert_eq!(next.names(), ["still_failing"; 2], "another reason");
    }

    #[test]
    fn what_has_changed_is_reported_with_the_time_since_it_began() {
        let mut next = Machine::new(Some(left()), vec![mount(1, "/a"), mount(2, "/data")]);
        next.respond(1, alive());
        assert_eq!(next.names(), ["found", "recovered"]);
        for event in &next.events {
            let (Event::Recovered { lasted, .. } | Event::Found { lasted, .. }) = event else {
                panic!("{event:?}")
            };
            assert!((90..=101).contains(&lasted.as_secs()), "{event:?}");
        }
        let mut next = Machine::new(Some(left()), vec![mount(7, "/b")]);
        next.respond(1, alive());
        assert_eq!(next.names(), ["unmounted"]);
        let Event::Unmounted { health: Health::Dead(_), lasted, .. } = next.events[0] else {
            panic!("it was dead")
        };
        assert_eq!(lasted, Duration::from_secs(90));
        // The same in a mount namespace of its own.
        let own = Mount { device_number: mounts()[0].device_number, ..mount(9, "/a") };
        let mut next = Machine::new(Some(left()), vec![own]);
        next.respond(1, alive());
        assert_eq!(next.names(), ["recovered"]);
        // Its key is used again.
        let mut next = Machine::new(Some(left()), vec![mount(1, "/c")]);
        next.respond(1, DEAD);
        assert_eq!(next.names(), ["unmounted", "failed"]);
    }

    #[test]
    fn what_is_in_doubt_is_reported_whatever_it_is() {
        for before in [alive(), DEAD] {
            let mut first = Machine::new(None, mounts());
            first.respond(10, before);
            let mut saved = first.saved();
            let now = if matches!(before, ProbeOutcome::Alive(_)) { DEAD } else { alive() };
            first.events.clear();
            first.respond(400, now);
            let expected = if matches!(now, ProbeOutcome::Alive(_)) { "recovered" } else { "failed" };
            assert!(first.names().contains(&expected), "{:?}", first.names());
            saved.doubt(first.events.iter().map(|event| (at(400), event)));
            assert!(saved.doubts().any(|path| path == Path::new("/a")));
            for (outcome, name) in [(DEAD, "failed"), (alive(), "recovered")] {
                let mut next = Machine::new(Some(saved.clone().shifted(-5 * LATER)), mounts());
                next.respond(1, outcome);
                assert!(next.names().contains(&name), "{before:?}: {name} is not in {:?}", next.names());
            }
        }
    }
}
