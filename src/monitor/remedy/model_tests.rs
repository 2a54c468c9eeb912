//! Random histories of a machine against a reference model, which keeps plain lists: no attempt touches a guarded mount,
//! there are never two for one server, and no step is made twice.

use super::attempts::{MAX_PER_BOOT, MAX_RUNNING};
use super::testing::{KEY, of_mount, settings};
use super::*;
use crate::monitor::testing::mount;
use platform::{DeviceNumber, Mount, MountKey};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(1000);
const ATTEMPTS: u32 = 2;

/// Conditions under which nothing may be done.
const GUARDED: [fn(&mut RemedyFacts); 12] = [
    |it| it.mount = Arc::new(Mount { mountpoint: "/usr".into(), ..Mount::clone(&it.mount) }),
    |it| it.death.as_mut().expect("it is dead").key = MountKey(1),
    |it| it.death.as_mut().expect("it is dead").lasted = Duration::from_secs(1),
    |it| it.confirmation = Confirmation::Responds,
    |it| it.confirmation = Confirmation::None,
    |it| it.kernel.has_unique_ids = false,
    |it| it.machine.is_shutting_down = true,
    |it| it.machine.uptime = Duration::from_secs(60),
    |it| it.below.push(Below { mountpoint: it.mount.mountpoint.join("a"), kind: BelowKind::Other }),
    |it| it.siblings.push(Sibling { mountpoint: "/b".into(), health: SiblingHealth::Responds }),
    |it| it.kept.push(KeptPath { what: "the program", path: it.mount.mountpoint.join("x") }),
    |it| it.server.answers = Err("no".to_owned()),
];

#[derive(Clone, Debug)]
enum Action {
    Wait(u16),
    /// Of this mount, one condition begins or ends.
    Guard(usize, usize),
    /// Somebody mounts it anew.
    NewMount(usize),
    Begin(usize),
    /// Another process reads what this one has kept.
    Restart,
    /// All processes that act for the server of this mount end without a word, after some steps.
    Crash(usize, usize),
    /// Makes some steps of the attempt, and ends it.
    End(usize, usize, Outcome),
}

fn action() -> impl Strategy<Value = Action> {
    let mount = 0..MOUNTS;
    prop_oneof![
        2 => (1..600u16).prop_map(Action::Wait),
        1 => (mount.clone(), 0..GUARDED.len()).prop_map(|(mount, guard)| Action::Guard(mount, guard)),
        1 => mount.clone().prop_map(Action::NewMount),
        6 => mount.clone().prop_map(Action::Begin),
        1 => Just(Action::Restart),
        1 => (mount.clone(), 0..8usize).prop_map(|(mount, steps)| Action::Crash(mount, steps)),
        5 => (mount, 0..8usize, outcome()).prop_map(|(mount, steps, how)| Action::End(mount, steps, how)),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        30 => Just(Outcome::Failed),
        8 => Just(Outcome::Remedied),
        2 => Just(Outcome::NotMountedAgain),
        2 => Just(Outcome::Stranded),
        1 => Just(Outcome::WrongHit),
    ]
}

const MOUNTS: usize = 6;

/// Two mounts of each of two servers, and two without a server's name, of one superblock.
fn server(number: usize) -> String {
    if number < 4 { format!("nas{}", number / 2) } else { "superblock".to_owned() }
}

#[derive(Default)]
struct Model {
    now: Duration,
    guards: [Vec<usize>; MOUNTS],
    generation: [u64; MOUNTS],
    /// Mount, its generation, and the steps of its plan.
    running: Vec<(usize, Vec<StepKind>)>,
    /// Mount, and when it began.
    began: Vec<(usize, Duration)>,
    made: Vec<(usize, u64, StepKind)>,
    gave_up: Vec<(usize, u64)>,
    stranded: Vec<String>,
    wrong_hit: bool,
}

impl Model {
    fn facts(&self, number: usize) -> RemedyFacts {
        let fuse = number >= 4;
        let key = self.key(number).0;
        let minor = if fuse { 50 } else { u32::try_from(number).expect("it is small") };
        let (fstype, device) = match fuse {
            true => ("fuse.sshfs".into(), "nas:/x".into()),
            false => ("nfs4".into(), format!("{}:/x", server(number)).as_str().into()),
        };
        let path = format!("/srv/{number}");
        let device_number = DeviceNumber { major: 0, minor };
        let mount = Mount { fstype, device, device_number, ..mount(key, &path) };
        let situation = if fuse { Situation::FuseHung } else { Situation::ServerAnswers };
        let mut facts = of_mount(mount, situation);
        for &guard in &self.guards[number] {
            GUARDED[guard](&mut facts);
        }
        facts
    }

    fn key(&self, number: usize) -> MountKey {
        MountKey(KEY + self.generation[number] * 100 + number as u64)
    }

    fn is_spent(&self, number: usize) -> bool {
        let recent = |(at, began): &&(usize, Duration)| *at == number && self.now - *began < WINDOW;
        self.began.iter().filter(recent).count() >= ATTEMPTS as usize
    }

    /// The last condition is that of a network mount.
    fn is_guarded(&self, number: usize) -> bool {
        self.guards[number].iter().any(|&guard| number < 4 || guard != GUARDED.len() - 1)
    }

    fn may_begin(&self, number: usize) -> bool {
        !self.is_guarded(number)
            && !self.wrong_hit
            && !self.stranded.contains(&server(number))
            && self.running.iter().all(|(other, _)| server(*other) != server(number))
            && self.running.len() < MAX_RUNNING
            && self.began.len() < MAX_PER_BOOT as usize
            && !self.is_spent(number)
            && !self.gave_up.contains(&(number, self.generation[number]))
    }
}

struct World {
    model: Model,
    attempts: Attempts,
    settings: RemedySettings,
}

impl World {
    fn new() -> World {
        let settings = RemedySettings {
            steps: STEP_WORDS.to_vec(),
            max_attempts: ATTEMPTS,
            window: WINDOW,
            ..settings()
        };
        World { model: Model::default(), attempts: Attempts::default(), settings }
    }

    fn act(&mut self, action: Action) -> Result<(), TestCaseError> {
        let model = &mut self.model;
        match action {
            Action::Wait(seconds) => model.now += Duration::from_secs(seconds.into()),
            Action::Guard(number, guard) => {
                let guards = &mut model.guards[number];
                match guards.iter().position(|it| *it == guard) {
                    Some(at) => drop(guards.swap_remove(at)),
                    None => guards.push(guard),
                }
            }
            Action::NewMount(number) if !model.running.iter().any(|(it, _)| *it == number) => {
                model.generation[number] += 1;
            }
            Action::NewMount(_) => {}
            Action::Restart => {
                let kept = serde_json::to_string(&self.attempts).expect("it is JSON");
                self.attempts = serde_json::from_str(&kept).expect("it was written so");
                let busy = model.running.len() + model.stranded.len();
                prop_assert_eq!(self.attempts.busy_servers().count(), busy);
            }
            Action::Begin(number) => self.begin(number)?,
            Action::Crash(number, steps) => self.crash(number, steps),
            Action::End(number, steps, outcome) => self.end(number, steps, outcome)?,
        }
        Ok(())
    }

    fn begin(&mut self, number: usize) -> Result<(), TestCaseError> {
        let World { model, attempts, settings } = self;
        let facts = Arc::new(model.facts(number));
        let standing = attempts.standing(model.now, &facts, settings, Initiator::Daemon);
        let plan = plan(Arc::clone(&facts), settings, &standing);
        let began = attempts.begin(model.now, &plan, settings, Initiator::Daemon).is_ok();
        prop_assert_eq!(began, model.may_begin(number), "{:?}", plan.refusals());
        prop_assert_eq!(began, !plan.allowed_steps().is_empty());
        if began {
            let steps: Vec<StepKind> = plan.allowed_steps().iter().map(|step| step.kind).collect();
            for &kind in &steps {
                let is_again = model.made.contains(&(number, model.generation[number], kind));
                prop_assert!(
                    !is_again || !kind.is_destructive() || kind == StepKind::Unmount,
                    "{:?} again",
                    kind
                );
            }
            model.began.push((number, model.now));
            model.running.push((number, steps));
        }
        Ok(())
    }

    fn crash(&mut self, number: usize, steps: usize) {
        let World { model, attempts, .. } = self;
        let server = server(number);
        if let Some(at) = model.running.iter().position(|(it, _)| self::server(*it) == server) {
            let (number, planned) = model.running.swap_remove(at);
            for kind in planned.into_iter().take(steps) {
                attempts.step_begins(model.key(number), kind);
                model.made.push((number, model.generation[number], kind));
            }
            if model.is_spent(number) {
                model.gave_up.push((number, model.generation[number]));
            }
        }
        model.stranded.retain(|stranded| *stranded != server);
        let facts = model.facts(number);
        attempts.server_is_free(model.now, &facts.server_id());
    }

    fn end(&mut self, number: usize, steps: usize, outcome: Outcome) -> Result<(), TestCaseError> {
        let World { model, attempts, .. } = self;
        let Some(at) = model.running.iter().position(|(it, _)| *it == number) else { return Ok(()) };
        let (_, planned) = model.running.swap_remove(at);
        let generation = model.generation[number];
        let key = model.key(number);
        for kind in planned.into_iter().take(steps) {
            attempts.step_begins(key, kind);
            model.made.push((number, generation, kind));
        }
        let gave_up = attempts.end(model.now, key, outcome);
        let is_repaired = matches!(outcome, Outcome::Remedied | Outcome::NotMountedAgain);
        let is_spent = !is_repaired && model.is_spent(number);
        prop_assert_eq!(gave_up, is_spent || outcome == Outcome::WrongHit);
        match outcome {
            Outcome::Stranded => model.stranded.push(server(number)),
            Outcome::WrongHit => model.wrong_hit = true,
            Outcome::Failed | Outcome::Remedied | Outcome::NotMountedAgain => {}
        }
        if is_spent {
            model.gave_up.push((number, generation));
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn attempts_are_those_of_the_model(actions in prop::collection::vec(action(), 1..150)) {
        let mut world = World::new();
        for action in actions {
            world.act(action)?;
        }
    }
}

#[test]
fn flapping_server_gets_a_bounded_number_of_attempts() {
    let mut world = World::new();
    // Each minute for a day it dies, is remedied, and so is a new mount.
    for _ in 0..24 * 60 {
        world.act(Action::Begin(0)).expect("it is as in the model");
        world.act(Action::End(0, 8, Outcome::Remedied)).expect("it is as in the model");
        world.act(Action::NewMount(0)).expect("it is as in the model");
        world.act(Action::Wait(60)).expect("it is as in the model");
    }
    let most = 24 * 3600 / WINDOW.as_secs() * u64::from(ATTEMPTS) + u64::from(ATTEMPTS);
    let made = world.model.began.len() as u64;
    assert!((most / 2..=most.min(u64::from(MAX_PER_BOOT))).contains(&made), "{made} of {most}");
}

#[test]
fn operator_resets_what_gave_up() {
    let mut world = World::new();
    for _ in 0..ATTEMPTS {
        world.act(Action::Begin(0)).expect("it is as in the model");
        world.act(Action::End(0, 8, Outcome::Failed)).expect("it is as in the model");
    }
    let World { mut attempts, model, settings } = world;
    let facts = model.facts(0);
    let guards = |attempts: &Attempts| {
        attempts.standing(model.now + 2 * WINDOW, &facts, &settings, Initiator::Daemon).guards
    };
    assert_eq!(guards(&attempts), [Guard::GaveUp], "time alone resets nothing");
    attempts.reset(&facts.mount.mountpoint);
    assert_eq!(attempts.standing(model.now, &facts, &settings, Initiator::Daemon), Standing::default());
}

#[test]
fn operator_is_held_by_what_is_not_safe_and_by_nothing_else() {
    let mut world = World::new();
    for _ in 0..ATTEMPTS {
        world.act(Action::Begin(0)).expect("it is as in the model");
        world.act(Action::End(0, 8, Outcome::Failed)).expect("it is as in the model");
    }
    let World { mut attempts, model, settings } = world;
    let plan = testing::plan_for(model.facts(0), &settings);
    assert!(attempts.begin(model.now, &plan, &settings, Initiator::Daemon).is_err());
    assert_eq!(attempts.begin(model.now, &plan, &settings, Initiator::Operator), Ok(()));
    assert_eq!(
        attempts.begin(model.now, &plan, &settings, Initiator::Operator),
        Err(vec![Guard::ServerBusy]),
        "the steps are not what forbids it"
    );
    attempts.step_begins(model.key(0), StepKind::Detach);
    attempts.end(model.now, model.key(0), Outcome::WrongHit);
    let guards = attempts.standing(model.now, plan.facts(), &settings, Initiator::Operator).guards;
    assert_eq!(guards, [Guard::WrongHit]);
    let later = attempts.standing(model.now, plan.facts(), &settings, Initiator::Daemon);
    assert!(later.made.contains(&StepKind::Detach), "the daemon does not repeat it");
}

/// The plan is older than what another process has done.
#[test]
fn step_that_was_made_since_the_plan_is_not_repeated() {
    let World { mut attempts, model, settings } = World::new();
    let plan = testing::plan_for(model.facts(0), &settings);
    attempts.begin(model.now, &plan, &settings, Initiator::Operator).expect("nothing forbids it");
    attempts.step_begins(model.key(0), StepKind::Force);
    attempts.end(model.now, model.key(0), Outcome::Failed);
    let refused = attempts.begin(model.now, &plan, &settings, Initiator::Daemon);
    assert_eq!(refused, Err(vec![Guard::MadeBefore]));
}

#[test]
fn what_is_kept_is_bounded() {
    let World { mut attempts, model, settings } = World::new();
    let mut size = 0;
    for n in 0..3 * u64::from(MAX_PER_BOOT) {
        let facts = model.facts(0);
        let path = format!("/srv/{:03}", if n % 2 == 0 { 0 } else { n });
        let mount = Mount { mountpoint: path.as_str().into(), ..Mount::clone(&facts.mount) };
        let plan = testing::plan_for(RemedyFacts { mount: Arc::new(mount), ..facts }, &settings);
        attempts.begin(model.now, &plan, &settings, Initiator::Operator).expect("nothing forbids it");
        attempts.end(model.now, model.key(0), Outcome::Failed);
        if n == 2 * u64::from(MAX_PER_BOOT) {
            size = serde_json::to_vec(&attempts).expect("it is JSON").len();
        }
    }
    let grown = serde_json::to_vec(&attempts).expect("it is JSON").len() - size;
    assert!(grown < 100, "{grown} bytes more");
}
