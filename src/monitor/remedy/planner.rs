//! Makes the plan: the ladder of steps for the state of the mount, without those that a guard forbids.

use super::facts::{FuseServer, Origin, RemedyFacts, SuperblockKind};
use super::guards;
use super::plan::{Forbids, Guard, MountAgain, NoRemount, Plan, Refusal, Step, Unknown};
use super::settings::{RemedySettings, Remount};
use super::step::StepKind;
use super::{Standing, harms};
use crate::monitor::Reason;
use platform::Errno;
use std::sync::Arc;

/// How a mount is dead, as far as it decides what can be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Situation {
    NotDead,
    /// The server no longer knows what was mounted.
    Stale,
    /// The process that served a FUSE mount is gone, or its connection was aborted.
    FuseServerGone,
    FuseHung,
    /// As before, and the process that serves it is stopped.
    FuseStopped,
    /// Hung or failing, while its server answers others.
    ServerAnswers,
    /// Hung or failing, and the server does not answer, or nobody knows.
    ServerSilent,
    CephEvicted,
    /// None of these: there is no remedy.
    Other,
}

impl Situation {
    pub const fn as_str(self) -> &'static str {
        match self {
            Situation::NotDead => "not_dead",
            Situation::Stale => "stale",
            Situation::FuseServerGone => "fuse_server_gone",
            Situation::FuseHung => "fuse_hung",
            Situation::FuseStopped => "fuse_stopped",
            Situation::ServerAnswers => "server_answers",
            Situation::ServerSilent => "server_silent",
            Situation::CephEvicted => "ceph_evicted",
            Situation::Other => "other",
        }
    }

    pub fn of(facts: &RemedyFacts) -> Situation {
        let death = facts.death.as_ref();
        death.map_or(Situation::NotDead, |death| Situation::of_reason(facts, death.reason, death.errno))
    }

    pub(super) fn of_reason(facts: &RemedyFacts, reason: Reason, errno: Option<Errno>) -> Situation {
        match (facts.superblock_kind(), reason) {
            (SuperblockKind::Other, _) => Situation::Other,
            (SuperblockKind::Fuse, Reason::Hung) => match facts.fuse_server {
                Ok(FuseServer::Stopped { .. }) => Situation::FuseStopped,
                _ => Situation::FuseHung,
            },
            // A server that runs can return this error for what is behind it, and then recovers by itself.
            (SuperblockKind::Fuse, Reason::Disconnected) => match facts.fuse_server {
                Ok(FuseServer::Running { .. } | FuseServer::Stopped { .. }) => Situation::Other,
                _ => Situation::FuseServerGone,
            },
            (SuperblockKind::Fuse, _) => Situation::Other,
            (_, Reason::Stale) => Situation::Stale,
            (SuperblockKind::Ceph, _) if is_eviction(errno) => Situation::CephEvicted,
            _ if facts.server.answers == Ok(true) => Situation::ServerAnswers,
            _ => Situation::ServerSilent,
        }
    }

    /// The steps against the dead mount, in the order in which they are tried.
    const fn ladder(self) -> &'static [StepKind] {
        match self {
            Situation::NotDead | Situation::Other => &[],
            Situation::Stale | Situation::FuseServerGone => &[StepKind::Unmount, StepKind::Detach],
            Situation::FuseHung => &[StepKind::Abort, StepKind::Unmount, StepKind::Detach],
            Situation::FuseStopped => {
                &[StepKind::Resume, StepKind::Abort, StepKind::Unmount, StepKind::Detach]
            }
            Situation::CephEvicted => &[StepKind::Unmount, StepKind::Force, StepKind::Detach],
            Situation::ServerAnswers | Situation::ServerSilent => {
                &[StepKind::Unmount, StepKind::Force, StepKind::Detach, StepKind::ShutDown]
            }
        }
    }
}

/// What an evicted client gets.
fn is_eviction(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::EACCES | Errno::ESHUTDOWN | Errno::EIO))
}

/// What would be done about this mount now, and what forbids it.
pub fn plan(facts: Arc<RemedyFacts>, settings: &RemedySettings, standing: &Standing) -> Plan {
    let situation = Situation::of(&facts);
    let again = mount_again(&facts, situation, settings);
    let mut ladder: Vec<StepKind> =
        situation.ladder().iter().copied().filter(|&kind| can_do(&facts, kind)).collect();
    let mut refusals = match situation {
        Situation::NotDead => Vec::new(),
        _ => guards::against_all(&facts, situation, settings, standing),
    };
    for &kind in &ladder {
        let guards = guards::against_step(kind, &facts, settings, standing, &again);
        refusals
            .extend(guards.into_iter().map(|guard| Refusal { guard, forbids: Forbids::Steps(vec![kind]) }));
    }
    ladder.retain(|&kind| !refusals.iter().any(|refusal| refusal.forbids(kind)));
    // A detach hits exactly the mount that was checked, and nothing waits for a mount that is gone: no reason to try an
    // unmount by path before.
    let is_gone = matches!(situation, Situation::Stale | Situation::FuseServerGone);
    if is_gone && ladder.contains(&StepKind::Detach) {
        ladder.retain(|&kind| kind != StepKind::Unmount);
        refusals.retain(|refusal| !refusal.forbids(StepKind::Unmount));
    }
    let refusals = merge(refusals);
    let steps = with_preparations(&ladder, &facts, &again);
    let steps = steps.into_iter().map(|kind| Step { kind, harms: harms::of(kind, &facts, &again) }).collect();
    let unknowns = unknowns(&facts);
    Plan { facts, situation, steps, refusals, again, unknowns }
}

/// Whether the step exists for this mount.
fn can_do(facts: &RemedyFacts, kind: StepKind) -> bool {
    let superblock = facts.superblock_kind();
    match kind {
        // The SMB client ignores it while another mount shares the connection.
        StepKind::Force => superblock != SuperblockKind::Smb,
        StepKind::ShutDown => superblock == SuperblockKind::Nfs,
        _ => true,
    }
}

/// The refusals of one guard become one.
fn merge(refusals: Vec<Refusal>) -> Vec<Refusal> {
    let mut merged: Vec<Refusal> = Vec::new();
    for Refusal { guard, forbids } in refusals {
        let Some(earlier) = merged.iter_mut().find(|earlier| earlier.guard == guard) else {
            merged.push(Refusal { guard, forbids });
            continue;
        };
        match (&mut earlier.forbids, forbids) {
            (Forbids::Steps(steps), Forbids::Steps(more)) => steps.extend(more),
            (all, _) => *all = Forbids::Everything,
        }
    }
    merged
}

/// The whole plan: what takes the place of the mount is ready before the mount is taken away.
fn with_preparations(ladder: &[StepKind], facts: &RemedyFacts, again: &MountAgain) -> Vec<StepKind> {
    let has = |kind| ladder.contains(&kind);
    if has(StepKind::Resume) {
        // The mount may work then. If it does not, the next attempt goes on without this step.
        return vec![StepKind::Resume, StepKind::Verify];
    }
    let removals: Vec<StepKind> = ladder.iter().copied().filter(|kind| kind.removes_mount()).collect();
    if removals.is_empty() {
        // The shutdown of a mount that stays would leave it dead for ever.
        return ladder.iter().copied().filter(|&kind| kind == StepKind::Abort).collect();
    }
    let replacement = match again {
        _ if facts.machine.is_foreign_namespace => None,
        MountAgain::Privately { .. } => Some(StepKind::MountPrivately),
        MountAgain::ByUnit(_) | MountAgain::Never(_) => Some(StepKind::Placeholder),
        MountAgain::ByAutofs => None,
    };
    let beneath = replacement.is_some() && facts.kernel.moves_beneath;
    let mut steps: Vec<StepKind> = replacement.into_iter().collect();
    steps.extend(beneath.then_some(StepKind::MoveBeneath));
    steps.extend(has(StepKind::Abort).then_some(StepKind::Abort));
    let replaces = replacement.is_some() && !beneath;
    let in_one = |kind| if kind == StepKind::Detach && replaces { StepKind::Replace } else { kind };
    // Any removal but that one leaves the mount point without its replacement.
    let leaves_gap = replaces && removals != [StepKind::Detach];
    steps.extend(removals.into_iter().map(in_one));
    steps.extend(leaves_gap.then_some(StepKind::MoveIn));
    steps.extend(has(StepKind::ShutDown).then_some(StepKind::ShutDown));
    steps.extend(matches!(again, MountAgain::ByUnit(_)).then_some(StepKind::MountAgain));
    // autofs mounts it at the next access, which nobody makes here.
    let is_mounted = matches!(again, MountAgain::Privately { .. } | MountAgain::ByUnit(_));
    steps.extend(is_mounted.then_some(StepKind::Verify));
    steps
}

fn mount_again(facts: &RemedyFacts, situation: Situation, settings: &RemedySettings) -> MountAgain {
    let kind = facts.superblock_kind();
    let machine = &facts.machine;
    // The server of a FUSE mount needs a scope of its own: here it would have the limits of this program.
    let has_place = kind != SuperblockKind::Fuse || machine.has_systemd;
    let is_server_gone = situation == Situation::ServerSilent && facts.server.answers == Ok(false);
    let why_not = match (&settings.remount, &facts.origin) {
        (Remount::No, _) => NoRemount::Rule,
        _ if machine.is_foreign_namespace => NoRemount::ForeignNamespace,
        _ if facts.mount.user().is_foreign() => NoRemount::OtherUser,
        (Remount::Auto, Origin::Autofs { .. }) => return MountAgain::ByAutofs,
        (Remount::Auto, Origin::Unknown) => NoRemount::UnknownOrigin,
        _ if is_server_gone => NoRemount::ServerSilent,
        _ if !has_place => NoRemount::NoSystemd,
        (Remount::Auto, Origin::Fstab { .. } | Origin::MountUnit { .. }) => {
            return MountAgain::Privately { fresh_superblock: kind != SuperblockKind::Fuse };
        }
        (Remount::Auto, Origin::Service { name }) | (Remount::Unit(name), _) if machine.has_systemd => {
            return MountAgain::ByUnit(name.clone());
        }
        (Remount::Auto, Origin::Service { .. }) | (Remount::Unit(_), _) => NoRemount::NoSystemd,
    };
    MountAgain::Never(why_not)
}

fn unknowns(facts: &RemedyFacts) -> Vec<Unknown> {
    fn unknown<T>(what: &'static str, fact: &super::Known<T>) -> Option<Unknown> {
        let why = fact.as_ref().err()?.clone();
        Some(Unknown { what, why })
    }
    let is_fuse = facts.superblock_kind() == SuperblockKind::Fuse;
    [
        unknown("whether the server answers", &facts.server.answers).filter(|_| !is_fuse),
        unknown("the process that serves it", &facts.fuse_server).filter(|_| is_fuse),
        unknown("copies in other mount namespaces", &facts.copies),
        unknown("what is stacked on it", &facts.stacked),
        unknown("units of systemd that are bound to it", &facts.bound_units),
        unknown("who uses it", &facts.users),
        unknown("how much is unwritten", &facts.unwritten),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Refusal {
    pub(super) fn forbids(&self, kind: StepKind) -> bool {
        matches!(&self.forbids, Forbids::Steps(steps) if steps.contains(&kind))
    }

    pub(super) fn of_all(guard: Guard) -> Refusal {
        Refusal { guard, forbids: Forbids::Everything }
    }
}
