//! Plans for random facts, rules and earlier steps against what must hold for each of them, written without the guards.

use super::testing::{KEY, of_mount, settings};
use super::*;
use crate::monitor::{Reason, testing::mount};
use platform::{Errno, Mount, MountKey};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SITUATIONS: [Situation; 9] = [
    Situation::NotDead,
    Situation::Stale,
    Situation::FuseServerGone,
    Situation::FuseHung,
    Situation::FuseStopped,
    Situation::ServerAnswers,
    Situation::ServerSilent,
    Situation::CephEvicted,
    Situation::Other,
];

/// A case: what is known, what the rule says, what was made before.
type Case = (RemedyFacts, RemedySettings, Vec<StepKind>);

/// Mostly the harmless value, so that some plans are not refused.
fn mostly<T: Clone + std::fmt::Debug + 'static>(harmless: T, others: Vec<T>) -> impl Strategy<Value = T> {
    prop_oneof![12 => Just(harmless), 1 => select(others)]
}

fn mounts() -> impl Strategy<Value = Mount> {
    let place = mostly("/srv/nas", vec!["/", "/usr", "/etc/x", "/var", "/home"]);
    let fstype = select(vec!["nfs4", "nfs4", "cifs", "ceph", "fuse.sshfs", "fuse.sshfs", "ext4"]);
    let owner = mostly(None, vec![Some((1000, 1000)), Some((0, 0))]);
    (place, fstype, owner).prop_map(|(place, fstype, owner)| {
        let device = if fstype == "cifs" { "//nas/x" } else { "nas:/x" };
        let connection_owner = owner.filter(|_| fstype == "fuse.sshfs");
        Mount { fstype: fstype.into(), device: device.into(), connection_owner, ..mount(KEY, place) }
    })
}

fn deaths() -> impl Strategy<Value = (Option<Reason>, Confirmation, Duration, MountKey)> {
    let seconds = mostly(300, vec![299, 0]).prop_map(Duration::from_secs);
    let same = |reason, prober_ended| Confirmation::Dead { reason, prober_ended };
    let confirmations = move |reason| {
        let others =
            vec![same(reason, false), same(Reason::Error, true), Confirmation::Responds, Confirmation::None];
        mostly(same(reason, true), others)
    };
    let reason =
        select(vec![Reason::Hung, Reason::Stale, Reason::Disconnected, Reason::IoError, Reason::Error]);
    let dead = reason.prop_flat_map(move |reason| (Just(Some(reason)), confirmations(reason)));
    (dead, seconds, mostly(MountKey(KEY), vec![MountKey(9)]))
        .prop_map(|((reason, confirmation), lasted, key)| (reason, confirmation, lasted, key))
}

fn copies() -> impl Strategy<Value = Known<Vec<MountCopy>>> {
    let copy = |n: usize| MountCopy {
        namespace: n as u64,
        process: String::new(),
        mountpoint: "/a".into(),
        is_propagated: n & 1 != 0,
        has_mounts_below: n & 2 != 0,
        in_container: n & 4 != 0,
    };
    let lists = (0..8).map(move |n| Ok(vec![copy(n)])).chain([Err("no".to_owned())]).collect();
    mostly(Ok(Vec::new()), lists)
}

fn origins() -> impl Strategy<Value = Origin> {
    mostly(
        Origin::Fstab { line: 1 },
        vec![
            Origin::MountUnit { name: "srv-nas.mount".into() },
            Origin::Service { name: "a.service".into() },
            Origin::Autofs { trigger: "/srv".into() },
            Origin::Unknown,
        ],
    )
}

fn neighbours() -> impl Strategy<Value = (Vec<Below>, Vec<Sibling>, bool)> {
    let below = |kind| vec![Below { mountpoint: "/srv/nas/a".into(), kind }];
    let sibling = |health| vec![Sibling { mountpoint: "/b".into(), health }];
    let kinds = [BelowKind::SameServer, BelowKind::AutofsTrigger, BelowKind::Other].map(below).to_vec();
    let healths =
        [SiblingHealth::Dead, SiblingHealth::Responds, SiblingHealth::Unknown].map(sibling).to_vec();
    (mostly(Vec::new(), kinds), mostly(Vec::new(), healths), mostly(false, vec![true]))
}

fn machines() -> impl Strategy<Value = (Machine, Kernel)> {
    let often = || mostly(true, vec![false]);
    let seldom = || mostly(false, vec![true]);
    let resumed = mostly(None, vec![Some(1), Some(300)]);
    (mostly(300, vec![299]), resumed, seldom(), often(), seldom(), (often(), any::<bool>(), any::<bool>()))
        .prop_map(
            |(uptime, resumed, is_shutting_down, has_systemd, is_foreign_namespace, (ids, beneath, one))| {
                let (uptime, resumed) = (Duration::from_secs(uptime), resumed.map(Duration::from_secs));
                let machine =
                    Machine { uptime, resumed, is_shutting_down, has_systemd, is_foreign_namespace };
                (
                    machine,
                    Kernel { has_unique_ids: ids, moves_beneath: beneath, shuts_down_one_superblock: one },
                )
            },
        )
}

fn servers() -> impl Strategy<Value = (Known<bool>, bool, Known<FuseServer>)> {
    let fuse =
        vec![Ok(FuseServer::Running { pid: 7 }), Ok(FuseServer::Stopped { pid: 7 }), Err("no".to_owned())];
    (
        mostly(Ok(true), vec![Ok(false), Err("no".to_owned())]),
        any::<bool>(),
        mostly(Ok(FuseServer::Gone), fuse),
    )
}

fn rules() -> impl Strategy<Value = (RemedySettings, Vec<StepKind>)> {
    let steps = prop_oneof![Just(STEP_WORDS.to_vec()), subsequence(STEP_WORDS.to_vec(), 1..STEP_WORDS.len())];
    let consents = ["silent_server", "not_mounted_again", "copies", "units", "evicted"]
        .map(|it| it.parse().expect("it is one"));
    let allow = subsequence(consents.to_vec(), 0..=consents.len());
    let remount = mostly(Remount::Auto, vec![Remount::No, Remount::Unit("b.service".into())]);
    let made = mostly(Vec::new(), STEP_WORDS.iter().map(|&step| vec![step]).collect());
    (steps, allow, remount, made).prop_map(|(steps, allow, remount, made)| {
        (RemedySettings { steps, allow, remount, ..settings() }, made)
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let stacked = mostly(Ok(Vec::new()), vec![Ok(vec!["loop0".to_owned()]), Err("no".to_owned())]);
    let unit = |is_active| Ok(vec![Unit { name: "db.service".into(), is_active }]);
    let units = mostly(Ok(Vec::new()), vec![unit(true), unit(false), Err("no".to_owned())]);
    let surroundings = (neighbours(), copies(), stacked, (origins(), units));
    (mounts(), deaths(), surroundings, machines(), servers(), rules()).prop_map(
        |(
            mount,
            death,
            (neighbours, copies, stacked, (origin, bound_units)),
            (machine, kernel),
            server,
            (settings, made),
        )| {
            let (reason, confirmation, lasted, key) = death;
            let (below, siblings, is_ancestor_dead) = neighbours;
            let death = reason.map(|reason| Death {
                key,
                reason,
                errno: (reason == Reason::Error).then_some(Errno::ESHUTDOWN),
                call: None,
                lasted,
                stale_for: if reason == Reason::Stale { lasted } else { Duration::ZERO },
            });
            let mut facts = of_mount(mount, Situation::NotDead);
            facts.server.answers = server.0;
            facts.server.others = if server.1 { vec!["/c".into()] } else { Vec::new() };
            facts.ancestors.push(Ancestor { mountpoint: "/srv".into(), is_dead: is_ancestor_dead });
            let facts = RemedyFacts {
                death,
                confirmation,
                below,
                siblings,
                copies,
                stacked,
                origin,
                bound_units,
                machine,
                kernel,
                fuse_server: server.2,
                ..facts
            };
            (facts, settings, made)
        },
    )
}

/// What must never be done to this mount by any step that changes it.
fn untouchable(facts: &RemedyFacts) -> Option<&'static str> {
    let death = facts.death.as_ref()?;
    let below = |it: &Below| it.kind != BelowKind::SameServer;
    let same = |it: &Sibling| it.health == SiblingHealth::Responds;
    let is_fuse = *facts.mount.fstype == *"fuse.sshfs";
    let is_same = |reason| match is_fuse {
        true => reason == death.reason,
        false => (reason == Reason::Stale) == (death.reason == Reason::Stale),
    };
    let is_confirmed = matches!(facts.confirmation, Confirmation::Dead { reason, .. } if is_same(reason));
    [
        (
            !facts.mount.mountpoint.starts_with("/srv") && *facts.mount.mountpoint != *Path::new("/home"),
            "system",
        ),
        (*facts.mount.fstype == *"ext4", "a local file system"),
        (death.key != facts.mount.key, "another mount"),
        (!facts.kernel.has_unique_ids, "no unique ids"),
        (death.lasted < Duration::from_secs(300), "too soon"),
        (!is_confirmed, "not confirmed"),
        (facts.below.iter().any(below), "mounts below"),
        (facts.siblings.iter().any(same), "a healthy sibling"),
        (facts.ancestors.iter().any(|it| it.is_dead), "a dead ancestor"),
        (facts.machine.is_shutting_down || facts.machine.uptime < Duration::from_secs(300), "the machine"),
        (facts.machine.resumed == Some(Duration::from_secs(1)), "just resumed"),
    ]
    .into_iter()
    .find_map(|(is_so, why)| is_so.then_some(why))
}

/// Why this step must not be made.
fn forbidden(kind: StepKind, (facts, settings, made): &Case) -> Option<&'static str> {
    let allows = |name: &str| settings.allow.iter().any(|consent| consent.as_str() == name);
    let needs = kind.permission()?;
    let is_foreign = facts.mount.user().is_foreign();
    let plain = matches!(kind, StepKind::Unmount | StepKind::Resume);
    let ends_superblock = matches!(kind, StepKind::Abort | StepKind::Force | StepKind::ShutDown);
    let copies = facts.copies.clone().unwrap_or_default();
    let are_units_idle = facts.bound_units.as_ref().is_ok_and(|units| units.iter().all(|it| !it.is_active));
    let hits = |it: &MountCopy| {
        (kind.removes_mount() && it.is_propagated && (it.has_mounts_below || it.in_container))
            || (ends_superblock && it.in_container)
    };
    let is_fuse = *facts.mount.fstype == *"fuse.sshfs";
    let (is_nfs, is_smb) = (*facts.mount.fstype == *"nfs4", *facts.mount.fstype == *"cifs");
    let is_stale = facts.death.as_ref().is_some_and(|death| death.reason == Reason::Stale);
    let is_silent = facts.server.answers != Ok(true);
    let is_evicted = *facts.mount.fstype == *"ceph"
        && facts.death.as_ref().is_some_and(|death| death.errno == Some(Errno::ESHUTDOWN));
    [
        (!settings.steps.contains(&needs), "not in the rule"),
        (made.contains(&needs) && kind != StepKind::Unmount, "made before"),
        (is_foreign && kind != StepKind::Abort, "of another user"),
        (facts.stacked != Ok(Vec::new()) && !plain, "stacked"),
        (
            facts.machine.is_foreign_namespace && !matches!(kind, StepKind::Unmount | StepKind::Abort),
            "namespace",
        ),
        ((kind.removes_mount() || ends_superblock) && copies.iter().any(hits) && !allows("copies"), "copies"),
        (facts.copies.is_err() && kind != StepKind::Resume && !allows("copies"), "unknown copies"),
        (kind.removes_mount() && !are_units_idle && !allows("units"), "units"),
        (ends_superblock && facts.siblings.iter().any(|it| it.health == SiblingHealth::Unknown), "a sibling"),
        (kind == StepKind::ShutDown && !is_nfs, "not NFS"),
        (kind == StepKind::Force && (is_smb || is_fuse), "force"),
        (kind == StepKind::Abort && !is_fuse, "not FUSE"),
        (!is_fuse && !is_stale && !is_evicted && is_silent && !allows("silent_server"), "a silent server"),
        (is_evicted && !allows("evicted"), "evicted"),
        (
            kind == StepKind::Unmount
                && !matches!(facts.confirmation, Confirmation::Dead { prober_ended: true, .. }),
            "a prober",
        ),
        (
            kind == StepKind::ShutDown
                && !facts.kernel.shuts_down_one_superblock
                && !facts.server.others.is_empty(),
            "a shared client",
        ),
    ]
    .into_iter()
    .find_map(|(is_so, why)| is_so.then_some(why))
}

/// That something is ready to take the place of the mount before it goes.
fn check_order(
    steps: &[StepKind],
    facts: &RemedyFacts,
    settings: &RemedySettings,
) -> Result<(), TestCaseError> {
    use StepKind::{
        Abort, MountAgain, MountPrivately, MoveBeneath, MoveIn, Placeholder, Replace, Resume, Verify,
    };
    let at = |kind| steps.iter().position(|&step| step == kind);
    let mut once = steps.to_vec();
    once.sort();
    once.dedup();
    prop_assert_eq!(once.len(), steps.len(), "a step occurs twice");
    let removal = steps.iter().position(|step| step.removes_mount());
    let Some(removal) = removal else {
        prop_assert!(matches!(steps, [] | [Abort] | [Resume, Verify]), "{:?}", steps);
        return Ok(());
    };
    let consents = settings.allow.iter().any(|it| it.as_str() == "not_mounted_again");
    let ready = at(MountPrivately).or(at(Placeholder));
    let is_autofs = matches!(facts.origin, Origin::Autofs { .. });
    if facts.machine.is_foreign_namespace {
        prop_assert!(consents && ready.is_none());
        return Ok(());
    }
    prop_assert!(ready.is_some_and(|ready| ready < removal) || is_autofs, "nothing takes its place");
    if ready.is_some() {
        let placed = at(MoveBeneath).or(at(MoveIn)).or(at(Replace));
        prop_assert!(placed.is_some());
        prop_assert_eq!(at(MoveBeneath).is_some(), facts.kernel.moves_beneath);
        prop_assert!(at(MoveBeneath).is_none_or(|beneath| beneath < removal));
    }
    let is_mounted_again = at(MountPrivately).or(at(MountAgain)).is_some() || is_autofs;
    prop_assert!(is_mounted_again || consents, "it stays unmounted");
    prop_assert_eq!(steps.last() == Some(&Verify), at(Verify).is_some());
    Ok(())
}

fn check(case: &Case) -> Result<usize, TestCaseError> {
    let (facts, settings, made) = case;
    let standing = Standing { guards: Vec::new(), made: made.clone() };
    let plan = plan(Arc::new(facts.clone()), settings, &standing);
    let steps: Vec<StepKind> = plan.allowed_steps().iter().map(|step| step.kind).collect();
    if !steps.is_empty() {
        prop_assert_eq!(untouchable(facts), None, "{:?}", steps);
    }
    for &kind in &steps {
        prop_assert_eq!(forbidden(kind, case), None, "{:?} of {:?}", kind, steps);
    }
    check_order(&steps, facts, settings)?;
    // A plan says why it is empty.
    prop_assert!(!steps.is_empty() || !plan.refusals().is_empty() || facts.death.is_none());
    Ok(steps.len())
}

#[test]
fn no_plan_touches_what_is_guarded() {
    let mut longest = 0;
    let mut made = 0;
    let mut runner = TestRunner::new(Config { failure_persistence: None, cases: 4000, ..Config::default() });
    let count = std::cell::RefCell::new((&mut longest, &mut made));
    let result = runner.run(&cases(), |case| {
        let steps = check(&case)?;
        let (longest, made) = &mut *count.borrow_mut();
        **longest = steps.max(**longest);
        **made += usize::from(steps > 0);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(made > 200 && longest >= 7, "only {made} plans have steps, the longest {longest}");
}

#[test]
fn every_situation_occurs() {
    let mut runner = TestRunner::deterministic();
    let mut seen: Vec<Situation> = vec![Situation::NotDead];
    for _ in 0..2000 {
        let case = cases().new_tree(&mut runner).expect("a case").current();
        seen.push(Situation::of(&case.0));
    }
    assert!(SITUATIONS.iter().all(|situation| seen.contains(situation)));
}
