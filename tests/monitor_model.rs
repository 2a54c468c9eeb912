//! The monitor against a reference model: random histories of mounts and faults, with invariants after every step and
//! the correct health of every mount at the end.

mod simulation;

use mount_status_monitor::monitor::{
    Change, Event, FlapSettings, Health, Input, ProbeSettings, Severity, Time, diff, testing,
};
use platform::{DeviceNumber, Errno, Mount, MountKey, MountTable};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestCaseError;
use simulation::{FsBehavior, QUICK, Simulation};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SETTINGS: ProbeSettings = ProbeSettings {
    poll_interval: Duration::from_secs(20),
    timeout: Duration::from_secs(3),
    slow_after: Duration::from_secs(1),
    flap: FlapSettings { changes: 0, window: Duration::from_secs(1) },
    severity: Severity::Critical,
};
/// After this time without changes, every mount was probed with the full timeout, and every pause has ended.
const SETTLING_TIME: Duration = Duration::from_secs(200);
const SUPERBLOCKS: u32 = 4;
/// Of one history.
const MAX_STEPS: usize = 60;

/// Steps of all histories in which changes are compared with whole tables. `MSM_TEST_OPERATIONS` sets another number.
fn operations() -> u32 {
    std::env::var("MSM_TEST_OPERATIONS").map_or(12_000, |n| n.parse().expect("a number"))
}

#[derive(Clone, Debug)]
enum Step {
    Mount { minor: u32, excluded: bool },
    MountInside { which: usize, minor: u32 },
    MountOver { which: usize, minor: u32 },
    MountBeneath { which: usize, minor: u32 },
    Unmount { which: usize },
    Remount { which: usize, read_only: bool },
    Move { which: usize },
    Fs { minor: u32, fs: FsBehavior },
    Announce,
    Resume,
    Stall,
    Wait { ms: u64 },
}

fn fs() -> impl Strategy<Value = FsBehavior> {
    prop_oneof![
        4 => Just(FsBehavior::Responds(QUICK)),
        1 => Just(FsBehavior::Responds(Duration::from_millis(1500))),
        2 => Just(FsBehavior::Hangs),
        2 => Just(FsBehavior::Unkillable),
        1 => Just(FsBehavior::Fails(Errno::EIO, QUICK)),
        1 => Just(FsBehavior::Fails(Errno::ESTALE, Duration::from_secs(5))),
        1 => Just(FsBehavior::Fails(Errno::EACCES, QUICK)),
        1 => Just(FsBehavior::PathRefused),
        1 => Just(FsBehavior::KillsProber),
        1 => Just(FsBehavior::WrongMount),
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
        1 => Just(Step::Resume),
        6 => prop_oneof![1_u64..50, 50_u64..5_000, 5_000_u64..60_000].prop_map(|ms| Step::Wait { ms }),
    ]
}

fn tree_step() -> impl Strategy<Value = Step> {
    let minor = 2..2 + SUPERBLOCKS;
    let fs = prop_oneof![
        3 => Just(FsBehavior::Responds(QUICK)),
        2 => Just(FsBehavior::Hangs),
        2 => Just(FsBehavior::Unkillable),
        1 => Just(FsBehavior::Fails(Errno::EIO, QUICK)),
    ];
    prop_oneof![
        2 => minor.clone().prop_map(|minor| Step::Mount { minor, excluded: false }),
        3 => (any::<usize>(), minor.clone()).prop_map(|(which, minor)| Step::MountInside { which, minor }),
        2 => (any::<usize>(), minor.clone()).prop_map(|(which, minor)| Step::MountOver { which, minor }),
        1 => (any::<usize>(), minor.clone()).prop_map(|(which, minor)| Step::MountBeneath { which, minor }),
        2 => any::<usize>().prop_map(|which| Step::Unmount { which }),
        4 => (minor, fs).prop_map(|(minor, fs)| Step::Fs { minor, fs }),
        4 => Just(Step::Announce),
        1 => Just(Step::Resume),
        1 => Just(Step::Stall),
        1 => any::<usize>().prop_map(|which| Step::Move { which }),
        6 => prop_oneof![1_u64..50, 50_u64..5_000, 5_000_u64..60_000].prop_map(|ms| Step::Wait { ms }),
    ]
}

/// What was reported about each mount, which decides what may be reported next.
#[derive(Default)]
struct Reports {
    dead: HashMap<MountKey, bool>,
    slow: HashSet<MountKey>,
    unknown: HashSet<MountKey>,
    present: HashSet<MountKey>,
    checked: usize,
}

impl Reports {
    fn check(&mut self, simulation: &Simulation) -> Result<(), TestCaseError> {
        for (at, event) in &simulation.events[self.checked..] {
            let wrong = |why: &str| TestCaseError::fail(format!("at {at:?}: {why}: {event:?}"));
            let Some(mount) = event.mount() else { continue };
            if mount.device == "excluded" {
                return Err(wrong("report about a mount that is not watched"));
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
                Event::Unknown { .. } if dead => return Err(wrong("unknown though dead")),
                Event::Unknown { .. } => drop(self.unknown.insert(key)),
                Event::Recovered { .. } => {
                    if !self.unknown.remove(&key) && !dead && !self.slow.contains(&key) {
                        return Err(wrong("recovered though neither dead, slow nor unknown"));
                    }
                    self.dead.insert(key, false);
                    self.slow.remove(&key);
                }
                Event::Slow { .. } if dead || !self.slow.insert(key) => {
                    return Err(wrong("slow though dead or reported before"));
                }
                Event::Denied { .. } => {
                    self.dead.insert(key, false);
                }
                _ => {}
            }
        }
        self.checked = simulation.events.len();
        Ok(())
    }
}

fn invariants(simulation: &mut Simulation) -> Result<(), TestCaseError> {
    let mut per_superblock: HashMap<u32, usize> = HashMap::new();
    for minor in simulation.unanswered() {
        *per_superblock.entry(minor).or_default() += 1;
    }
    for (minor, unanswered) in per_superblock {
        if unanswered > 1 {
            return Err(TestCaseError::fail(format!("{unanswered} unanswered probes of superblock {minor}")));
        }
    }
    if simulation.next_deadline().is_some_and(|at| at <= simulation.now) {
        return Err(TestCaseError::fail("a deadline that is not in the future"));
    }
    status_is_up_to_date(simulation)
}

/// The status that is kept is the one that is made from scratch.
fn status_is_up_to_date(simulation: &mut Simulation) -> Result<(), TestCaseError> {
    let kept = simulation.monitor.status();
    let made = simulation.monitor.status_from_scratch();
    let different = kept.mounts.iter().zip(made.mounts.iter()).find(|(kept, made)| kept != made);
    prop_assert!(kept == made, "the status is out of date: {different:#?}\n{}", simulation.log.join("\n"));
    Ok(())
}

/// A mount and all in it, as `umount -R` and `mount --move` take it.
fn tree_of(simulation: &Simulation, key: u64) -> Vec<u64> {
    let mut tree = vec![key];
    let mut next = 0;
    while let Some(&key) = tree.get(next) {
        let inside = simulation.mounts.values().filter(|mount| u64::from(mount.parent) == key);
        tree.extend(inside.map(|mount| mount.key.0));
        next += 1;
    }
    tree
}

fn apply(simulation: &mut Simulation, step: &Step, last_key: &mut u64) {
    let pick = |simulation: &Simulation, which: usize| {
        let keys: Vec<u64> = simulation.mounts.keys().copied().filter(|&key| key > 1).collect();
        (!keys.is_empty()).then(|| keys[which % keys.len()])
    };
    match step {
        Step::Mount { minor, excluded } => {
            *last_key += 1;
            let fstype = if *excluded { "excluded" } else { "fuse.x" };
            simulation.mount(*last_key, &format!("/m{last_key}"), fstype, *minor, 1);
        }
        Step::MountInside { which, minor } | Step::MountOver { which, minor } => {
            let Some(on) = pick(simulation, *which) else { return };
            *last_key += 1;
            let mut path = simulation.mounts[&on].mountpoint.to_path_buf();
            if matches!(step, Step::MountInside { .. }) {
                path.push(format!("n{last_key}"));
            }
            let path = path.to_str().expect("plain names").to_owned();
            simulation.mount(*last_key, &path, "fuse.x", *minor, u32::try_from(on).expect("small keys"));
        }
        Step::MountBeneath { which, minor } => {
            let Some(on_top) = pick(simulation, *which) else { return };
            *last_key += 1;
            let (top, key) = (Arc::clone(&simulation.mounts[&on_top]), *last_key);
            let path = top.mountpoint.to_str().expect("plain names");
            simulation.mount(key, path, "fuse.x", *minor, top.parent);
            simulation.alter(on_top, |mount| mount.parent = u32::try_from(key).expect("small keys"));
        }
        Step::Unmount { which } => {
            for key in pick(simulation, *which).map_or_else(Vec::new, |key| tree_of(simulation, key)) {
                simulation.mounts.remove(&key);
            }
        }
        Step::Remount { which, read_only } => {
            if let Some(key) = pick(simulation, *which) {
                let options = if *read_only { "ro" } else { "rw" };
                simulation.alter(key, |mount| mount.options = options.into());
            }
        }
        Step::Move { which } => {
            let Some(key) = pick(simulation, *which) else { return };
            let (from, to) = (
                Arc::clone(&simulation.mounts[&key]),
                PathBuf::from(format!("/moved{key}-{}", simulation.log.len())),
            );
            for inside in tree_of(simulation, key) {
                let path = &simulation.mounts[&inside].mountpoint;
                let rest = path.strip_prefix(&from.mountpoint).expect("paths of mounts inside continue it");
                let moved = to.components().chain(rest.components()).collect::<PathBuf>();
                simulation.alter(inside, |mount| mount.mountpoint = (&*moved).into());
            }
            simulation.alter(key, |mount| mount.parent = 1);
        }
        Step::Fs { minor, fs } => simulation.set_fs(*minor, *fs),
        Step::Announce => simulation.announce(),
        Step::Resume => simulation.feed(Input::Resumed),
        Step::Stall => simulation.feed(Input::Stalled(Duration::from_millis(700))),
        Step::Wait { ms } => simulation.run_until(simulation.now + Duration::from_millis(*ms)),
    }
}

/// The possible health of a mount at the end.
fn expected_health(fs: FsBehavior) -> &'static [&'static str] {
    match fs {
        FsBehavior::Responds(took) if took > SETTINGS.slow_after => &["slow"],
        FsBehavior::Responds(_) => &["ok"],
        FsBehavior::Hangs | FsBehavior::Unkillable => &["hung"],
        FsBehavior::PathRefused => &["denied"],
        // A failure if the mount responded before.
        FsBehavior::Fails(Errno::EACCES, _) => &["denied", "failed"],
        // Slower than the timeout: hung if the probe is killed first, failed if its response arrives late.
        FsBehavior::Fails(_, took) if took > SETTINGS.timeout => &["hung", "failed"],
        FsBehavior::Fails(..) => &["failed"],
        // Nothing can be found out: the health from before.
        FsBehavior::KillsProber | FsBehavior::WrongMount => {
            &["pending", "ok", "slow", "hung", "failed", "denied", "hidden", "unknown"]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_invariants_and_ends_with_the_correct_health(
        steps in vec(step(), 1..MAX_STEPS),
        last in vec(fs(), SUPERBLOCKS as usize),
        seed in prop_oneof![1 => Just(0), 3 => any::<u64>()],
    ) {
        let mut simulation = Simulation::new(SETTINGS, seed);
        simulation.expect_options([("/", "rw")]);
        simulation.mount(1, "/", "ext4", 1, 0);
        let (mut reports, mut last_key) = (Reports::default(), 1);
        reports.present.insert(MountKey(1));
        simulation.feed_table();
        for step in &steps {
            apply(&mut simulation, step, &mut last_key);
            let now = simulation.now;
            simulation.run_until(now);
            reports.check(&simulation)?;
            invariants(&mut simulation)?;
        }
        let mut final_fs = BTreeMap::new();
        for (minor, fs) in (2..).zip(last) {
            simulation.set_fs(minor, fs);
            final_fs.insert(minor, fs);
        }
        simulation.announce();
        let until = simulation.now + SETTLING_TIME;
        let mut runs = 0;
        while simulation.now < until {
            simulation.run_until(simulation.now + Duration::from_millis(500));
            reports.check(&simulation)?;
            invariants(&mut simulation)?;
        }
        // A run that is due while the first is still open, or after a pause, becomes part of it.
        let is_resumed = steps.iter().any(|step| matches!(step, Step::Resume));
        let (mut started_at, mut merged) = (Time::default(), Duration::ZERO);
        for (at, event) in &simulation.events {
            if let Event::Run { took, .. } = event {
                runs += 1;
                let gap = Time::after_start(at.since_start() - *took) - started_at;
                let limit = SETTINGS.poll_interval.max(*took) + merged;
                prop_assert!(gap <= limit, "{gap:?} without a run, until {at:?}");
                (started_at, merged) = (started_at + gap, if runs == 1 || is_resumed { *took } else { Duration::ZERO });
                let limit = SETTINGS.timeout + Duration::from_secs(11);
                prop_assert!(*took <= limit, "a run took {took:?}, complete at {at:?}");
            }
        }
        prop_assert!(runs >= 8, "only {runs} runs");
        let status = simulation.monitor.status();
        let watched = simulation.mounts.values().filter(|mount| mount.device != "excluded").count();
        prop_assert_eq!(status.mounts.len(), watched);
        for known in status.mounts.iter() {
            let minor = known.mount.device_number.minor;
            let expected = final_fs.get(&minor).map_or(&["ok"][..], |&fs| expected_health(fs));
            let health = known.health.as_str();
            prop_assert!(
                expected.contains(&health),
                "{:?} on superblock {minor} is {health}, not {expected:?}\n{}", known.mount.mountpoint,
                simulation.log.join("\n")
            );
            let is_reported = reports.dead.get(&known.mount.key).copied().unwrap_or(false);
            if known.health != Health::Hidden {
                prop_assert_eq!(is_reported, known.health.failure().is_some());
            }
        }
    }

    #[test]
    fn any_tree_of_mounts_ends_with_the_correct_health(
        steps in vec(tree_step(), 1..MAX_STEPS),
        hung in vec(any::<bool>(), SUPERBLOCKS as usize),
        seed in prop_oneof![1 => Just(0), 3 => any::<u64>()],
    ) {
        let mut simulation = Simulation::new(SETTINGS, seed);
        simulation.mount(1, "/", "ext4", 1, 0);
        let (mut reports, mut last_key) = (Reports::default(), 1);
        simulation.feed_table();
        for step in &steps {
            apply(&mut simulation, step, &mut last_key);
            let now = simulation.now;
            simulation.run_until(now);
            prop_assert!(simulation.next_deadline().is_none_or(|at| at > simulation.now));
            status_is_up_to_date(&mut simulation)?;
            reports.check(&simulation)?;
        }
        for (minor, hung) in (2..).zip(hung) {
            simulation.set_fs(minor, if hung { FsBehavior::Hangs } else { FsBehavior::Responds(QUICK) });
        }
        simulation.announce();
        let runs = |simulation: &Simulation| simulation.events.iter().filter(|(_, e)| matches!(e, Event::Run { .. })).count();
        let before = runs(&simulation);
        simulation.run_until(simulation.now + SETTLING_TIME);
        reports.check(&simulation)?;
        prop_assert!(runs(&simulation) >= before + 7, "runs do not end\n{}", simulation.log.join("\n"));
        for known in simulation.monitor.status().mounts.iter() {
            let mount = &known.mount;
            let (reached, hung_ancestor) = simulation.walk(&mount.mountpoint);
            let expected = match reached {
                Some(key) if key != mount.key.0 => "hidden",
                _ if hung_ancestor.is_some() || simulation.is_hanging(mount.device_number.minor) => "hung",
                _ => "ok",
            };
            prop_assert_eq!(
                known.health.as_str(), expected, "{:?} key {} ancestor {:?}\n{}", mount.mountpoint, mount.key.0, hung_ancestor, simulation.log.join("\n")
            );
            let explained = known.health.failure().is_some_and(|failure| failure.blocked_by.is_some());
            let is_reported = reports.dead.get(&mount.key).copied().unwrap_or(false);
            prop_assert!(
                expected != "hung" || explained || is_reported,
                "{:?} is hung without a report\n{}", mount.mountpoint, simulation.log.join("\n")
            );
            if hung_ancestor.is_none() && expected == "hung" {
                prop_assert!(is_reported, "{:?} is explained by nothing\n{}", mount.mountpoint, simulation.log.join("\n"));
            }
        }
    }

    #[test]
    fn diff_leads_from_one_table_to_the_other(a in table(), b in table()) {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: operations() / (MAX_STEPS as u32 / 2), ..ProptestConfig::default() })]

    /// Reading only what has changed leads to the same decisions as reading the whole table.
    #[test]
    fn changes_have_the_same_effect_as_the_whole_table(
        steps in vec(prop_oneof![step(), tree_step()], 1..MAX_STEPS),
        seed in any::<u64>(),
    ) {
        let run = |reads_changes: bool| {
            let mut simulation = Simulation::new(SETTINGS, seed);
            simulation.reads_changes = reads_changes;
            simulation.mount(1, "/", "ext4", 1, 0);
            simulation.feed_table();
            let mut last_key = 1;
            for step in &steps {
                apply(&mut simulation, step, &mut last_key);
                let now = simulation.now;
                simulation.run_until(now);
            }
            simulation.announce();
            simulation.run_until(simulation.now + SETTLING_TIME);
            simulation
        };
        let [mut whole, mut changes] = [false, true].map(run);
        prop_assert_eq!(&whole.events, &changes.events);
        prop_assert!(whole.monitor.tree().to_table() == changes.monitor.tree().to_table());
        prop_assert!(whole.monitor.status() == changes.monitor.status());
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

/// The probe of a mount waits longer when another mount, which hangs too, was put above it.
#[test]
fn status_of_a_postponed_probe_is_up_to_date() {
    let mut simulation = Simulation::new(SETTINGS, 0);
    simulation.mount(1, "/", "ext4", 1, 0);
    simulation.mount(2, "/a/b", "fuse.x", 2, 1);
    simulation.set_fs(2, FsBehavior::Hangs);
    simulation.set_fs(3, FsBehavior::Hangs);
    simulation.feed_table();
    simulation.run_until(Time::after_start(Duration::from_secs(1)));
    simulation.mount(3, "/a", "fuse.x", 3, 1);
    simulation.alter(2, |mount| mount.parent = 3);
    simulation.announce();
    let mut waits = HashSet::new();
    for ms in (1_000..5_000).step_by(100) {
        simulation.run_until(Time::after_start(Duration::from_millis(ms)));
        status_is_up_to_date(&mut simulation).unwrap();
        waits.extend(
            simulation.monitor.status().mounts.get(MountKey(2)).and_then(|status| status.waiting_since),
        );
    }
    assert!(waits.len() > 1, "its probe was not postponed: {waits:?}");
}

#[test]
fn difference_of_times_is_never_negative() {
    let start = Time::after_start(Duration::from_secs(1));
    assert_eq!((start + Duration::from_secs(2)) - start, Duration::from_secs(2));
    assert_eq!(start.since(start + Duration::from_secs(1)), Duration::ZERO);
}
