//! What forbids a remedy. When a fact that a guard needs is not known, the guard forbids.

use super::attempts::made_before;
use super::facts::{BelowKind, Confirmation, Death, MountCopy, RemedyFacts, SiblingHealth, Unit};
use super::plan::{Guard, MountAgain, Refusal};
use super::planner::Situation;
use super::settings::{Consent, RemedySettings};
use super::step::StepKind;
use super::{Known, Standing};
use crate::monitor::Reason;
use platform::User;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Mounts at these paths and above them are never touched: the system stops without them.
const SYSTEM_PATHS: &[&str] = &[
    "/boot/efi",
    "/root",
    "/run/lock",
    "/run/user",
    "/tmp",
    "/usr/libexec",
    "/usr/share",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// As before, and neither are mounts below them.
const SYSTEM_TREES: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run/dbus",
    "/run/systemd",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/sbin",
];

/// Nothing is done for so long after the start of the machine and after a suspension: networks, servers and automounts
/// come up one after another, and much that looks dead recovers.
pub(super) const SETTLING_TIME: Duration = Duration::from_secs(300);

/// The guards that forbid everything.
pub(super) fn against_all(
    facts: &RemedyFacts,
    situation: Situation,
    settings: &RemedySettings,
    standing: &Standing,
) -> Vec<Refusal> {
    let mut guards = standing.guards.clone();
    if situation == Situation::Other {
        guards.push(Guard::NoRemedy);
    }
    guards.extend(identity(facts));
    guards.extend(facts.death.as_ref().into_iter().flat_map(|death| time(death, settings)));
    guards.extend(confirmation(facts, situation));
    guards.extend(place(facts));
    guards.extend(state(facts, situation, settings));
    guards.extend(machine(facts));
    guards.into_iter().map(Refusal::of_all).collect()
}

fn identity(facts: &RemedyFacts) -> Vec<Guard> {
    let mut guards = Vec::new();
    if !facts.kernel.has_unique_ids {
        guards.push(Guard::NoUniqueIds);
    }
    let died = facts.death.as_ref().map(|death| death.key);
    guards.extend(died.filter(|&died| died != facts.mount.key).map(|died| Guard::Replaced { died }));
    guards
}

fn time(death: &Death, settings: &RemedySettings) -> Vec<Guard> {
    let after = settings.after;
    let too_soon = (death.lasted < after).then_some(Guard::TooSoon { dead_for: death.lasted, after });
    let is_short = death.reason == Reason::Stale && death.stale_for < after;
    let failover = is_short.then_some(Guard::MayBeFailover { stale_for: death.stale_for, after });
    too_soon.into_iter().chain(failover).collect()
}

fn confirmation(facts: &RemedyFacts, situation: Situation) -> Option<Guard> {
    let death = facts.death.as_ref()?;
    match facts.confirmation {
        Confirmation::None => Some(Guard::NotConfirmed),
        Confirmation::Responds => Some(Guard::Recovered),
        Confirmation::Dead { reason, .. } => {
            // A server that is silent shows as hung or as an error, by turns.
            let errno = death.errno.filter(|_| reason == death.reason);
            (Situation::of_reason(facts, reason, errno) != situation).then_some(Guard::OtherFault(reason))
        }
    }
}

/// Where it is mounted.
fn place(facts: &RemedyFacts) -> Vec<Guard> {
    let here = &*facts.mount.mountpoint;
    let mut guards = Vec::new();
    let is_system = |path: &&&str| Path::new(path).starts_with(here);
    let is_in_tree = |tree: &&&str| Path::new(tree).starts_with(here) || here.starts_with(tree);
    let system = SYSTEM_TREES.iter().find(is_in_tree).or_else(|| SYSTEM_PATHS.iter().find(is_system));
    guards.extend(system.map(|&path| Guard::SystemPath { path }));
    if let Some(kept) = facts.kept.iter().find(|kept| kept.path.starts_with(here)) {
        guards.push(Guard::KeptPath { what: kept.what, path: kept.path.clone() });
    }
    let below = |kind| -> Vec<PathBuf> {
        facts.below.iter().filter(|it| it.kind == kind).map(|it| it.mountpoint.clone()).collect()
    };
    guards.extend(some(below(BelowKind::Other)).map(Guard::MountsBelow));
    guards.extend(some(below(BelowKind::AutofsTrigger)).map(Guard::AutofsBelow));
    let dead = facts.ancestors.iter().find(|ancestor| ancestor.is_dead);
    guards.extend(dead.map(|ancestor| Guard::DeadAncestor(ancestor.mountpoint.clone())));
    guards
}

/// How it is dead.
fn state(facts: &RemedyFacts, situation: Situation, settings: &RemedySettings) -> Vec<Guard> {
    let mut guards = Vec::new();
    match situation {
        Situation::FuseServerGone => {
            let unknown = facts.fuse_server.as_ref().err();
            guards.extend(unknown.map(|why| Guard::FuseServerUnknown(why.clone())));
        }
        Situation::ServerSilent if !settings.allows(Consent::SilentServer) => {
            guards.push(Guard::ServerSilent);
        }
        Situation::CephEvicted if !settings.allows(Consent::Evicted) => {
            let has_option =
                facts.mount.super_option("recover_session").is_some_and(|value| value == "clean");
            guards.push(Guard::CephRecovers { has_option });
        }
        _ => {}
    }
    guards.extend(some(siblings(facts, SiblingHealth::Responds)).map(Guard::HealthySibling));
    guards
}

fn machine(facts: &RemedyFacts) -> Vec<Guard> {
    let machine = &facts.machine;
    let mut guards = Vec::new();
    if machine.is_shutting_down {
        guards.push(Guard::ShuttingDown);
    }
    if machine.uptime < SETTLING_TIME {
        guards.push(Guard::JustStarted { uptime: machine.uptime });
    }
    let resumed = machine.resumed.filter(|&resumed| resumed < SETTLING_TIME);
    guards.extend(resumed.map(|resumed| Guard::JustResumed { resumed }));
    guards
}

/// The guards that forbid this step.
pub(super) fn against_step(
    kind: StepKind,
    facts: &RemedyFacts,
    settings: &RemedySettings,
    standing: &Standing,
    again: &MountAgain,
) -> Vec<Guard> {
    let mut guards = Vec::new();
    if kind.permission().is_some_and(|permission| !settings.steps.contains(&permission)) {
        guards.push(Guard::NotInRule);
    }
    if made_before(kind, &standing.made) {
        guards.push(Guard::MadeBefore);
    }
    let prober_ended = matches!(facts.confirmation, Confirmation::Dead { prober_ended: true, .. });
    if kind == StepKind::Unmount && !prober_ended {
        guards.push(Guard::ProberAlive);
    }
    if let User::Foreign(user) = facts.mount.user()
        && kind != StepKind::Abort
    {
        guards.push(Guard::OtherUser { user });
    }
    if facts.machine.is_foreign_namespace && !matches!(kind, StepKind::Unmount | StepKind::Abort) {
        guards.push(Guard::ForeignNamespace);
    }
    // A plain unmount fails while something is stacked on it, and a server that continues harms nobody.
    if !matches!(kind, StepKind::Unmount | StepKind::Resume) {
        guards.extend(unless_empty(&facts.stacked, Guard::Stacked, Guard::StackedUnknown));
    }
    let is_ours = !facts.mount.user().is_foreign() && !facts.machine.is_foreign_namespace;
    // An aborted mount never responds again.
    if let MountAgain::Never(why) = *again
        && !settings.allows(Consent::NotMountedAgain)
        && (kind.removes_mount() || (kind == StepKind::Abort && is_ours))
    {
        guards.push(Guard::CannotMountAgain(why));
    }
    if kind.removes_mount() {
        guards.extend(against_removal(facts, settings));
    }
    if matches!(kind, StepKind::Abort | StepKind::Force | StepKind::ShutDown) {
        guards.extend(some(siblings(facts, SiblingHealth::Unknown)).map(Guard::UnknownSibling));
        // It ends all copies, wherever they are.
        guards.extend(copies(facts, settings, |copy| copy.in_container));
    }
    let others = &facts.server.others;
    if kind == StepKind::ShutDown && !facts.kernel.shuts_down_one_superblock && !others.is_empty() {
        guards.push(Guard::ShutDownIsShared(others.clone()));
    }
    guards
}

fn against_removal(facts: &RemedyFacts, settings: &RemedySettings) -> Vec<Guard> {
    let mut guards = Vec::new();
    let is_in_use = |copy: &MountCopy| copy.is_propagated && (copy.in_container || copy.has_mounts_below);
    guards.extend(copies(facts, settings, is_in_use));
    if !settings.allows(Consent::Units) {
        let active = |units: &Vec<Unit>| {
            units.iter().filter(|unit| unit.is_active).map(|unit| unit.name.clone()).collect()
        };
        let active = facts.bound_units.as_ref().map(active).map_err(Clone::clone);
        guards.extend(unless_empty(&active, Guard::UnitsActive, Guard::UnitsUnknown));
    }
    guards
}

/// Copies that need consent.
fn copies(
    facts: &RemedyFacts,
    settings: &RemedySettings,
    is_critical: impl Fn(&MountCopy) -> bool,
) -> Option<Guard> {
    if settings.allows(Consent::Copies) {
        return None;
    }
    let critical =
        facts.copies.as_ref().map(|copies| copies.iter().filter(|copy| is_critical(copy)).cloned());
    unless_empty(
        &critical.map(Iterator::collect).map_err(Clone::clone),
        Guard::CopyInUse,
        Guard::CopiesUnknown,
    )
}

fn siblings(facts: &RemedyFacts, health: SiblingHealth) -> Vec<PathBuf> {
    facts.siblings.iter().filter(|it| it.health == health).map(|it| it.mountpoint.clone()).collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn unless_empty<T: Clone>(
    known: &Known<Vec<T>>,
    found: fn(Vec<T>) -> Guard,
    unknown: fn(String) -> Guard,
) -> Option<Guard> {
    match known {
        Ok(list) => some(list.clone()).map(found),
        Err(why) => Some(unknown(why.clone())),
    }
}
