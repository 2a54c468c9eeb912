use super::*;
use crate::monitor::remedy::testing::{facts, of_mount, plan_for, settings};
use crate::monitor::remedy::{
    Below, BelowKind, Confirmation, Guard, MountCopy, NoRemount, RemedyFacts, RemedySettings, STEP_WORDS,
    Sibling, SiblingHealth, Standing, plan,
};
use crate::monitor::{Reason, testing::mount};
use platform::{Mount, MountKey};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn plan_names_calls_harms_and_verification() {
    let copy = MountCopy {
        namespace: 7,
        process: "sh[5]".into(),
        mountpoint: "/a".into(),
        is_propagated: true,
        has_mounts_below: false,
        in_container: false,
    };
    let facts = RemedyFacts {
        below: vec![Below { mountpoint: "/srv/nas/sub".into(), kind: BelowKind::SameServer }],
        copies: Ok(vec![copy]),
        unwritten: Err("it is not counted".into()),
        peer_group: Some(12),
        ..facts(Situation::Stale)
    };
    let expected = "\
/srv/nas (nfs4 from nas:/x; mount id 4294967296, superblock 0:4294967295, peer group 12) is dead for
  5m: stale (ESTALE)

Steps
  1. mount_privately: make a new mount at a private place, and probe it there; if it fails, stop
     here
     call: mount(8) at a private place, with nosharecache
  2. move_beneath: move it beneath the dead mount, so that the mount point is never open
     call: move_mount(the private place, /srv/nas, MOVE_MOUNT_BENEATH)
  3. detach: detach it, even while programs use it
     call: umount2(/proc/self/fd/N, MNT_DETACH)
     breaks: processes with open files or a working directory there keep the dead file system until
       they end
     breaks: it also disappears in other mount namespaces: /a in mnt:[7] of sh[5]
     breaks: the mounts of the same server below it go with it: /srv/nas/sub
  4. verify: verify the mount
     call: statx and statfs, twice, in a prober

Mounted again
  as it was made, at a private place first, with nosharecache: without it, mount would find the dead
  file system again

Verified
  the mount has the same source and type, a new mount id, and a new superblock, or the old one is
  proved gone; it responds twice; who still holds the old one is listed

In use by
  2 processes with open files or their working directory there; how much is unwritten is not known

Not known
  * how much is unwritten: it is not counted
";
    assert_eq!(text(&plan_for(facts, &settings())), expected);
}

#[test]
fn a_mount_whose_server_is_resumed_stays_the_same() {
    let steps = RemedySettings { steps: vec![StepKind::Resume], ..settings() };
    let resumed = text(&plan_for(facts(Situation::FuseStopped), &steps));
    assert!(resumed.contains("\nVerified\n  the mount responds twice\n"), "{resumed}");
    assert!(resumed.contains("\nMounted again\n  not necessary: the mount stays\n"), "{resumed}");
    assert!(resumed.contains("hung, and its FUSE server is stopped\n"), "{resumed}");
    let others = text(&plan_for(facts(Situation::FuseStopped), &settings()));
    assert!(
        others.contains("a new mount id") && others.contains("no resume: not among the steps"),
        "{others}"
    );
}

#[test]
fn refused_plan_says_so_before_its_steps() {
    let mut facts = facts(Situation::FuseHung);
    facts.death.as_mut().unwrap().lasted = Duration::from_secs(10);
    facts.siblings.push(Sibling { mountpoint: "/b\n".into(), health: SiblingHealth::Unknown });
    let plan = plan_for(facts, &settings());
    let text = text(&plan);
    let (refusals, steps) = text.split_once("\nSteps, if nothing forbade them\n").unwrap();
    assert!(
        refusals.contains("\nNothing is done yet\n  * it has been dead for 10s of the 5m of the rule\n"),
        "{text}"
    );
    let sibling =
        "  * no abort: the same file system is mounted at /b\\012, where nobody knows whether it responds\n";
    assert!(refusals.contains(sibling), "{text}");
    assert!(!steps.contains("abort"), "{text}");
    assert!(
        steps.contains("Once the mount is gone, the other steps that would remove it are left out."),
        "{text}"
    );
}

#[test]
fn mount_that_responds_needs_nothing() {
    let plan = plan_for(facts(Situation::NotDead), &settings());
    assert!(text(&plan).ends_with(" is not dead\n\nNothing to do.\n"));
    assert!(!plan.is_refused());
}

#[test]
fn json_has_what_the_text_has() {
    let named = Mount { device: "na\ns:/x".into(), fstype: "nfs4".into(), ..mount(1 << 32, "/srv/nas") };
    let mut facts = of_mount(named, Situation::ServerAnswers);
    facts.confirmation = Confirmation::Dead { reason: Reason::Hung, prober_ended: false };
    let all = RemedySettings { steps: STEP_WORDS.to_vec(), ..settings() };
    let standing = Standing { guards: vec![Guard::ServerBusy], made: vec![StepKind::Force] };
    let json = json(&plan(Arc::new(facts), &all, &standing));
    let parsed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(parsed["device"], "na\\012s:/x");
    assert_eq!((&parsed["situation"], &parsed["refused"]), (&"server_answers".into(), &true.into()));
    let steps: Vec<_> = parsed["steps"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
    assert_eq!(steps, ["mount_privately", "move_beneath", "detach", "shutdown", "verify"]);
    let refusals: Vec<_> =
        parsed["refusals"].as_array().unwrap().iter().map(|it| (&it["guard"], &it["steps"])).collect();
    let only = |kind: &str| serde_json::json!([kind]);
    let expected = [
        ("server_busy", serde_json::Value::Null),
        ("prober_alive", only("unmount")),
        ("made_before", only("force")),
    ];
    assert_eq!(refusals.len(), expected.len(), "{json}");
    for ((guard, steps), (name, forbidden)) in refusals.into_iter().zip(expected) {
        assert_eq!((guard, steps), (&serde_json::json!(name), &forbidden));
    }
    assert_eq!(parsed["mount_again"]["how"], "privately");
    assert_eq!(parsed["unwritten_bytes"], 4096);
}

#[test]
fn every_guard_has_words() {
    let (path, paths) = (PathBuf::from("/p"), vec![PathBuf::from("/p")]);
    let (why, names, span) = ("w".to_owned(), vec!["n".to_owned()], Duration::from_secs(5));
    let guards = [
        Guard::NoRemedy,
        Guard::FuseServerUnknown(why.clone()),
        Guard::ServerSilent,
        Guard::CephRecovers { has_option: true },
        Guard::CephRecovers { has_option: false },
        Guard::SystemPath { path: "/usr" },
        Guard::KeptPath { what: "the program", path: path.clone() },
        Guard::MountsBelow(paths.clone()),
        Guard::AutofsBelow(paths.clone()),
        Guard::NoUniqueIds,
        Guard::Replaced { died: MountKey(7) },
        Guard::TooSoon { dead_for: span, after: span },
        Guard::MayBeFailover { stale_for: span, after: span },
        Guard::NotConfirmed,
        Guard::OtherFault(Reason::Hung),
        Guard::Recovered,
        Guard::ProberAlive,
        Guard::ServerBusy,
        Guard::MachineBusy { running: 3 },
        Guard::Stranded,
        Guard::AttemptsSpent { attempts: 3, window: span },
        Guard::MachineSpent { attempts: 200 },
        Guard::GaveUp,
        Guard::WrongHit,
        Guard::HealthySibling(paths.clone()),
        Guard::UnknownSibling(paths.clone()),
        Guard::OtherUser { user: 1000 },
        Guard::ShuttingDown,
        Guard::JustStarted { uptime: span },
        Guard::JustResumed { resumed: span },
        Guard::Stacked(names.clone()),
        Guard::StackedUnknown(why.clone()),
        Guard::CopyInUse(Vec::new()),
        Guard::CopiesUnknown(why.clone()),
        Guard::UnitsActive(names),
        Guard::UnitsUnknown(why),
        Guard::DeadAncestor(path),
        Guard::CannotMountAgain(NoRemount::NoSystemd),
        Guard::ForeignNamespace,
        Guard::MadeBefore,
        Guard::ShutDownIsShared(paths),
        Guard::NotInRule,
    ];
    for guard in guards {
        let words = words::guard(&guard);
        assert!(words.contains(' '), "{guard:?} has no words: {words}");
    }
}
