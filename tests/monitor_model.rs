//! The monitor against a reference model: random histories of mounts and faults, invariants after every step, and
//! the truth at the end.

mod world;

use mount_status_monitor::monitor::{Change, Event, Health, ProbeSettings, Time, diff, testing};
use platform::{DeviceNumber, Errno, Mount, MountKey, MountTable};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use world::{Fs, QUICK, World};

const SETTINGS: ProbeSettings = ProbeSettings {
    poll_interval: Duration::from_secs(20),
    timeout: Duration::from_secs(3),
    slow_after: Duration::from_secs(1),
};
/// After this long without changes, every mount was asked with full patience and every pause is over.
const QUIET: Duration = Duration::from_secs(200);
const SUPERBLOCKS: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Mount {
        minor: u32,
        excluded: bool,
    },
    /// Inside another mount.
    Nest {
        which: usize,
        minor: u32,
    },
    /// On top of another mount.
    Cover {
        which: usize,
        minor: u32,
    },
    Unmount {
        which: usize,
    },
    Remount {
        which: usize,
        read_only: bool,
    },
    Move {
        which: usize,
    },
    Fs {
        minor: u32,
        fs: Fs,
    },
    Announce,
    Pass {
        ms: u64,
    },
}

fn fs() -> impl Strategy<Value = Fs> {
    prop_oneof![
        4 => Just(Fs::Answers(QUICK)),
        1 => Just(Fs::Answers(Duration::from_millis(1500))),
        2 => Just(Fs::Hangs),
        2 => Just(Fs::Unkillable),
        1 => Just(Fs::Fails(Errno::EIO, QUICK)),
        1 => Just(Fs::Fails(Errno::ESTALE, Duration::from_secs(5))),
        1 => Just(Fs::Fails(Errno::EACCES, QUICK)),
        1 => Just(Fs::KillsTheProber),
        1 => Just(Fs::WrongMount),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let minor = 2..2 + SUPERBLOCKS;
    prop_oneof![
        3 => (minor.clone(), any::<u8>()).prop_map(|(minor, n)| Step::Mount { minor, excluded: n < 40 }),
        2 => any::<usize>().prop_map(|which| Step::Unmount { which }),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, read_only)| Step::Remount { which, read_only }),
        1 => any::<usize>().prop_map(|which| Step::Move { which }),
        4 => (minor, fs()).prop_map(|(minor, fs)| Step::Fs { minor, fs }),
        4 => Just(Step::Announce),
        6 => prop_oneof![1_u64..50, 50_u64..5_000, 5_000_u64..60_000].prop_map(|ms| Step::Pass { ms }),
    ]
}

fn step_in_a_tree() -> impl Strategy<Value = Step> {
    let minor = 2..2 + SUPERBLOCKS;
    let fs = prop_oneof![
        3 => Just(Fs::Answers(QUICK)),
        2 => Just(Fs::Hangs),
        2 => Just(Fs::Unkillable),
        1 => Just(Fs::Fails(Errno::EIO, QUICK)),
    ];
    prop_oneof![
        2 => minor.clone().prop_map(|minor| Step::Mount { minor, excluded: false }),
        3 => (any::<usize>(), minor.clone()).prop_map(|(which, minor)| Step::Nest { which, minor }),
        2 => (any::<usize>(), minor.clone()).prop_map(|(which, minor)| Step::Cover { which, minor }),
        2 => any::<usize>().prop_map(|which| Step::Unmount { which }),
        4 => (minor, fs).prop_map(|(minor, fs)| Step::Fs { minor, fs }),
        4 => Just(Step::Announce),
        6 => prop_oneof![1_u64..50, 50_u64..5_000, 5_000_u64..60_000].prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What people were told, mount by mount: the reference for what may be told next.
#[derive(Default)]
struct Told {
    dead: HashMap<MountKey, bool>,
    slow: HashSet<MountKey>,
    present: HashSet<MountKey>,
    read: usize,
}

impl Told {
    fn check(&mut self, world: &World) -> Result<(), TestCaseError> {
        for (at, event) in &world.events[self.read..] {
            let wrong = |why: &str| TestCaseError::fail(format!("at {at:?}: {why}: {event:?}"));
            let Some(mount) = event.mount() else { continue };
            if mount.device == "excluded" {
                return Err(wrong("told of a mount that is not watched"));
            }
            let key = mount.key;
            let dead = self.dead.get(&key).copied().unwrap_or(false);
            match event {
                Event::Mounted { .. } if !self.present.insert(key) => return Err(wrong("appeared twice")),
                Event::Unmounted { .. } => {
                    self.present.remove(&key);
                    self.dead.remove(&key);
                    self.slow.remove(&key);
                }
                Event::Failed { .. } => {
                    if dead {
                        return Err(wrong("failed though dead"));
                    }
                    self.dead.insert(key, true);
                    self.slow.remove(&key);
                }
                Event::StillFailing { .. } if !dead => return Err(wrong("still failing though not dead")),
                Event::Recovered { .. } => {
                    if !dead && !self.slow.contains(&key) {
                        return Err(wrong("recovered from nothing"));
                    }
                    self.dead.insert(key, false);
                    self.slow.remove(&key);
                }
                Event::Slow { .. } if dead || !self.slow.insert(key) => {
                    return Err(wrong("slow though dead or told before"));
                }
                Event::Denied { .. } => {
                    self.dead.insert(key, false);
                }
                _ => {}
            }
        }
        self.read = world.events.len();
        Ok(())
    }
}

fn invariants(world: &World) -> Result<(), TestCaseError> {
    let mut per_superblock: HashMap<u32, usize> = HashMap::new();
    for (minor, ..) in world.unanswered() {
        *per_superblock.entry(minor).or_default() += 1;
    }
    for (minor, unanswered) in per_superblock {
        if unanswered > 1 {
            return Err(TestCaseError::fail(format!("{unanswered} unanswered probes of superblock {minor}")));
        }
    }
    if world.next_deadline().is_some_and(|at| at <= world.now) {
        return Err(TestCaseError::fail("a deadline that is not in the future"));
    }
    Ok(())
}

fn take_step(world: &mut World, step: &Step, last_key: &mut u64) {
    let pick = |world: &World, which: usize| {
        let keys: Vec<u64> = world.mounts.keys().copied().filter(|&key| key > 1).collect();
        (!keys.is_empty()).then(|| keys[which % keys.len()])
    };
    match step {
        Step::Mount { minor, excluded } => {
            *last_key += 1;
            let fstype = if *excluded { "excluded" } else { "fuse.x" };
            world.mount(*last_key, &format!("/m{last_key}"), fstype, *minor, 1);
        }
        Step::Nest { which, minor } | Step::Cover { which, minor } => {
            let Some(on) = pick(world, *which) else { return };
            *last_key += 1;
            let mut path = world.mounts[&on].mountpoint.clone();
            if matches!(step, Step::Nest { .. }) {
                path.push(format!("n{last_key}"));
            }
            let path = path.to_str().expect("plain names").to_owned();
            world.mount(*last_key, &path, "fuse.x", *minor, u32::try_from(on).expect("small keys"));
        }
        Step::Unmount { which } => {
            // With all that is in it, as `umount -R`.
            let mut doomed: Vec<u64> = pick(world, *which).into_iter().collect();
            while let Some(key) = doomed.pop() {
                world.mounts.remove(&key);
                let inside = world.mounts.values().filter(|mount| u64::from(mount.parent) == key);
                doomed.extend(inside.map(|mount| mount.key.0));
            }
        }
        Step::Remount { which, read_only } => {
            if let Some(key) = pick(world, *which) {
                let options = if *read_only { "ro" } else { "rw" };
                world.alter(key, |mount| mount.options = options.into());
            }
        }
        Step::Move { which } => {
            if let Some(key) = pick(world, *which) {
                let moved = format!("/moved{key}-{}", world.log.len());
                world.alter(key, |mount| mount.mountpoint = moved.into());
            }
        }
        Step::Fs { minor, fs } => world.set_fs(*minor, *fs),
        Step::Announce => world.announce(),
        Step::Pass { ms } => world.run_until(world.now + Duration::from_millis(*ms)),
    }
}

/// What must be known of a mount in the end.
fn truth(fs: Fs) -> &'static [&'static str] {
    match fs {
        Fs::Answers(took) if took > SETTINGS.slow_after => &["slow"],
        Fs::Answers(_) => &["ok"],
        Fs::Hangs | Fs::Unkillable => &["hung"],
        Fs::Fails(Errno::EACCES, _) => &["denied"],
        // Slower than the timeout: hung when the probe is killed first, failed when its answer comes late.
        Fs::Fails(_, took) if took > SETTINGS.timeout => &["hung", "failed"],
        Fs::Fails(..) => &["failed"],
        // Nothing can be learned: whatever was known before.
        Fs::KillsTheProber | Fs::WrongMount => {
            &["pending", "ok", "slow", "hung", "failed", "denied", "hidden"]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_invariants_and_ends_in_the_truth(
        steps in vec(step(), 1..60),
        last in vec(fs(), SUPERBLOCKS as usize),
        seed in prop_oneof![1 => Just(0), 3 => any::<u64>()],
    ) {
        let mut world = World::seeded(SETTINGS, seed);
        world.mount(1, "/", "ext4", 1, 0);
        let (mut told, mut last_key) = (Told::default(), 1);
        told.present.insert(MountKey(1));
        world.feed_table();
        for step in &steps {
            take_step(&mut world, step, &mut last_key);
            let here = world.now;
            world.run_until(here);
            told.check(&world)?;
            invariants(&world)?;
        }
        let mut final_fs = BTreeMap::new();
        for (minor, fs) in (2..).zip(last) {
            world.set_fs(minor, fs);
            final_fs.insert(minor, fs);
        }
        world.announce();
        let until = world.now + QUIET;
        let mut runs = 0;
        while world.now < until {
            world.run_until(world.now + Duration::from_millis(500));
            told.check(&world)?;
            invariants(&world)?;
        }
        let mut began = Time::default();
        for (at, event) in &world.events {
            if let Event::Run { took, .. } = event {
                runs += 1;
                let gap = Time::after_start(at.since_start() - *took) - began;
                prop_assert!(gap <= SETTINGS.poll_interval.max(*took), "{gap:?} without a run, till {at:?}");
                began = began + gap;
                let limit = SETTINGS.timeout + Duration::from_secs(11);
                prop_assert!(*took <= limit, "a run took {took:?}, complete at {at:?}");
            }
        }
        prop_assert!(runs >= 8, "only {runs} runs");
        let status = world.monitor.status();
        let watched = world.mounts.values().filter(|mount| mount.device != "excluded").count();
        prop_assert_eq!(status.mounts.len(), watched);
        for known in &status.mounts {
            let minor = known.mount.device_number.minor;
            let expected = final_fs.get(&minor).map_or(&["ok"][..], |&fs| truth(fs));
            let health = known.health.as_str();
            prop_assert!(
                expected.contains(&health),
                "{:?} on superblock {minor} is {health}, not {expected:?}\n{}", known.mount.mountpoint,
                world.log.join("\n")
            );
            let is_told = told.dead.get(&known.mount.key).copied().unwrap_or(false);
            if known.health != Health::Hidden {
                prop_assert_eq!(is_told, known.health.failure().is_some());
            }
        }
    }

    #[test]
    fn in_any_tree_of_mounts_the_end_is_the_truth(
        steps in vec(step_in_a_tree(), 1..60),
        hung in vec(any::<bool>(), SUPERBLOCKS as usize),
        seed in prop_oneof![1 => Just(0), 3 => any::<u64>()],
    ) {
        let mut world = World::seeded(SETTINGS, seed);
        world.mount(1, "/", "ext4", 1, 0);
        let mut last_key = 1;
        world.feed_table();
        for step in &steps {
            take_step(&mut world, step, &mut last_key);
            let here = world.now;
            world.run_until(here);
            prop_assert!(world.next_deadline().is_none_or(|at| at > world.now));
        }
        for (minor, hung) in (2..).zip(hung) {
            world.set_fs(minor, if hung { Fs::Hangs } else { Fs::Answers(QUICK) });
        }
        world.announce();
        let runs = |world: &World| world.events.iter().filter(|(_, e)| matches!(e, Event::Run { .. })).count();
        let before = runs(&world);
        world.run_until(world.now + QUIET);
        prop_assert!(runs(&world) >= before + 7, "runs do not end any more\n{}", world.log.join("\n"));
        for known in &world.monitor.status().mounts {
            let mount = &known.mount;
            let (reached, way_hangs) = world.walk(&mount.mountpoint);
            let expected = match reached {
                Some(key) if key != mount.key.0 => "hidden",
                _ if way_hangs.is_some() || world.is_hanging(mount.device_number.minor) => "hung",
                _ => "ok",
            };
            prop_assert_eq!(
                known.health.as_str(), expected, "{:?} key {} way {:?}\n{}", mount.mountpoint, mount.key.0, way_hangs, world.log.join("\n")
            );
        }
    }

    #[test]
    fn a_difference_leads_from_one_table_to_the_other(a in table(), b in table()) {
        let mut result: BTreeMap<MountKey, Arc<Mount>> = a.iter().map(|m| (m.key, m.clone())).collect();
        for change in diff(&a, &b) {
            match change {
                Change::Unmounted(mount) => prop_assert_eq!(result.remove(&mount.key), Some(mount)),
                Change::Mounted(mount) => prop_assert_eq!(result.insert(mount.key, mount), None),
                Change::Remounted { after, .. } | Change::Moved { after, .. } => {
                    prop_assert!(result.insert(after.key, after).is_some());
                }
            }
        }
        prop_assert_eq!(MountTable::new(result.into_values().collect()), b.clone());
        prop_assert_eq!(diff(&b, &b), vec![]);
    }
}

fn table() -> impl Strategy<Value = MountTable> {
    let entry = (1_u64..12, 0_usize..3, 1_u32..3, any::<bool>(), 0_u32..2);
    vec(entry, 0..10).prop_map(|entries| {
        let by_key: BTreeMap<u64, Mount> = entries
            .into_iter()
            .map(|(key, path, minor, read_only, parent)| {
                let mut mount = testing::mount(key, ["/a", "/b", "/b/c"][path]);
                mount.device_number = DeviceNumber { major: 0, minor };
                mount.options = if read_only { "ro".into() } else { "rw".into() };
                mount.parent = parent;
                (key, mount)
            })
            .collect();
        MountTable::new(by_key.into_values().map(Arc::new).collect())
    })
}

#[test]
fn time_is_an_argument() {
    let start = Time::after_start(Duration::from_secs(1));
    assert_eq!((start + Duration::from_secs(2)) - start, Duration::from_secs(2));
    assert_eq!(start.since(start + Duration::from_secs(1)), Duration::ZERO);
}
