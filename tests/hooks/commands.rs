//! Commands that do what they should, and all that they should not.

use crate::common::{Process, ms, run_isolated, slack, wait_until};
use crate::told::{Told, command, failed, hook, script};
use mount_status_monitor::output::hooks::HookOutcome;
use mount_status_monitor::output::hooks::MAX_RUNNING;
use mount_status_monitor::output::hooks::MAX_WAITING;
use mount_status_monitor::render::Priority;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_command_gets_the_event_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("got");
    let action = script("{ cat; env | sort; pwd; } > \"$1\"", &file);
    let told = Told::start(vec![hook("page", action, LONG)]);
    told.failed("/mnt/x");
    told.done(ms(5000));
    let got = fs::read_to_string(&file).unwrap();
    let (object, rest) = got.split_once('\n').unwrap();
    let object: serde_json::Value = serde_json::from_str(object).unwrap();
    for (field, value) in [
        ("event", "failed"),
        ("mountpoint", "/mnt/x"),
        ("reason", "hung"),
        ("severity", "critical"),
        ("message", "Mount failed health-check: /mnt/x (hung: no response in 3s; nfs4 from host:/dir)"),
    ] {
        assert_eq!(object[field], value);
    }
    let expected =
        ["MSM_BEHIND=", "MSM_DEVICE=host:/dir", "MSM_ERRNO=", "MSM_EVENT=failed", "MSM_FSTYPE=nfs4"];
    let names: Vec<&str> = rest.lines().filter_map(|line| line.split('=').next()).collect();
    for line in expected {
        assert!(rest.lines().any(|there| there == line), "{line} in {rest}");
    }
    let inherited = names.iter().filter(|name| !name.starts_with("MSM_")).copied().collect::<Vec<_>>();
    assert_eq!(inherited, ["LANG", "PATH", "PWD", "/"], "PWD is the shell's own");
    assert_eq!(told.count("page").runs(HookOutcome::Ok), 1);
    told.line("Hook page is done for /mnt/x", ms(1000));
    assert!(told.lines().iter().all(|(priority, _)| *priority == Priority::Debug));
}

#[test]
fn a_failure_is_told_with_its_last_words() {
    let told = Told::start(vec![
        hook("page", command(&["/bin/sh", "-c", "echo one; echo why >&2; exit 3"]), LONG),
        hook("gone", command(&["/no/such/program"]), LONG),
        hook("killed", command(&["/bin/sh", "-c", "kill -9 $$"]), LONG),
    ]);
    told.failed("/mnt/x");
    for (name, why) in [
        ("page", "exit status 3: why"),
        ("gone", "the program could not be executed"),
        ("killed", "killed by SIGKILL"),
    ] {
        let (priority, text) = told.line(&format!("Hook {name} failed for "), ms(5000));
        assert_eq!(
            (priority, text),
            (Priority::Warning, format!("Hook {name} failed for /mnt/x (failed): {why}"))
        );
        assert_eq!(told.count(name).runs(HookOutcome::Failed), 1);
    }
}

#[test]
fn only_what_is_wanted_and_chosen_is_run() {
    let silent = command(&["/bin/true"]);
    let mut run = hook("run", silent.clone(), LONG);
    run.events = vec!["run"];
    let told = Told::start(vec![hook("a", silent.clone(), LONG), hook("b", silent, LONG), run]);
    let event = failed(Path::new("/mnt/x"));
    told.hooks.offer(&event, Some(&["b".to_owned(), "run".to_owned()]), "info");
    told.hooks.offer(&event, Some(&[]), "info");
    told.done(ms(5000));
    let runs = ["a", "b", "run"].map(|name| told.count(name).runs(HookOutcome::Ok));
    assert_eq!(runs, [0, 1, 0]);
}

#[test]
fn events_of_one_mount_run_one_after_the_other_and_those_of_others_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    // The first of /a waits for /b, which comes behind it and a second of /a.
    let text = "echo begin $MSM_MOUNTPOINT >> \"$1\"
        if [ $MSM_MOUNTPOINT = /a ]; then until grep -q 'end /b' \"$1\"; do sleep 0.02; done; fi
        echo end $MSM_MOUNTPOINT >> \"$1\"";
    let told = Told::start(vec![hook("page", script(text, &file), LONG)]);
    for path in ["/a", "/a", "/b"] {
        told.failed(path);
    }
    told.done(ms(10_000));
    let log = fs::read_to_string(&file).unwrap();
    let of_a: Vec<&str> = log.lines().filter(|line| line.ends_with("/a")).collect();
    assert_eq!(of_a, ["begin /a", "end /a", "begin /a", "end /a"]);
    assert_eq!(told.count("page").runs(HookOutcome::Ok), 3);
}

#[test]
fn a_command_that_does_not_end_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let text =
        "trap '' TERM; sleep 1000 & echo $! $$ > \"$1.tmp\"; mv \"$1.tmp\" \"$1\"; echo stuck; wait; wait";
    let told = Told::start(vec![hook("page", script(text, &file), ms(700))]);
    told.failed("/mnt/x");
    let (_, text) = told.line("Hook page failed for /mnt/x", ms(4000));
    assert_eq!(text, "Hook page failed for /mnt/x (timeout): no end in 0.7s: stuck");
    let pids = fs::read_to_string(&file).unwrap();
    for pid in pids.split_whitespace() {
        let process = Process(pid.parse().unwrap());
        wait_until(ms(2000), "it is gone", || !process.is_alive());
    }
    let count = told.count("page");
    assert_eq!((count.runs(HookOutcome::Timeout), count.left), (1, 0));
}

#[test]
fn a_hook_that_hangs_costs_others_nothing_and_has_a_limit() {
    let hung = hook("hung", command(&["/bin/sleep", "1000"]), LONG);
    let told = Told::start(vec![hung, hook("page", command(&["/bin/true"]), LONG)]);
    let only_hung = ["hung".to_owned()];
    let begun = Instant::now();
    let many = 3 * MAX_WAITING;
    for n in 0..many {
        told.hooks.offer(&failed(Path::new(&format!("/mnt/{n}"))), Some(&only_hung), "critical");
    }
    assert!(begun.elapsed() < ms(1000) + slack(), "offering took {:?}", begun.elapsed());
    told.failed("/mnt/x");
    told.line("Hook page is done for /mnt/x", ms(1000));
    told.line("Hook hung: an event was dropped, too many wait", ms(1000));
    let count = told.count("hung");
    assert_eq!(count.waiting, MAX_WAITING);
    let dropped = count.runs(HookOutcome::Dropped);
    let most = (many - MAX_WAITING + 1) as u64;
    assert!(dropped >= most - MAX_RUNNING as u64 && dropped <= most, "{dropped}");
    let told_drops = told.lines().iter().filter(|(_, text)| text.contains("was dropped")).count();
    assert!(told_drops <= 10, "{told_drops} lines");
    let children = Process(std::process::id()).children();
    assert!(!children.is_empty());

    let begun = Instant::now();
    told.hooks.stop(ms(400));
    assert!(begun.elapsed() < ms(500) + slack());
    assert_eq!(told.count("hung").waiting, 0);
}

#[test]
fn the_end_of_the_daemon_ends_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let text = "trap '' TERM; echo $$ > \"$1.tmp\"; mv \"$1.tmp\" \"$1\"; while :; do sleep 0.1; done";
    let told = Told::start(vec![hook("page", script(text, &file), LONG)]);
    told.failed("/mnt/x");
    told.failed("/mnt/x");
    wait_until(ms(5000), "it runs", || file.exists());
    let pid = Process(fs::read_to_string(&file).unwrap().trim().parse().unwrap());
    let begun = Instant::now();
    told.hooks.stop(ms(800));
    assert!(begun.elapsed() < ms(800) + slack(), "{:?}", begun.elapsed());
    wait_until(ms(1000), "it is gone", || !pid.is_alive());
    assert_eq!(told.count("page").runs(HookOutcome::Dropped), 2, "one ran, one waited");
    // Nobody is told after the end.
    told.failed("/mnt/y");
    assert_eq!(told.count("page").waiting, 0);
}

#[test]
fn a_command_that_says_too_much_costs_others_nothing() {
    let before = Process(std::process::id()).rss_kib();
    let told = Told::start(vec![
        hook("loud", command(&["/usr/bin/yes", "and on it goes"]), ms(1500)),
        hook("page", command(&["/bin/true"]), LONG),
    ]);
    told.failed("/mnt/x");
    told.line("Hook page is done for /mnt/x", ms(1000));
    told.failed("/mnt/y");
    told.line("Hook page is done for /mnt/y", ms(1000));
    let (_, text) = told.line("Hook loud failed for /mnt/x (timeout)", ms(4000));
    // It was interrupted in the middle of a line.
    assert!("and on it goes".starts_with(text.rsplit(": ").next().unwrap()), "{text}");
    let after = Process(std::process::id()).rss_kib();
    assert!(after < before + 32_000, "{before} KiB, then {after} KiB");
}

#[test]
fn failures_without_end_are_told_in_few_lines() {
    let told = Told::start(vec![hook("page", command(&["/bin/false"]), LONG)]);
    for n in 0..100 {
        told.failed(&format!("/mnt/{n}"));
    }
    told.done(ms(10_000));
    assert_eq!(told.count("page").runs(HookOutcome::Failed), 100);
    assert_eq!(told.lines().len(), 10, "{:?}", told.lines());
}

#[test]
fn no_descriptor_no_thread_and_no_process_is_left() {
    run_isolated(test_name!(), |_| {
        let ourselves = Process(std::process::id());
        let told = Told::start(vec![hook("page", command(&["/bin/cat"]), LONG)]);
        let run = |n: usize| {
            (0..n).for_each(|n| told.failed(&format!("/mnt/{n}")));
            told.done(ms(20_000));
        };
        run(10);
        let before = (ourselves.descriptor_count(), ourselves.thread_count());
        run(300);
        assert_eq!(told.count("page").runs(HookOutcome::Ok), 310);
        // The pipes of the last runs are closed a moment later.
        wait_until(ms(2000), "it is as before", || {
            (ourselves.descriptor_count(), ourselves.thread_count()) == before
        });
        assert!(ourselves.children().is_empty());
        told.hooks.stop(ms(500));
    });
}
