//! The plan for one mount: what would be done in which order, what it would break, and what forbids it. Plain data; the
//! words are in `render`.

use super::facts::{MountCopy, RemedyFacts};
use super::planner::Situation;
use super::step::StepKind;
use crate::monitor::Reason;
use platform::{Mount, MountKey};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What would be done about a mount. The steps are in order; one is made only when those before it have ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    pub(super) facts: Arc<RemedyFacts>,
    pub(super) situation: Situation,
    pub(super) steps: Vec<Step>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) again: MountAgain,
    pub(super) unknowns: Vec<Unknown>,
}

/// One step, and what it breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub kind: StepKind,
    pub harms: Vec<Harm>,
}

/// What a step breaks, and for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Waiting requests and open files of all mounts of the superblock fail: of this mount and of these.
    RequestsFail { also: Vec<PathBuf> },
    /// As before, and the same for all file systems of the server, at these mount points.
    ServerRequestsFail { also: Vec<PathBuf> },
    /// What was written and has not reached the server is lost.
    UnwrittenIsLost,
    /// Processes with open files or a working directory keep the dead file system until they end.
    UsersKeepIt,
    /// These copies in other mount namespaces go with it.
    CopiesGo(Vec<MountCopy>),
    /// These copies stay as they are: dead.
    CopiesStay(Vec<MountCopy>),
    /// The same file system stays dead at these mount points.
    SiblingsStay(Vec<PathBuf>),
    /// The mounts that the kernel made below it go with it.
    ChildrenGo(Vec<PathBuf>),
    /// These units of systemd stop.
    UnitsStop(Vec<String>),
    /// Between this step and the next, processes may write into the directory underneath.
    PathIsOpen,
    /// Until it is mounted again, the mount point is empty and read-only.
    PathIsEmpty,
    /// Only for the moment of the call: it fails with EBUSY if the mount is in use, and nothing changes.
    NoneIfBusy,
}

/// A guard that forbids something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub guard: Guard,
    pub forbids: Forbids,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forbids {
    Everything,
    /// These steps of the plan.
    Steps(Vec<StepKind>),
}

/// Why something is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Guard {
    /// There is no remedy for this type of file system, or for this reason of its death.
    NoRemedy,
    /// Nobody knows whether the process that serves it still runs.
    FuseServerUnknown(String),
    /// Waiting loses nothing: the server is silent, and it continues when the server does.
    ServerSilent,
    /// An evicted CephFS client recovers by itself with `recover_session=clean`.
    CephRecovers {
        has_option: bool,
    },
    SystemPath {
        path: &'static str,
    },
    KeptPath {
        what: &'static str,
        path: PathBuf,
    },
    MountsBelow(Vec<PathBuf>),
    AutofsBelow(Vec<PathBuf>),
    NoUniqueIds,
    /// The mount that died is no longer there; another has its place.
    Replaced {
        died: MountKey,
    },
    TooSoon {
        dead_for: Duration,
        after: Duration,
    },
    /// It may be a failover: `ESTALE` has not come from `statfs` for long enough.
    MayBeFailover {
        stale_for: Duration,
        after: Duration,
    },
    NotConfirmed,
    /// The last probe found another reason.
    OtherFault(Reason),
    Recovered,
    /// The prober of the last probe has not ended, so a plain unmount would fail.
    ProberAlive,
    ServerBusy,
    MachineBusy {
        running: usize,
    },
    /// A child that may still act has not ended.
    Stranded,
    /// So many attempts were made within this time.
    AttemptsSpent {
        attempts: u32,
        window: Duration,
    },
    /// All attempts of the machine since it was started.
    MachineSpent {
        attempts: u32,
    },
    GaveUp,
    /// An unmount hit another mount than the one that was meant: nothing more is done on this machine.
    WrongHit,
    HealthySibling(Vec<PathBuf>),
    /// Nothing is known about these mounts of its superblock.
    UnknownSibling(Vec<PathBuf>),
    OtherUser {
        user: u32,
    },
    ShuttingDown,
    JustStarted {
        uptime: Duration,
    },
    JustResumed {
        resumed: Duration,
    },
    Stacked(Vec<String>),
    StackedUnknown(String),
    CopyInUse(Vec<MountCopy>),
    CopiesUnknown(String),
    UnitsActive(Vec<String>),
    UnitsUnknown(String),
    DeadAncestor(PathBuf),
    CannotMountAgain(NoRemount),
    ForeignNamespace,
    /// It was made before, for this mount.
    MadeBefore,
    /// It would end all mounts of the server, and there are others.
    ShutDownIsShared(Vec<PathBuf>),
    /// The rule does not name it.
    NotInRule,
}

impl Guard {
    /// Whether it passes by itself, so that the same mount can be planned again later.
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Guard::TooSoon { .. }
                | Guard::MayBeFailover { .. }
                | Guard::NotConfirmed
                | Guard::ProberAlive
                | Guard::ServerBusy
                | Guard::MachineBusy { .. }
                | Guard::AttemptsSpent { .. }
                | Guard::JustStarted { .. }
                | Guard::JustResumed { .. }
        )
    }

    /// The name in JSON, events and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Guard::NoRemedy => "no_remedy",
            Guard::FuseServerUnknown(_) => "fuse_server_unknown",
            Guard::ServerSilent => "server_silent",
            Guard::CephRecovers { .. } => "ceph_recovers",
            Guard::SystemPath { .. } => "system_path",
            Guard::KeptPath { .. } => "kept_path",
            Guard::MountsBelow(_) => "mounts_below",
            Guard::AutofsBelow(_) => "autofs_below",
            Guard::NoUniqueIds => "no_unique_ids",
            Guard::Replaced { .. } => "replaced",
            Guard::TooSoon { .. } => "too_soon",
            Guard::MayBeFailover { .. } => "may_be_failover",
            Guard::NotConfirmed => "not_confirmed",
            Guard::OtherFault(_) => "other_fault",
            Guard::Recovered => "recovered",
            Guard::ProberAlive => "prober_alive",
            Guard::ServerBusy => "server_busy",
            Guard::MachineBusy { .. } => "machine_busy",
            Guard::Stranded => "stranded",
            Guard::AttemptsSpent { .. } => "attempts_spent",
            Guard::MachineSpent { .. } => "machine_spent",
            Guard::GaveUp => "gave_up",
            Guard::WrongHit => "wrong_hit",
            Guard::HealthySibling(_) => "healthy_sibling",
            Guard::UnknownSibling(_) => "unknown_sibling",
            Guard::OtherUser { .. } => "other_user",
            Guard::ShuttingDown => "shutting_down",
            Guard::JustStarted { .. } => "just_started",
            Guard::JustResumed { .. } => "just_resumed",
            Guard::Stacked(_) => "stacked",
            Guard::StackedUnknown(_) => "stacked_unknown",
            Guard::CopyInUse(_) => "copy_in_use",
            Guard::CopiesUnknown(_) => "copies_unknown",
            Guard::UnitsActive(_) => "units_active",
            Guard::UnitsUnknown(_) => "units_unknown",
            Guard::DeadAncestor(_) => "dead_ancestor",
            Guard::CannotMountAgain(_) => "cannot_mount_again",
            Guard::ForeignNamespace => "foreign_namespace",
            Guard::MadeBefore => "made_before",
            Guard::ShutDownIsShared(_) => "shutdown_is_shared",
            Guard::NotInRule => "not_in_rule",
        }
    }
}

/// How the mount would be made again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MountAgain {
    /// At a private place first. `fresh_superblock`: as long as the old superblock lives, mounting would find it again.
    Privately { fresh_superblock: bool },
    /// By the unit that serves it, after the dead mount is gone.
    ByUnit(String),
    /// autofs does it.
    ByAutofs,
    /// It is not.
    Never(NoRemount),
}

/// Why a mount is not mounted again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRemount {
    /// The rule says so.
    Rule,
    ForeignNamespace,
    /// Only its user can.
    OtherUser,
    /// Nothing is known that would.
    UnknownOrigin,
    /// The server of a FUSE mount, or the service, needs systemd.
    NoSystemd,
    ServerSilent,
}

/// A fact that could not be known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unknown {
    pub what: &'static str,
    pub why: String,
}

impl Plan {
    pub fn mount(&self) -> &Arc<Mount> {
        &self.facts.mount
    }

    pub fn facts(&self) -> &RemedyFacts {
        &self.facts
    }

    /// How the mount is dead.
    pub fn situation(&self) -> Situation {
        self.situation
    }

    /// The steps that would be made, unless the plan is refused.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    pub fn mount_again(&self) -> &MountAgain {
        &self.again
    }

    /// What could not be known.
    pub fn unknowns(&self) -> &[Unknown] {
        &self.unknowns
    }

    /// Nothing may be done.
    pub fn is_refused(&self) -> bool {
        let is_refused = self.refusals.iter().any(|refusal| refusal.forbids == Forbids::Everything);
        is_refused || (self.steps.is_empty() && self.situation != Situation::NotDead)
    }

    /// It is refused, and only for now.
    pub fn waits(&self) -> bool {
        let mut of_all = self.refusals.iter().filter(|refusal| refusal.forbids == Forbids::Everything);
        self.is_refused() && !self.steps.is_empty() && of_all.all(|refusal| refusal.guard.passes())
    }

    /// The steps to carry out: none if the plan is refused.
    pub fn allowed_steps(&self) -> &[Step] {
        if self.is_refused() { &[] } else { &self.steps }
    }
}
