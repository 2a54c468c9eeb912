//! One attempt: the steps of a plan, one after another, until the mount is remedied or nothing more can be done.

use super::action::{Action, BeginError, Remedies, StepDetails};
use super::judge::StepOutcome;
use super::running::StepReport;
use super::wire::{CallRecord, NotMade};
use crate::monitor::remedy::{
    Attempts, Initiator, MAX_RUNNING, Next, Outcome, Plan, Progress, RemedySettings, StepEnd, StepKind,
};
use platform::MountTable;
use std::sync::Arc;
use std::time::Duration;

/// For one step. An NFS mount whose server is slow takes longest: mount.nfs tries for two minutes.
const STEP_TIMEOUT: Duration = Duration::from_secs(150);
/// For the last probes, of what has responded before or was just mounted: the path is covered, so nothing gains by waiting.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(15);

/// What happens during an attempt.
#[derive(Debug)]
pub enum AttemptEvent<'a> {
    Begins(StepKind),
    /// Right before a call, without its duration, and right after it.
    Call(&'a CallRecord),
    Ended(&'a StepReport),
    /// The private place could not be removed.
    LeftBehind(&'a StepOutcome),
}

/// An attempt that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptEnd {
    pub outcome: Outcome,
    /// The daemon tries nothing more until the mount changes or the operator resets it.
    pub gave_up: bool,
}

impl Remedies {
    /// Carries out the steps that the plan allows; `table` is that of its facts.
    ///
    /// # Errors
    /// Nothing was done: what is forbidden now, or why that cannot be known.
    pub fn attempt(
        &mut self,
        plan: &Plan,
        settings: &RemedySettings,
        table: &MountTable,
        by: Initiator,
        on_event: &mut dyn FnMut(AttemptEvent<'_>),
    ) -> Result<AttemptEnd, BeginError> {
        let (dead, server) = (Arc::clone(plan.mount()), plan.facts().server_id());
        let enter = |attempts: &mut Attempts, now| attempts.begin(now, plan, settings, by);
        let mut action = self.begin_if(dead, &server, MAX_RUNNING, enter)?;
        let outcome = carry_out(&mut action, plan, table, on_event);
        let key = plan.mount().key;
        // If it cannot be kept, the attempt counts as failed for those who come next.
        let gave_up = action.change_attempts(|attempts, now| attempts.end(now, key, outcome));
        if let Err(outcome) = action.finish() {
            on_event(AttemptEvent::LeftBehind(&outcome));
        }
        Ok(AttemptEnd { outcome, gave_up: gave_up.unwrap_or_default() })
    }
}

fn carry_out(
    action: &mut Action<'_>,
    plan: &Plan,
    table: &MountTable,
    on_event: &mut dyn FnMut(AttemptEvent<'_>),
) -> Outcome {
    let mut details = StepDetails::of_plan(plan, table, STEP_TIMEOUT);
    let mut progress = Progress::new(plan);
    loop {
        let kind = match progress.next() {
            Next::Ended(outcome) => return outcome,
            Next::Step(kind) => kind,
        };
        on_event(AttemptEvent::Begins(kind));
        details.timeout = if kind == StepKind::Verify { VERIFY_TIMEOUT } else { STEP_TIMEOUT };
        let recorded = action.change_attempts(|attempts, _| attempts.step_begins(plan.mount().key, kind));
        let report = match recorded {
            // What comes after a removal must be made in any case, and may be repeated.
            Err(error) if kind.is_destructive() => {
                StepReport::without_child(StepOutcome::NotMade(NotMade::NotRecorded(error.to_string())))
            }
            _ => action.run(kind, &details, &mut |call| on_event(AttemptEvent::Call(call))),
        };
        on_event(AttemptEvent::Ended(&report));
        progress.step_ended(report.outcome.end());
    }
}

impl StepOutcome {
    /// What decides how the attempt goes on.
    fn end(&self) -> StepEnd {
        match self {
            StepOutcome::Done => StepEnd::Done,
            StepOutcome::Deferred => StepEnd::Deferred,
            StepOutcome::PathIsOpen(_) => StepEnd::PathIsOpen,
            StepOutcome::WrongHit(_) => StepEnd::WrongHit,
            StepOutcome::Stranded => StepEnd::Stranded,
            StepOutcome::NotMade(_)
            | StepOutcome::StillMounted { .. }
            | StepOutcome::NotVerified(_)
            | StepOutcome::Failed(_) => StepEnd::NotDone,
        }
    }
}
