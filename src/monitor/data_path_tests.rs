use super::*;
use crate::monitor::testing::mount;
use crate::monitor::{Effect, Health, Input, MonitorConfig, ProbeId, ProbeSettings, Reason};
use platform::{Call, Errno, MountTable, ProbeOutcome, TableUpdate, Target, Usage};

const SUPERBLOCK: DeviceNumber = DeviceNumber { major: 0, minor: 7 };
const QUICK: Duration = Duration::from_millis(2);
const GOOD: ProbeOutcome = ProbeOutcome::DataAlive { usage: NONE, past_cache: true };
const NONE: Usage =
    Usage { block_size: 0, blocks: 0, free: 0, available: 0, files: 0, files_free: 0, read_only: false };

struct Setup {
    monitor: Monitor,
    seconds: u64,
    /// The names of reported events.
    events: Vec<&'static str>,
}

impl Setup {
    /// Two mounts of one superblock, `/a` and `/b`, with data paths, and `/c`, which has none.
    fn new(seed: u64) -> Setup {
        let settings = ProbeSettings::default();
        let data_path = |mount: &Mount| {
            let interval = Duration::from_secs(600);
            let is_wanted = mount.mountpoint.as_path() != std::path::Path::new("/c");
            is_wanted.then(|| DataPath { kind: DataKind::Read, path: "f".into(), interval, identity: None })
        };
        let config = MonitorConfig {
            poll_interval: settings.poll_interval,
            policy: Box::new(move |_| Some(settings)),
            expected: Vec::new(),
            expected_options: None,
            data_paths: Some(Box::new(data_path)),
            searches_every_directory: true,
        };
        let mut setup = Setup { monitor: Monitor::new(config, seed), seconds: 0, events: Vec::new() };
        let mounts = [(1, "/a"), (2, "/b"), (3, "/c")]
            .map(|(key, path)| Arc::new(Mount { device_number: SUPERBLOCK, ..mount(key, path) }));
        setup.feed(Input::TableUpdate(TableUpdate::Whole(MountTable::new(mounts.to_vec()))));
        setup
    }

    fn feed(&mut self, input: Input) {
        let now = Time::after_start(Duration::from_secs(self.seconds));
        self.monitor.handle(now, input);
        self.monitor.settle(now);
    }

    /// Responds to all probes until `seconds`: `data` to those with data. Returns the mounts with such a probe, with the
    /// second.
    fn run(&mut self, seconds: u64, data: ProbeOutcome) -> Vec<(u64, u64)> {
        let mut probed = Vec::new();
        loop {
            while let Some(effect) = self.monitor.next_effect() {
                match effect {
                    Effect::StartProbe { probe, target } => {
                        probed.extend(target.data.as_ref().map(|_| (self.seconds, target.key.0)));
                        let outcome = if target.data.is_some() { data } else { ProbeOutcome::Alive(NONE) };
                        self.feed(Input::ProbeResponded { probe, outcome, took: QUICK });
                    }
                    Effect::Report(event) => self.events.push(event.name()),
                    _ => {}
                }
            }
            if self.seconds >= seconds {
                return probed;
            }
            self.seconds += 1;
            let now = Time::after_start(Duration::from_secs(self.seconds));
            self.monitor.settle(now);
        }
    }

    /// The next probe with data, which gets no response.
    fn next_data_probe(&mut self) -> (ProbeId, Target) {
        loop {
            while let Some(effect) = self.monitor.next_effect() {
                match effect {
                    Effect::StartProbe { probe, target } if target.data.is_some() => return (probe, target),
                    Effect::StartProbe { probe, .. } => {
                        let outcome = ProbeOutcome::Alive(NONE);
                        self.feed(Input::ProbeResponded { probe, outcome, took: QUICK });
                    }
                    Effect::Report(event) => self.events.push(event.name()),
                    _ => {}
                }
            }
            self.seconds += 1;
            assert!(self.seconds < 10_000, "no data-path probe");
            self.monitor.settle(Time::after_start(Duration::from_secs(self.seconds)));
        }
    }

    fn health(&mut self, path: &str) -> Health {
        let status = self.monitor.status();
        let found =
            status.mounts.iter().find(|it| it.mount.mountpoint.as_path() == std::path::Path::new(path));
        found.unwrap().health.clone()
    }

    fn events(&mut self) -> Vec<&'static str> {
        let mut events = std::mem::take(&mut self.events);
        events.retain(|name| !matches!(*name, "run" | "still_failing"));
        events
    }
}

fn failed(errno: Errno) -> ProbeOutcome {
    ProbeOutcome::Failed { call: Call::Read, errno }
}

#[test]
fn one_probe_for_each_superblock_at_its_own_interval() {
    let mut setup = Setup::new(0);
    assert_eq!(setup.run(1_900, GOOD), [(0, 1), (600, 1), (1_200, 1), (1_800, 1)]);
}

#[test]
fn machines_write_at_different_times() {
    let second = |seed| Setup::new(seed).run(1_300, GOOD)[1].0;
    let seconds: BTreeSet<u64> = (1..=40).map(second).collect();
    assert!(seconds.len() > 5, "{seconds:?}");
    assert!(seconds.iter().all(|second| *second <= 660), "{seconds:?}");
}

#[test]
fn only_a_good_probe_of_the_data_ends_a_failure_of_the_data() {
    let mut setup = Setup::new(0);
    setup.run(500, GOOD);
    setup.events();
    let probed = setup.run(700, failed(Errno::EIO));
    assert_eq!(setup.health("/a").failure().map(|it| it.reason), Some(Reason::IoError));
    assert!(probed.iter().filter(|(_, key)| *key == 1).count() > 3, "it is retried: {probed:?}");
    assert!(probed.iter().any(|(_, key)| *key == 2), "the other mount is looked at too: {probed:?}");
    assert!(probed.iter().all(|(_, key)| *key != 3));
    assert_eq!(setup.health("/c"), Health::Ok);
    assert_eq!(setup.events(), ["failed", "failed"]);
    setup.run(900, GOOD);
    assert_eq!((setup.health("/a"), setup.health("/b")), (Health::Ok, Health::Ok));
    assert_eq!(setup.events(), ["recovered", "recovered"]);
    assert!(setup.run(1_100, GOOD).is_empty(), "the interval applies again");
}

#[test]
fn hang_in_the_data_path_is_retried_there() {
    let mut setup = Setup::new(0);
    setup.run(10, GOOD);
    for round in 0..5 {
        let (probe, target) = setup.next_data_probe();
        assert_eq!(target.key, MountKey(1), "{round}: a mount without a data path proves nothing");
        setup.seconds += 4;
        setup.monitor.settle(Time::after_start(Duration::from_secs(setup.seconds)));
        setup.feed(Input::ProbeStuck { probe, call: Call::Read, elapsed: Duration::from_secs(4) });
        assert!(["/a", "/b", "/c"].into_iter().all(|path| setup.health(path).is_hung()), "{round}");
        setup.feed(Input::ProbeFreed { probe });
    }
    let (probe, _) = setup.next_data_probe();
    setup.feed(Input::ProbeResponded { probe, outcome: GOOD, took: QUICK });
    setup.run(setup.seconds + 1, GOOD);
    assert!(["/a", "/b", "/c"].into_iter().all(|path| setup.health(path) == Health::Ok));
}

#[test]
fn full_storage_is_a_warning_that_ends() {
    let mut setup = Setup::new(0);
    setup.run(500, GOOD);
    setup.events();
    setup.run(800, failed(Errno::ENOSPC));
    assert_eq!(setup.health("/a"), Health::Denied(Errno::ENOSPC));
    assert_eq!(setup.health("/a").refusal(), Some("full"));
    assert_eq!(setup.monitor.status().dead, 0);
    assert_eq!(setup.events(), ["denied", "denied"], "each mount once");
    setup.run(1_000, failed(Errno::EDQUOT));
    assert_eq!(setup.health("/a").refusal(), Some("quota"));
    assert_eq!(setup.events(), ["denied", "denied"], "for another reason");
    setup.run(1_200, GOOD);
    assert_eq!(setup.events(), ["recovered", "recovered"]);
    setup.run(2_000, failed(Errno::ENOSPC));
    assert_eq!(setup.events(), ["denied", "denied"], "again");
}

#[test]
fn slow_data_path_stays_slow_until_it_is_quick() {
    let mut setup = Setup::new(0);
    let (probe, _) = setup.next_data_probe();
    setup.feed(Input::ProbeResponded { probe, outcome: GOOD, took: Duration::from_secs(2) });
    assert_eq!(setup.health("/a"), Health::Slow);
    let probed = setup.run(130, GOOD);
    assert!(probed.contains(&(60, 1)), "{probed:?}");
    assert_eq!(setup.health("/a"), Health::Ok);
}

#[test]
fn nothing_is_kept_of_mounts_without_a_rule() {
    let mut setup = Setup::new(0);
    setup.run(10, failed(Errno::EIO));
    let settings = ProbeSettings::default();
    setup.feed(Input::Reconfigured(MonitorConfig {
        poll_interval: settings.poll_interval,
        policy: Box::new(move |_| Some(settings)),
        expected: Vec::new(),
        expected_options: None,
        data_paths: None,
        searches_every_directory: true,
    }));
    assert!(setup.monitor.data_paths.mounts.is_empty() && setup.monitor.data_paths.superblocks.is_empty());
    setup.run(100, GOOD);
    assert_eq!(setup.health("/a"), Health::Ok, "an ordinary probe suffices now");
}
