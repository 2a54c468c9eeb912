//! What early signs cause, in virtual time: the real tracker of waits and the real monitor, with simulated file systems.

mod simulation;

use mount_status_monitor::children::signs::WaitTracker;
use mount_status_monitor::monitor::{Event, Input, ProbeSettings, Time};
use platform::DeviceNumber;
use platform::signs::{Sign, Waiting};
use simulation::{FsBehavior, Simulation};
use std::time::{Duration, Instant};

const HOURS: u64 = 10;
const FUSE: u32 = 2;
const ADDRESS: &str = "10.9.0.2";

fn ms(ms: u64) -> Time {
    Time::after_start(Duration::from_millis(ms))
}

fn fuse() -> Sign {
    Sign::Fuse(DeviceNumber { major: 0, minor: FUSE })
}

fn server() -> Sign {
    Sign::Server(ADDRESS.into())
}

/// A FUSE mount; two superblocks of the server `ADDRESS`, one with a second mount; and one of another server.
fn machine() -> Simulation {
    let mut machine = Simulation::new(ProbeSettings::default(), 0);
    machine.mount(1, "/", "ext4", 1, 0);
    machine.mount(2, "/fuse", "fuse.x", FUSE, 1);
    for (key, minor, address) in [(3, 3, ADDRESS), (4, 4, ADDRESS), (5, 4, ADDRESS), (6, 6, "10.9.1.2")] {
        machine.mount(key, &format!("/nfs{key}"), "nfs4", minor, 1);
        let options = format!("rw,vers=4.2,clientaddr=10.9.0.1,addr={address}");
        machine.alter(key, |mount| mount.super_options = options.as_str().into());
    }
    machine.feed_table();
    machine.run_until(ms(20_000));
    machine
}

fn probes(machine: &mut Simulation) -> u64 {
    machine.monitor.status().counters.by_fstype.iter().map(|of_type| of_type.probes).sum()
}

/// When these mounts were reported dead.
fn deaths(machine: &Simulation) -> Vec<(u64, Time)> {
    let death = |(at, event): &(Time, Event)| match event {
        Event::Failed { mount, .. } => Some((mount.key.0, *at)),
        _ => None,
    };
    machine.events.iter().filter_map(death).collect()
}

#[test]
fn hang_with_a_sign_is_reported_after_the_timeout_and_without_one_after_the_next_run() {
    for (has_sign, latest) in [(true, 20_000 + 3_200), (false, 60_000 + 3_200)] {
        let mut machine = machine();
        machine.set_fs(FUSE, FsBehavior::Hangs);
        if has_sign {
            machine.feed(Input::EarlySigns(vec![fuse()]));
        }
        machine.run_until(ms(100_000));
        let deaths = deaths(&machine);
        assert!(deaths.len() == 1 && deaths[0].0 == u64::from(FUSE), "{deaths:?}");
        assert!(deaths[0].1 <= ms(latest) && deaths[0].1 > ms(latest - 1_000), "{deaths:?}");
    }
}

#[test]
fn sign_of_a_server_probes_each_of_its_superblocks_once() {
    let mut machine = machine();
    let before = probes(&mut machine);
    machine.feed(Input::EarlySigns(vec![server()]));
    machine.feed(Input::EarlySigns(vec![server()]));
    machine.feed(Input::EarlySigns(vec![Sign::Server(b"10.9.0.22".to_vec())]));
    machine.feed(Input::EarlySigns(vec![Sign::Fuse(DeviceNumber { major: 0, minor: 99 })]));
    machine.run_until(ms(21_000));
    assert_eq!(probes(&mut machine) - before, 2);
    machine.feed(Input::EarlySigns(vec![server()]));
    machine.run_until(ms(21_500));
    assert_eq!(probes(&mut machine) - before, 2, "the last probes were a second ago");
}

#[test]
fn dead_mounts_and_probes_in_flight_are_left_alone() {
    let mut machine = machine();
    machine.set_fs(FUSE, FsBehavior::Unkillable);
    machine.feed(Input::EarlySigns(vec![fuse()]));
    let in_flight = probes(&mut machine);
    let mut now = 20_000;
    while now < 50_000 {
        now += 500;
        machine.run_until(ms(now));
        machine.feed(Input::EarlySigns(vec![fuse()]));
    }
    assert_eq!(deaths(&machine).len(), 1);
    assert_eq!(probes(&mut machine), in_flight, "the probe cannot be killed, so there is no other");
    machine.set_fs(FUSE, FsBehavior::Responds(simulation::QUICK));
    machine.run_until(ms(55_000));
    assert_eq!(machine.monitor.status().dead, 0);
}

/// Samples a busy machine as the child does: NFS with answers all the time, and FUSE with a request that waits in each
/// sample, for ten hours. Nothing is dead, so nothing is reported, and the additional probes are bounded.
#[test]
fn busy_healthy_servers_are_never_reported_and_probes_are_bounded() {
    let mut machine = machine();
    let (start, mut tracker) = (Instant::now(), WaitTracker::default());
    let before = probes(&mut machine);
    let (mut now, mut signs_of_server) = (20_000, 0);
    let busy = |sign, answers| Waiting { sign, connection: 1, answers };
    while now < HOURS * 3_600_000 {
        let sample = vec![busy(server(), now), busy(fuse(), 0)];
        for sign in tracker.observe(start + Duration::from_millis(now), sample) {
            signs_of_server += usize::from(sign == server());
            machine.feed(Input::EarlySigns(vec![sign]));
        }
        now += if tracker.has_suspicion() { 500 } else { 2_000 };
        machine.run_until(ms(now));
    }
    assert_eq!((signs_of_server, deaths(&machine)), (0, vec![]), "answers arrive");
    let runs = HOURS * 60;
    let additional = probes(&mut machine) - before - runs * machine.mounts.len() as u64;
    let most = HOURS * 3600 / 2;
    assert!(additional > most / 2 && additional <= most + 4, "{additional}");
    // A hang that begins then is found as soon as any other.
    machine.set_fs(FUSE, FsBehavior::Hangs);
    let hung_at = now;
    while now < hung_at + 4_000 {
        let signs = tracker.observe(start + Duration::from_millis(now), vec![busy(fuse(), 0)]);
        machine.feed(Input::EarlySigns(signs));
        now += 2_000;
        machine.run_until(ms(now));
    }
    machine.run_until(ms(hung_at + 3_000 + 4_000));
    assert_eq!(deaths(&machine).len(), 1);
}
