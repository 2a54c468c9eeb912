//! What a user does with mounts neither delays nor hides what is said about the mounts of the system and of other users.

mod simulation;

use mount_status_monitor::monitor::{Event, Health, MountStatus, ProbeSettings, Time};
use simulation::{FsBehavior, Simulation};
use std::time::Duration;

const USER: u32 = 1001;
const OTHER_USER: u32 = 1002;
/// Keys and superblocks.
const ROOT: u32 = 1;
const OTHERS: u32 = 2;
const FIRST: u32 = 100;
/// `MAX_WATCHED`, `OF_USER` of the scheduler.
const MAX_WATCHED: usize = 1024;
const MAX_UNANSWERED: usize = 128;

fn seconds(seconds: u64) -> Time {
    Time::after_start(Duration::from_secs(seconds))
}

/// A mount of the system, one of another user, and `count` of the hostile user.
fn machine(count: u32) -> Simulation {
    let mut machine = Simulation::new(ProbeSettings::default(), 0);
    machine.mount(ROOT.into(), "/", "ext4", ROOT, 0);
    mount_of(&mut machine, OTHERS, OTHER_USER);
    (FIRST..FIRST + count).for_each(|key| mount_of(&mut machine, key, USER));
    machine
}

fn mount_of(machine: &mut Simulation, key: u32, user: u32) {
    machine.mount(key.into(), &format!("/m/{key}"), "fuse.x", key, 1);
    machine.alter(key.into(), |mount| mount.connection_owner = Some((user, user)));
}

fn mounts_of(machine: &mut Simulation, user: u32) -> Vec<MountStatus> {
    let owner = Some((user, user));
    machine
        .monitor
        .status()
        .mounts
        .iter()
        .filter(|status| status.mount.connection_owner == owner)
        .cloned()
        .collect()
}

/// When this mount was reported dead.
fn failure_of(machine: &Simulation, key: u32) -> Option<Time> {
    let is_wanted =
        |event: &Event| matches!(event, Event::Failed { mount, .. } if mount.device_number.minor == key);
    machine.events.iter().find(|(_, event)| is_wanted(event)).map(|(at, _)| *at)
}

#[test]
fn hung_mounts_of_a_user_use_up_only_the_places_of_this_user() {
    const COUNT: u32 = 600;
    let mut machine = machine(COUNT);
    (FIRST..FIRST + COUNT).for_each(|minor| machine.set_fs(minor, FsBehavior::Unkillable));
    machine.feed_table();
    machine.run_until(seconds(30));
    let dead = mounts_of(&mut machine, USER).iter().filter(|mount| mount.health.failure().is_some()).count();
    assert!((MAX_UNANSWERED / 2..=MAX_UNANSWERED).contains(&dead), "{dead} were judged");
    let unjudged =
        mounts_of(&mut machine, USER).iter().filter(|mount| mount.health == Health::Pending).count();
    assert_eq!(unjudged, COUNT as usize - dead, "the others were not");
    assert_eq!(mounts_of(&mut machine, OTHER_USER)[0].health, Health::Ok);
    assert!(machine.monitor.status().in_flight <= MAX_UNANSWERED);
    // The system's mount dies, and then the other user's, each is probed in the next run.
    for (key, from) in [(ROOT, 61), (OTHERS, 130)] {
        machine.run_until(seconds(from));
        machine.set_fs(key, FsBehavior::Hangs);
        machine.run_until(seconds(from + 64));
        let found = failure_of(&machine, key).expect("the death is reported");
        assert!(found <= seconds(from + 63), "{found:?}");
        machine.set_fs(key, FsBehavior::Responds(Duration::ZERO));
    }
}

#[test]
fn churn_of_a_user_is_summed_up_and_hides_no_death() {
    let mut machine = machine(0);
    machine.feed_table();
    let mut key = FIRST;
    for second in 1..=300 {
        machine.run_until(seconds(second));
        if second == 150 {
            machine.set_fs(ROOT, FsBehavior::Fails(platform::Errno::EIO, Duration::ZERO));
        }
        (key - 40..key).for_each(|key| drop(machine.mounts.remove(&u64::from(key)).filter(|_| key >= FIRST)));
        (key..key + 40).for_each(|key| mount_of(&mut machine, key, USER));
        key += 40;
        machine.announce();
    }
    machine.run_until(seconds(330));
    assert!(failure_of(&machine, ROOT).is_some_and(|at| at <= seconds(213)));
    let of_user =
        |(_, event): &&(Time, Event)| matches!(event, Event::Mounted { .. } | Event::Unmounted { .. });
    let reported = machine.events.iter().filter(of_user).count();
    assert!((769..=769 + 330).contains(&reported), "{reported} of 24,000 events");
    let summaries =
        machine.log.iter().filter(|line| line.contains("NotReported { user: 1001, events:")).count();
    assert!((3..=5).contains(&summaries), "one for each minute: {summaries}");
    let counters = machine.monitor.status().counters;
    assert_eq!(counters.mounted, 300 * 40);
    assert_eq!(counters.not_reported as usize + reported, 300 * 40 + 299 * 40);
}

#[test]
fn mounts_beyond_the_limit_are_counted_and_not_watched() {
    const COUNT: u32 = 2000;
    let mut machine = machine(COUNT);
    machine.feed_table();
    machine.run_until(seconds(5));
    let status = machine.monitor.status();
    assert_eq!((status.total, status.not_watched), (MAX_WATCHED + 2, COUNT as usize - MAX_WATCHED));
    assert!(mounts_of(&mut machine, USER).iter().all(|mount| mount.health == Health::Ok));
    let notices = machine.log.iter().filter(|line| line.contains("NotWatched")).count();
    assert_eq!(notices, 1);
    // Others take the places of those that are gone, and are probed.
    (FIRST..FIRST + 100).for_each(|key| drop(machine.mounts.remove(&key.into())));
    machine.announce();
    machine.run_until(seconds(10));
    let status = machine.monitor.status();
    assert_eq!((status.total, status.not_watched), (MAX_WATCHED + 2, COUNT as usize - MAX_WATCHED - 100));
    assert!(mounts_of(&mut machine, USER).iter().all(|mount| mount.health == Health::Ok));
    (FIRST..FIRST + COUNT).for_each(|key| drop(machine.mounts.remove(&key.into())));
    machine.announce();
    machine.run_until(seconds(15));
    let status = machine.monitor.status();
    assert_eq!((status.total, status.not_watched), (2, 0));
}

/// A mount of the system on a path through a user's mount: it has the limits of the user, and those of the system again
/// when it is moved away.
#[test]
fn mount_below_a_users_mount_has_the_limits_of_the_user() {
    let mut machine = machine(400);
    (FIRST..FIRST + 400).for_each(|minor| machine.set_fs(minor, FsBehavior::Unkillable));
    machine.feed_table();
    machine.run_until(seconds(30));
    machine.mount(9000, &format!("/m/{}/below", FIRST + 399), "tmpfs", 9000, FIRST + 399);
    machine.announce();
    machine.run_until(seconds(40));
    let health = |machine: &mut Simulation| {
        let status = machine.monitor.status();
        status.mounts.iter().find(|mount| mount.mount.key.0 == 9000).expect("the mount").health.clone()
    };
    assert_eq!(health(&mut machine), Health::Pending, "the user has no places left");
    machine.alter(9000, |mount| {
        mount.parent = 1;
        mount.mountpoint = "/elsewhere".into();
    });
    machine.announce();
    machine.run_until(seconds(70));
    assert_eq!(health(&mut machine), Health::Ok);
}
