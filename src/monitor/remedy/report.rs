//! What operators learn about a remedy of the daemon: what is planned, what is done, and how it ended. An attempt is made
//! in a child process, which sends these reports; all texts in them are escaped.

use super::attempts::Outcome;
use super::settings::Mode;
use super::step::StepKind;
use crate::monitor::Time;
use platform::{Mount, MountKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// One thing to report about the remedy of a mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RemedyReport {
    /// These steps are made now; with [`Mode::DryRun`] they would be made now, and are not.
    Planned { mode: Mode, steps: Vec<PlannedStep> },
    /// Nothing is done. `waits`: only for now; it is planned again later.
    Refused { reasons: Vec<RefusalReason>, waits: bool },
    /// A step has ended.
    Step(StepResult),
    /// The mount is a new one that responds. `left`: who still has the dead one, one text each.
    Remedied { took: Duration, left: Vec<String> },
    /// The attempt ended without a mount that responds. `gave_up`: nothing more is tried until the mount changes or the
    /// operator resets it. `advice` is what a person should do.
    Failed { outcome: Outcome, gave_up: bool, advice: String },
}

/// A step of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedStep {
    pub step: StepKind,
    /// The system call or the program.
    pub call: String,
}

/// Why nothing is done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusalReason {
    /// [`Guard::as_str`](super::Guard::as_str).
    pub guard: String,
    pub why: String,
}

/// How a step ended, as the mount table shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepResult {
    pub step: StepKind,
    pub is_done: bool,
    /// What it has done, or why it has not.
    pub outcome: String,
    pub took: Duration,
}

impl MountRemedy {
    /// Nothing more is tried by itself.
    #[must_use]
    pub const fn has_given_up(&self) -> bool {
        matches!(self.last, Some((RemedyReport::Failed { gave_up: true, .. }, _)))
    }
}

impl RemedyReport {
    /// The name of the event.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            RemedyReport::Planned { .. } => "remedy_planned",
            RemedyReport::Refused { .. } => "remedy_refused",
            RemedyReport::Step(_) => "remedy_step",
            RemedyReport::Remedied { .. } => "remedied",
            RemedyReport::Failed { .. } => "remedy_failed",
        }
    }
}

/// The remedies of the daemon at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RemedyOverview {
    /// The rules with remedies that are not off.
    pub rules: usize,
    /// Dead mounts with such a rule, and those that were remedied last, in the order of their keys; of one key the dead one
    /// is the first.
    pub mounts: Vec<MountRemedy>,
    pub totals: RemedyTotals,
}

impl RemedyOverview {
    /// The remedy of a dead mount.
    #[must_use]
    pub fn of(&self, key: MountKey) -> Option<&MountRemedy> {
        let at = self.mounts.partition_point(|remedy| remedy.mount.key < key);
        self.mounts.get(at).filter(|remedy| remedy.mount.key == key)
    }
}

/// The remedy of one mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountRemedy {
    pub mount: Arc<Mount>,
    pub mode: Mode,
    /// An attempt is under way.
    pub is_running: bool,
    /// When the next attempt begins, unless the mount responds before. `None`: there will be none by itself.
    pub next_attempt: Option<Time>,
    /// The last report, and when it came.
    pub last: Option<(RemedyReport, Time)>,
}

/// Since the daemon was started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RemedyTotals {
    pub attempts: u64,
    pub dry_runs: u64,
    pub refused: u64,
    pub steps: u64,
    pub remedied: u64,
    pub failed: u64,
    /// Of the failed ones, those after which nothing more is tried.
    pub gave_up: u64,
}
