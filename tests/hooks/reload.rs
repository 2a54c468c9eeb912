//! Settings that change while hooks run.

use crate::common::{ms, wait_until};
use crate::fixture::{HookFixture, command, hook, script};

#[test]
fn hook_with_the_same_name_keeps_its_queue_and_counters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let waits = script("until [ -e \"$1\" ]; do sleep 0.02; done", &file);
    let hooks =
        HookFixture::start(vec![hook("kept", waits.clone(), ms(30_000)), hook("gone", waits, ms(30_000))]);
    for _ in 0..3 {
        hooks.offer_failure("/mnt/x");
    }
    wait_until(ms(5000), "the first events run", || {
        hooks.stats("kept").waiting == 2 && hooks.stats("gone").waiting == 2
    });
    let quick = hook("kept", command(&["/bin/true"]), ms(5000));
    let new = hook("new", command(&["/bin/true"]), ms(5000));
    hooks.handle.reconfigure(&[new, quick]).unwrap();
    hooks.wait_for_line("2 events were dropped with the hooks that were removed", ms(1000));
    assert_eq!(hooks.stats("kept").waiting, 2, "the first event of this mount is still running");
    std::fs::write(&file, "").unwrap();
    hooks.offer_failure("/mnt/x");
    hooks.wait_until_idle(ms(5000));
    assert_eq!(hooks.outcomes("kept"), [4, 0, 0, 0]);
    assert_eq!(hooks.outcomes("new"), [1, 0, 0, 0]);
    let names: Vec<String> = hooks.handle.counters().into_iter().map(|hook| hook.name).collect();
    assert_eq!(names, ["new", "kept"]);
}

#[test]
fn hooks_can_be_added_and_removed() {
    let hooks = HookFixture::start(vec![]);
    hooks.offer_failure("/mnt/x");
    let page = [hook("page", command(&["/bin/true"]), ms(5000))];
    for n in 1..50 {
        hooks.handle.reconfigure(&page).unwrap();
        hooks.offer_failure("/mnt/x");
        hooks.wait_until_idle(ms(5000));
        assert_eq!(hooks.runs("page", "ok"), 1, "round {n}");
        hooks.handle.reconfigure(&[]).unwrap();
        assert!(hooks.handle.counters().is_empty());
    }
    hooks.handle.stop(ms(500));
}
