//! Remedies: what can be done about a dead mount without making it worse. Pure: [`RemedyFacts`] in, a [`Plan`] out.
//! Nothing here acts.
//!
//! Reading order: `facts` is what must be known; `settings` is what a rule permits; `step` are the words for what can be
//! done; `planner` chooses the steps, `guards` forbid some or all, `harms` says what each breaks, and `plan` is the
//! result. `progress` says what follows when a step has ended, `attempts` counts what was tried, `schedule` says
//! when the daemon makes an attempt, and `report` is what operators learn about it.

mod attempts;
mod facts;
#[cfg(test)]
mod flapping_tests;
mod guards;
mod harms;
#[cfg(test)]
mod model_tests;
mod plan;
mod planner;
mod progress;
mod report;
#[cfg(test)]
mod safety_tests;
mod schedule;
#[cfg(test)]
mod schedule_tests;
mod settings;
mod step;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use attempts::{Attempts, Initiator, MAX_RUNNING, Outcome, Standing};
pub use facts::{
    Ancestor, Below, BelowKind, Confirmation, Death, FuseServer, KeptPath, Kernel, Known, Machine, MountCopy,
    Origin, RemedyFacts, Server, Sibling, SiblingHealth, SuperblockKind, Unit,
};
pub use plan::{Forbids, Guard, Harm, MountAgain, NoRemount, Plan, Refusal, Step, Unknown};
pub use planner::{Situation, plan};
pub use progress::{Next, Progress, StepEnd};
pub use report::{
    MountRemedy, PlannedStep, RefusalReason, RemedyOverview, RemedyReport, RemedyTotals, StepResult,
};
pub use schedule::{AttemptEnd, AttemptOrder, DeadMount, RemedySchedule};
pub use settings::{Consent, Mode, RemedySettings, Remount};
pub use step::{STEP_WORDS, StepKind};
