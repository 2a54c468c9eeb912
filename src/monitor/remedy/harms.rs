//! What each step breaks, and for whom.

use super::facts::{BelowKind, MountCopy, RemedyFacts, SuperblockKind};
use super::plan::{Harm, MountAgain};
use super::step::StepKind;
use std::path::PathBuf;

pub(super) fn of(kind: StepKind, facts: &RemedyFacts, again: &MountAgain) -> Vec<Harm> {
    match kind {
        StepKind::Resume
        | StepKind::MountPrivately
        | StepKind::Placeholder
        | StepKind::MoveBeneath
        | StepKind::MoveIn
        | StepKind::MountAgain
        | StepKind::Verify => Vec::new(),
        StepKind::Abort => superblock_fails(facts),
        StepKind::ShutDown if facts.kernel.shuts_down_one_superblock => superblock_fails(facts),
        StepKind::ShutDown => server_fails(facts),
        StepKind::Unmount => {
            let mut harms = vec![Harm::NoneIfBusy];
            harms.extend(removal(facts, again));
            harms.extend(open_path(facts, again));
            harms
        }
        StepKind::Force => {
            // The client of CephFS is one for all its mounts, and so are the requests.
            let mut harms = match facts.superblock_kind() {
                SuperblockKind::Ceph => server_fails(facts),
                _ => superblock_fails(facts),
            };
            harms.extend(removal(facts, again));
            harms.extend(open_path(facts, again));
            harms
        }
        StepKind::Detach | StepKind::Replace => {
            let mut harms = vec![Harm::UsersKeepIt];
            harms.extend(removal(facts, again));
            harms
        }
    }
}

fn superblock_fails(facts: &RemedyFacts) -> Vec<Harm> {
    let also = facts.siblings.iter().map(|sibling| sibling.mountpoint.clone()).collect();
    vec![Harm::RequestsFail { also }, Harm::UnwrittenIsLost]
}

fn server_fails(facts: &RemedyFacts) -> Vec<Harm> {
    let siblings = facts.siblings.iter().map(|sibling| &sibling.mountpoint);
    let also = siblings.chain(&facts.server.others).cloned().collect();
    vec![Harm::ServerRequestsFail { also }, Harm::UnwrittenIsLost]
}

/// What goes with the mount.
fn removal(facts: &RemedyFacts, again: &MountAgain) -> Vec<Harm> {
    let copies = facts.copies.as_deref().unwrap_or_default();
    let (go, stay): (Vec<MountCopy>, Vec<MountCopy>) =
        copies.iter().cloned().partition(|it| it.is_propagated);
    let is_child = |kind| kind == BelowKind::SameServer;
    let children: Vec<PathBuf> =
        facts.below.iter().filter(|it| is_child(it.kind)).map(|it| it.mountpoint.clone()).collect();
    let units = facts.bound_units.iter().flatten().filter(|unit| unit.is_active);
    let units: Vec<String> = units.map(|unit| unit.name.clone()).collect();
    let mut harms = Vec::new();
    harms.extend((!go.is_empty()).then_some(Harm::CopiesGo(go)));
    harms.extend((!stay.is_empty()).then_some(Harm::CopiesStay(stay)));
    let siblings: Vec<PathBuf> = facts.siblings.iter().map(|sibling| sibling.mountpoint.clone()).collect();
    harms.extend((!siblings.is_empty()).then_some(Harm::SiblingsStay(siblings)));
    harms.extend((!children.is_empty()).then_some(Harm::ChildrenGo(children)));
    harms.extend((!units.is_empty()).then_some(Harm::UnitsStop(units)));
    harms.extend(matches!(again, MountAgain::Never(_) | MountAgain::ByUnit(_)).then_some(Harm::PathIsEmpty));
    harms
}

/// Without something beneath, the directory underneath is open until the next step.
fn open_path(facts: &RemedyFacts, again: &MountAgain) -> Option<Harm> {
    let is_covered = facts.kernel.moves_beneath && !facts.machine.is_foreign_namespace;
    (!is_covered && *again != MountAgain::ByAutofs).then_some(Harm::PathIsOpen)
}
