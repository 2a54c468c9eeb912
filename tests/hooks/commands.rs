//! Commands: their input, how they are stopped, and that a faulty one delays no other hook.

use crate::common::{Process, ms, run_isolated, slack, wait_until};
use crate::fixture::{HookFixture, command, failure_event, hook, script};
use mount_status_monitor::output::hooks::{MAX_RUNNING, MAX_WAITING};
use mount_status_monitor::render::Priority;
use std::fs;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn command_gets_the_event_and_a_clean_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("got");
    let action = script("{ cat; env | sort; pwd; } > \"$1\"", &file);
    let hooks = HookFixture::start(vec![hook("page", action, LONG)]);
    hooks.offer_failure("/mnt/x");
    hooks.wait_until_idle(ms(5000));
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
    assert_eq!(inherited, ["LANG", "PATH", "PWD", "/"], "PWD is set by the shell");
    assert_eq!(hooks.runs("page", "ok"), 1);
    hooks.wait_for_line("Hook page is done for /mnt/x", ms(1000));
    assert!(hooks.lines().iter().all(|(priority, _)| *priority == Priority::Debug));
}

#[test]
fn failure_is_logged_with_the_last_line_of_output() {
    let hooks = HookFixture::start(vec![
        hook("page", command(&["/bin/sh", "-c", "echo one; echo why >&2; exit 3"]), LONG),
        hook("gone", command(&["/no/such/program"]), LONG),
        hook("killed", command(&["/bin/sh", "-c", "kill -9 $$"]), LONG),
    ]);
    hooks.offer_failure("/mnt/x");
    for (name, why) in [
        ("page", "exit status 3: why"),
        ("gone", "the program could not be executed"),
        ("killed", "killed by SIGKILL"),
    ] {
        let (priority, text) = hooks.wait_for_line(&format!("Hook {name} failed for "), ms(5000));
        assert_eq!(
            (priority, text),
            (Priority::Warning, format!("Hook {name} failed for /mnt/x (failed): {why}"))
        );
        assert_eq!(hooks.runs(name, "failed"), 1);
    }
}

#[test]
fn only_selected_hooks_run() {
    let action = command(&["/bin/true"]);
    let mut run = hook("run", action.clone(), LONG);
    run.events = vec!["run"];
    let hooks = HookFixture::start(vec![hook("a", action.clone(), LONG), hook("b", action, LONG), run]);
    let event = failure_event("/mnt/x");
    hooks.handle.offer(&event, Some(&["b".to_owned(), "run".to_owned()]), "info");
    hooks.handle.offer(&event, Some(&[]), "info");
    hooks.wait_until_idle(ms(5000));
    let runs = ["a", "b", "run"].map(|name| hooks.runs(name, "ok"));
    assert_eq!(runs, [0, 1, 0]);
}

#[test]
fn events_of_one_mount_run_in_order_and_other_mounts_do_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    // The first run of /a waits for /b, which is queued behind it and the second event of /a.
    let text = "echo begin $MSM_MOUNTPOINT >> \"$1\"
        if [ $MSM_MOUNTPOINT = /a ]; then until grep -q 'end /b' \"$1\"; do sleep 0.02; done; fi
        echo end $MSM_MOUNTPOINT >> \"$1\"";
    let hooks = HookFixture::start(vec![hook("page", script(text, &file), LONG)]);
    for path in ["/a", "/a", "/b"] {
        hooks.offer_failure(path);
    }
    hooks.wait_until_idle(ms(10_000));
    let log = fs::read_to_string(&file).unwrap();
    let of_a: Vec<&str> = log.lines().filter(|line| line.ends_with("/a")).collect();
    assert_eq!(of_a, ["begin /a", "end /a", "begin /a", "end /a"]);
    assert_eq!(hooks.runs("page", "ok"), 3);
}

#[test]
fn command_is_killed_with_its_children_at_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let text =
        "trap '' TERM; sleep 1000 & echo $! $$ > \"$1.tmp\"; mv \"$1.tmp\" \"$1\"; echo stuck; wait; wait";
    let hooks = HookFixture::start(vec![hook("page", script(text, &file), ms(700))]);
    hooks.offer_failure("/mnt/x");
    let (_, text) = hooks.wait_for_line("Hook page failed for /mnt/x", ms(4000));
    assert_eq!(text, "Hook page failed for /mnt/x (timeout): it did not exit in 0.7s: stuck");
    let pids = fs::read_to_string(&file).unwrap();
    for pid in pids.split_whitespace() {
        let process = Process(pid.parse().unwrap());
        wait_until(ms(2000), "the process has exited", || !process.is_alive());
    }
    let stats = hooks.stats("page");
    assert_eq!((hooks.runs("page", "timeout"), stats.stranded), (1, 0));
}

#[test]
fn hung_hook_delays_no_other_hook_and_its_queue_is_bounded() {
    let hung = hook("hung", command(&["/bin/sleep", "1000"]), LONG);
    let hooks = HookFixture::start(vec![hung, hook("page", command(&["/bin/true"]), LONG)]);
    let only_hung = ["hung".to_owned()];
    let begun = Instant::now();
    let many = 3 * MAX_WAITING;
    for n in 0..many {
        hooks.handle.offer(&failure_event(&format!("/mnt/{n}")), Some(&only_hung), "critical");
    }
    assert!(begun.elapsed() < ms(1000) + slack(), "offering took {:?}", begun.elapsed());
    hooks.offer_failure("/mnt/x");
    hooks.wait_for_line("Hook page is done for /mnt/x", ms(1000));
    hooks.wait_for_line("Hook hung: an event was dropped, too many are waiting", ms(1000));
    // Commands may have started since the queue was full.
    let waiting = hooks.stats("hung").waiting;
    assert!(waiting <= MAX_WAITING && waiting + MAX_RUNNING >= MAX_WAITING, "{waiting}");
    let dropped = hooks.runs("hung", "dropped");
    let most = (many - MAX_WAITING + 1) as u64;
    assert!(dropped >= most - MAX_RUNNING as u64 && dropped <= most, "{dropped}");
    let drop_lines = hooks.lines().iter().filter(|(_, text)| text.contains("was dropped")).count();
    assert!(drop_lines <= 10, "{drop_lines} lines");
    let children = Process(std::process::id()).children();
    assert!(!children.is_empty());

    hooks.stop_within(ms(400));
    assert_eq!(hooks.stats("hung").waiting, 0);
}

#[test]
fn stop_ends_running_commands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let text = "trap '' TERM; echo $$ > \"$1.tmp\"; mv \"$1.tmp\" \"$1\"; while :; do sleep 0.1; done";
    let hooks = HookFixture::start(vec![hook("page", script(text, &file), LONG)]);
    hooks.offer_failure("/mnt/x");
    hooks.offer_failure("/mnt/x");
    wait_until(ms(5000), "it runs", || file.exists());
    let pid = Process(fs::read_to_string(&file).unwrap().trim().parse().unwrap());
    hooks.stop_within(ms(800));
    wait_until(ms(1000), "the process has exited", || !pid.is_alive());
    assert_eq!(hooks.runs("page", "dropped"), 2, "one was running, one was waiting");
    // Events after the stop are dropped.
    hooks.offer_failure("/mnt/y");
    assert_eq!(hooks.stats("page").waiting, 0);
}

#[test]
fn flood_of_output_delays_no_other_hook() {
    let before = Process(std::process::id()).rss_kib();
    let hooks = HookFixture::start(vec![
        hook("loud", command(&["/usr/bin/yes", "and on it goes"]), ms(1500)),
        hook("page", command(&["/bin/true"]), LONG),
    ]);
    hooks.offer_failure("/mnt/x");
    hooks.wait_for_line("Hook page is done for /mnt/x", ms(1000));
    hooks.offer_failure("/mnt/y");
    hooks.wait_for_line("Hook page is done for /mnt/y", ms(1000));
    let (_, text) = hooks.wait_for_line("Hook loud failed for /mnt/x (timeout)", ms(4000));
    // It was killed in the middle of a line.
    assert!("and on it goes".starts_with(text.rsplit(": ").next().unwrap()), "{text}");
    let after = Process(std::process::id()).rss_kib();
    assert!(after < before + 32_000, "{before} KiB, then {after} KiB");
}

#[test]
fn many_failures_are_logged_in_few_lines() {
    let hooks = HookFixture::start(vec![hook("page", command(&["/bin/false"]), LONG)]);
    hooks.offer_failures(100);
    hooks.wait_until_idle(ms(10_000));
    assert_eq!(hooks.runs("page", "failed"), 100);
    assert_eq!(hooks.lines().len(), 10, "{:?}", hooks.lines());
}

#[test]
fn many_runs_leak_no_descriptors_threads_or_processes() {
    run_isolated(|_| {
        let this_process = Process(std::process::id());
        let hooks = HookFixture::start(vec![hook("page", command(&["/bin/cat"]), LONG)]);
        let run = |n: usize| {
            hooks.offer_failures(n);
            hooks.wait_until_idle(ms(20_000));
        };
        run(10);
        let before = (this_process.descriptor_count(), this_process.thread_count());
        run(300);
        assert_eq!(hooks.runs("page", "ok"), 310);
        // The pipes of the last runs are closed a moment later.
        wait_until(ms(2000), "the numbers are as before", || {
            (this_process.descriptor_count(), this_process.thread_count()) == before
        });
        assert!(this_process.children().is_empty());
        hooks.handle.stop(ms(500));
    });
}
