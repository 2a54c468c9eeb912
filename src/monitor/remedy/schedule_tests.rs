//! Tests of the schedule.

use super::attempts::Outcome;
use super::report::{PlannedStep, RefusalReason, RemedyReport};
use super::schedule::{AttemptEnd, DeadMount, RemedySchedule};
use super::settings::{Mode, RemedySettings};
use super::step::StepKind;
use super::testing::settings;
use crate::monitor::testing::mount;
use crate::monitor::{Failure, Reason, Time};
use platform::{Call, Errno, Mount, MountKey};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const AFTER: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Time {
    Time::after_start(Duration::from_secs(seconds))
}

struct Case {
    schedule: RemedySchedule,
    mode: Mode,
}

impl Case {
    fn new() -> Case {
        Case { schedule: RemedySchedule::default(), mode: Mode::Act }
    }

    /// These are dead, by their keys, servers, reasons and times.
    fn dead(&mut self, now: u64, dead: &[(u64, &str, Reason, u64)]) {
        let of = |&(key, server, reason, since): &(u64, &str, Reason, u64)| {
            let mount = Mount {
                device: format!("{server}:/x").as_str().into(),
                fstype: "nfs4".into(),
                ..mount(key, "/a")
            };
            let failure = Failure {
                reason,
                errno: (reason == Reason::Stale).then_some(Errno::ESTALE),
                call: Some(Call::Statfs),
                waited: Duration::ZERO,
                blocked_by: None,
                evidence: None,
            };
            (Arc::new(mount), failure, at(since))
        };
        let all: Vec<_> = dead.iter().map(of).collect();
        let mode = self.mode;
        self.schedule.update(
            at(now),
            all.iter().map(|(mount, failure, since)| DeadMount { mount, failure, since: *since }),
            |_| Some(RemedySettings { mode, after: AFTER, ..settings() }),
        );
    }

    fn begin(&mut self, now: u64) -> Option<u64> {
        self.schedule.begin_next(at(now)).map(|order| order.mount.key.0)
    }

    fn deadline(&self) -> Option<u64> {
        self.schedule.next_deadline().map(|at| at.since_start().as_secs())
    }

    fn report(&mut self, now: u64, key: u64, report: &RemedyReport) -> bool {
        self.schedule.take_report(at(now), MountKey(key), report).is_some()
    }

    fn finish(&mut self, now: u64, key: u64) -> Option<RemedyReport> {
        self.schedule.end(at(now), MountKey(key), AttemptEnd::Finished).map(|(_, report)| report)
    }
}

fn refused(guard: &str) -> RemedyReport {
    let reason = RefusalReason { guard: guard.to_owned(), why: "x".to_owned() };
    RemedyReport::Refused { reasons: vec![reason], waits: true }
}

fn failed(gave_up: bool) -> RemedyReport {
    RemedyReport::Failed { outcome: Outcome::Failed, gave_up, advice: "look".to_owned() }
}

#[test]
fn attempt_begins_after_the_time_of_the_rule_and_once() {
    let mut case = Case::new();
    case.dead(10, &[(1, "nas", Reason::Hung, 5)]);
    assert_eq!((case.begin(64), case.deadline()), (None, Some(65)));
    assert_eq!(case.begin(65), Some(1));
    assert_eq!((case.begin(600), case.deadline()), (None, None), "it is running");
    assert!(case.report(70, 1, &RemedyReport::Remedied { took: AFTER, left: Vec::new() }));
    assert_eq!(case.finish(70, 1), None);
    assert_eq!((case.begin(500), case.deadline()), (None, Some(670)), "it was remedied");
    case.dead(71, &[]);
    let overview = case.schedule.overview(1);
    assert_eq!((overview.totals.attempts, overview.totals.remedied, overview.mounts.len()), (1, 1, 1));
}

#[test]
fn recovery_ends_the_wait_and_each_death_begins_a_new_one() {
    let mut case = Case::new();
    // A server that flaps every ten seconds.
    for n in 0..360 {
        case.dead(n * 20, &[(1, "nas", Reason::Hung, n * 20)]);
        assert_eq!(case.begin(n * 20 + 9), None);
        case.dead(n * 20 + 10, &[]);
        assert_eq!((case.begin(n * 20 + 10), case.deadline()), (None, None));
    }
    assert!(case.schedule.overview(1).mounts.is_empty());
}

#[test]
fn stale_mount_is_left_alone_until_it_has_been_stale_for_long_enough() {
    let mut case = Case::new();
    case.dead(0, &[(1, "nas", Reason::Hung, 0)]);
    case.dead(50, &[(1, "nas", Reason::Stale, 0)]);
    assert_eq!(case.deadline(), Some(110));
    let order = case.schedule.begin_next(at(112)).unwrap();
    assert_eq!(order.death.stale_for, Duration::from_secs(62));
    assert_eq!(order.death.lasted, Duration::from_secs(112));
}

#[test]
fn one_attempt_for_a_server_and_few_for_the_machine() {
    let mut case = Case::new();
    let hung = |key, server| (key, server, Reason::Hung, 0);
    let all = [hung(1, "a"), hung(2, "a"), hung(3, "b"), hung(4, "c"), hung(5, "d")];
    case.dead(0, &all);
    let begun: Vec<_> = std::iter::from_fn(|| case.begin(100)).collect();
    assert_eq!(begun, [1, 3, 4]);
    case.finish(101, 3);
    assert_eq!(case.begin(101), Some(5), "the server of 2 is busy");
    case.finish(102, 1);
    assert_eq!(case.begin(102), Some(2));
}

#[test]
fn refusal_is_reported_once_and_looked_at_again_with_pauses() {
    let mut case = Case::new();
    case.dead(0, &[(1, "nas", Reason::Hung, 0)]);
    let (mut now, mut pauses, mut reports) = (60, Vec::new(), 0);
    for _ in 0..9 {
        assert_eq!(case.begin(now), Some(1));
        reports += usize::from(case.report(now, 1, &refused("server_silent")));
        case.finish(now, 1);
        let next = case.deadline().unwrap();
        pauses.push(next - now);
        now = next;
    }
    assert_eq!((reports, &*pauses), (1, &[10, 20, 40, 80, 160, 320, 600, 600, 600][..]));
    assert_eq!(case.begin(now), Some(1));
    assert!(case.report(now, 1, &refused("mounts_below")), "another reason");
    case.finish(now, 1);
    case.schedule.retry_all(at(now + 1));
    assert_eq!(case.deadline(), Some(now + 1), "the configuration was loaded again");
}

#[test]
fn failure_is_tried_again_later_and_giving_up_is_said_once() {
    let mut case = Case::new();
    case.dead(0, &[(1, "nas", Reason::Hung, 0)]);
    case.begin(60);
    assert!(case.report(70, 1, &failed(false)));
    case.finish(70, 1);
    assert_eq!(case.begin(129), None);
    assert_eq!(case.begin(130), Some(1));
    assert!(case.report(140, 1, &failed(true)));
    case.finish(140, 1);
    assert_eq!(case.begin(740), Some(1), "the operator may have reset it");
    assert!(!case.report(741, 1, &refused("gave_up")));
    let totals = case.schedule.overview(1).totals;
    assert_eq!((totals.failed, totals.gave_up, totals.refused), (2, 1, 1));
}

#[test]
fn process_that_dies_is_a_failure_unless_it_had_reported_its_end() {
    let mut case = Case::new();
    case.dead(0, &[(1, "nas", Reason::Hung, 0)]);
    case.begin(60);
    let died = || AttemptEnd::Died("its process was killed".to_owned());
    let (_, report) = case.schedule.end(at(61), MountKey(1), died()).unwrap();
    assert!(matches!(report, RemedyReport::Failed { gave_up: false, .. }));
    assert_eq!(case.begin(121), Some(1));
    assert!(case.report(122, 1, &refused("server_busy")));
    assert_eq!(case.schedule.end(at(123), MountKey(1), died()), None);
    assert_eq!(case.schedule.end(at(124), MountKey(1), died()), None, "it has ended");
}

#[test]
fn dry_run_is_made_once_for_each_death() {
    let mut case = Case::new();
    case.mode = Mode::DryRun;
    let planned = RemedyReport::Planned {
        mode: Mode::DryRun,
        steps: vec![PlannedStep { step: StepKind::Detach, call: "x".to_owned() }],
    };
    case.dead(0, &[(1, "nas", Reason::Hung, 0)]);
    assert_eq!(case.begin(60), Some(1));
    assert!(case.report(61, 1, &planned));
    case.finish(61, 1);
    assert_eq!(case.deadline(), None);
    case.dead(500, &[(1, "nas", Reason::Hung, 400)]);
    assert_eq!((case.begin(500), case.deadline()), (None, Some(661)), "it died again soon");
    assert_eq!(case.begin(661), Some(1));
    assert!(case.report(661, 1, &planned));
    case.finish(661, 1);
    case.mode = Mode::Act;
    case.dead(662, &[(1, "nas", Reason::Hung, 400)]);
    assert_eq!(case.begin(662), Some(1), "the rule has changed");
}

#[test]
fn mount_that_leaves_during_its_attempt_is_kept_until_the_attempt_ends() {
    let mut case = Case::new();
    case.dead(0, &[(1, "nas", Reason::Hung, 0)]);
    case.begin(60);
    case.dead(65, &[]);
    assert!(case.report(66, 1, &RemedyReport::Remedied { took: AFTER, left: Vec::new() }));
    case.finish(66, 1);
    assert_eq!(case.schedule.overview(1).mounts.len(), 1);
    assert!(!case.report(67, 1, &failed(false)), "a late report of an attempt that has ended");
    case.dead(67 + 3_600, &[]);
    assert!(case.schedule.overview(1).mounts.is_empty());
}

#[test]
fn mounts_behind_a_hung_one_and_those_without_a_rule_are_left_alone() {
    let mut schedule = RemedySchedule::default();
    let mount = Arc::new(mount(1, "/a/b"));
    let failure = Failure {
        reason: Reason::Hung,
        errno: None,
        call: None,
        waited: AFTER,
        blocked_by: Some("/a".into()),
        evidence: None,
    };
    fn dead<'m>(mount: &'m Arc<Mount>, failure: &'m Failure) -> impl Iterator<Item = DeadMount<'m>> {
        std::iter::once(DeadMount { mount, failure, since: at(0) })
    }
    schedule.update(at(500), dead(&mount, &failure), |_| Some(settings()));
    assert_eq!(schedule.next_deadline(), None);
    let own = Failure { blocked_by: None, ..failure.clone() };
    schedule.update(at(500), dead(&mount, &own), |_| None);
    schedule.update(at(500), dead(&mount, &own), |_| Some(RemedySettings::new(Mode::Off)));
    assert_eq!(schedule.next_deadline(), None);
    schedule.update(at(500), dead(&mount, &own), |_| Some(settings()));
    assert_eq!(schedule.next_deadline(), Some(at(500)));
}

#[derive(Clone, Debug)]
enum Move {
    Wait(u64),
    /// This mount dies, or responds.
    Toggle(u64),
    Begin,
    /// The oldest attempt reports this and ends.
    End(u8),
    Reload,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        (1..200u64).prop_map(Move::Wait),
        (1..9u64).prop_map(Move::Toggle),
        Just(Move::Begin),
        Just(Move::Begin),
        (0..6u8).prop_map(Move::End),
        Just(Move::Reload),
    ]
}

/// The mounts of a server have its number, and four servers exist.
fn server(key: u64) -> &'static str {
    ["a", "b", "c", "d"][(key % 4) as usize]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn attempts_are_few_at_a_time_and_never_of_living_mounts(moves in proptest::collection::vec(any_move(), 1..80)) {
        let mut case = Case::new();
        let mut now = 0;
        let mut dead: HashMap<u64, u64> = HashMap::new();
        let mut running: Vec<u64> = Vec::new();
        // When each mount may be attempted again.
        let mut earliest: HashMap<u64, u64> = HashMap::new();
        for step in moves {
            match step {
                Move::Wait(seconds) => now += seconds,
                Move::Toggle(key) => {
                    if dead.remove(&key).is_none() {
                        dead.insert(key, now);
                    }
                }
                Move::Begin => {
                    let all: Vec<_> =
                        dead.iter().map(|(key, since)| (*key, server(*key), Reason::Hung, *since)).collect();
                    case.dead(now, &all);
                    while let Some(key) = case.begin(now) {
                        prop_assert!(dead.get(&key).is_some_and(|since| now >= since + AFTER.as_secs()));
                        prop_assert!(earliest.get(&key).is_none_or(|at| now >= *at), "without a pause");
                        prop_assert!(!running.contains(&key));
                        running.push(key);
                        let servers: HashSet<_> = running.iter().map(|key| server(*key)).collect();
                        prop_assert!(servers.len() == running.len() && running.len() <= 3, "{running:?}");
                    }
                }
                Move::End(kind) if !running.is_empty() => {
                    let key = running.remove(0);
                    let pause = match kind {
                        0 => { case.report(now, key, &refused("mounts_below")); 10 }
                        1 => { case.report(now, key, &failed(false)); 60 }
                        2 => { case.report(now, key, &failed(true)); 600 }
                        3 => {
                            case.report(now, key, &RemedyReport::Remedied { took: AFTER, left: Vec::new() });
                            600
                        }
                        _ => 0,
                    };
                    let how = if kind == 4 { AttemptEnd::Died("x".to_owned()) } else { AttemptEnd::Finished };
                    let pause = if kind == 4 { 60 } else { pause };
                    case.schedule.end(at(now), MountKey(key), how);
                    earliest.insert(key, now + pause);
                }
                Move::End(_) => {}
                Move::Reload => {
                    case.schedule.retry_all(at(now));
                    earliest.clear();
                }
            }
            if let Some(next) = case.deadline() {
                prop_assert!(next <= now + 600 + AFTER.as_secs(), "it waits for {next} at {now}");
            }
        }
    }
}
