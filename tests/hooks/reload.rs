//! Other settings while hooks run.

use crate::common::{ms, wait_until};
use crate::told::{Told, command, hook, script};
use mount_status_monitor::output::hooks::HookOutcome;
use mount_status_monitor::output::hooks::HookSettings;

#[test]
fn a_hook_that_keeps_its_name_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let waits = script("until [ -e \"$1\" ]; do sleep 0.02; done", &file);
    let told = Told::start(vec![hook("kept", waits.clone(), ms(30_000)), hook("gone", waits, ms(30_000))]);
    for _ in 0..3 {
        told.failed("/mnt/x");
    }
    wait_until(ms(5000), "they run", || told.count("kept").waiting == 2 && told.count("gone").waiting == 2);
    let quick = hook("kept", command(&["/bin/true"]), ms(5000));
    let new = hook("new", command(&["/bin/true"]), ms(5000));
    told.hooks.adopt(HookSettings::new(vec![new, quick]).unwrap()).unwrap();
    told.line("2 events were dropped with the hooks that are gone", ms(1000));
    assert_eq!(told.count("kept").waiting, 2, "the first of this mount still runs");
    std::fs::write(&file, "").unwrap();
    told.failed("/mnt/x");
    told.done(ms(5000));
    assert_eq!(told.count("kept").runs, [4, 0, 0, 0]);
    assert_eq!(told.count("new").runs, [1, 0, 0, 0]);
    let names: Vec<String> = told.hooks.counters().into_iter().map(|hook| hook.name).collect();
    assert_eq!(names, ["new", "kept"]);
}

#[test]
fn hooks_may_come_and_go() {
    let told = Told::start(vec![]);
    told.failed("/mnt/x");
    let page = || HookSettings::new(vec![hook("page", command(&["/bin/true"]), ms(5000))]).unwrap();
    for n in 1..50 {
        told.hooks.adopt(page()).unwrap();
        told.failed("/mnt/x");
        told.done(ms(5000));
        assert_eq!(told.count("page").runs(HookOutcome::Ok), 1, "round {n}");
        told.hooks.adopt(HookSettings::default()).unwrap();
        assert!(told.hooks.counters().is_empty());
    }
    told.hooks.stop(ms(500));
}
