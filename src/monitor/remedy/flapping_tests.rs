//! A mount that dies and recovers all the time: schedule, attempts and planner together.

use super::facts::RemedyFacts;
use super::planner::{Situation, plan};
use super::report::{RefusalReason, RemedyReport};
use super::schedule::{AttemptEnd, DeadMount, RemedySchedule};
use super::settings::RemedySettings;
use super::step::StepKind;
use super::testing::{facts, settings};
use super::{Attempts, Initiator, Next, Outcome, Progress, StepEnd};
use crate::monitor::{Failure, Reason, Time};
use std::sync::Arc;
use std::time::Duration;

const HOUR: u64 = 3_600;
/// It is dead for half of this, in seconds.
const PERIOD: u64 = 20;

struct Outage {
    schedule: RemedySchedule,
    attempts: Attempts,
    facts: Arc<RemedyFacts>,
    settings: RemedySettings,
    begun: usize,
    steps: Vec<StepKind>,
    reports: Vec<RemedyReport>,
}

impl Outage {
    fn new() -> Outage {
        Outage {
            schedule: RemedySchedule::default(),
            attempts: Attempts::default(),
            facts: Arc::new(facts(Situation::ServerAnswers)),
            settings: RemedySettings { after: Duration::from_secs(PERIOD / 4), ..settings() },
            begun: 0,
            steps: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn second(&mut self, second: u64, since: Option<u64>) {
        let now = Time::after_start(Duration::from_secs(second));
        let failure = Failure {
            reason: Reason::Hung,
            errno: None,
            call: None,
            waited: Duration::from_secs(3),
            blocked_by: None,
            evidence: None,
        };
        let mount = Arc::clone(&self.facts.mount);
        let dead = since.map(|since| DeadMount {
            mount: &mount,
            failure: &failure,
            since: Time::after_start(Duration::from_secs(since)),
        });
        self.schedule.update(now, dead.into_iter(), |_| Some(self.settings.clone()));
        while self.schedule.begin_next(now).is_some() {
            self.begun += 1;
            let report = self.attempt(second);
            let is_new = self.schedule.take_report(now, mount.key, &report).is_some();
            self.reports.extend(is_new.then_some(report));
            self.schedule.end(now, mount.key, AttemptEnd::Finished);
        }
    }

    /// Nothing that is done against the mount helps.
    fn attempt(&mut self, second: u64) -> RemedyReport {
        let now = Duration::from_secs(second);
        let standing = self.attempts.standing(now, &self.facts, &self.settings, Initiator::Daemon);
        let plan = plan(Arc::clone(&self.facts), &self.settings, &standing);
        if plan.is_refused() {
            let reason = |guard: &str| RefusalReason { guard: guard.to_owned(), why: String::new() };
            let reasons = plan.refusals().iter().map(|refusal| reason(refusal.guard.as_str())).collect();
            return RemedyReport::Refused { reasons, waits: plan.waits() };
        }
        assert_eq!(self.attempts.begin(now, &plan, &self.settings, Initiator::Daemon), Ok(()));
        let mut progress = Progress::new(&plan);
        let outcome = loop {
            match progress.next() {
                Next::Ended(outcome) => break outcome,
                Next::Step(kind) => {
                    self.attempts.step_begins(plan.mount().key, kind);
                    self.steps.push(kind);
                    progress.step_ended(if kind.is_destructive() { StepEnd::NotDone } else { StepEnd::Done });
                }
            }
        };
        let gave_up = self.attempts.end(now, plan.mount().key, outcome);
        RemedyReport::Failed { outcome, gave_up, advice: String::new() }
    }
}

#[test]
fn server_that_flaps_for_an_hour_causes_few_actions_and_a_loud_end() {
    let mut outage = Outage::new();
    for second in 0..HOUR {
        let since = (second % PERIOD < PERIOD / 2).then_some(second - second % PERIOD);
        outage.second(second, since);
    }
    let failed =
        |report: &&RemedyReport| matches!(report, RemedyReport::Failed { outcome: Outcome::Failed, .. });
    let failures = outage.reports.iter().filter(failed).count();
    assert!((1..=RemedySettings::ATTEMPTS as usize).contains(&failures), "{:?}", outage.reports);
    for kind in StepKind::ALL.into_iter().filter(|kind| kind.is_destructive() && *kind != StepKind::Unmount) {
        assert!(outage.steps.iter().filter(|step| **step == kind).count() <= 1, "{:?}", outage.steps);
    }
    let unmounts = outage.steps.iter().filter(|step| **step == StepKind::Unmount).count();
    assert!(unmounts <= RemedySettings::ATTEMPTS as usize, "{unmounts}");
    assert!(outage.begun <= 20, "{} processes", outage.begun);
    assert!(outage.reports.len() <= 6, "{:?}", outage.reports);
    let is_end = |report: &RemedyReport| matches!(report, RemedyReport::Failed { gave_up: true, .. });
    assert!(outage.reports.iter().any(is_end), "{:?}", outage.reports);
}
