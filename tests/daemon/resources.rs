//! What the daemon costs, and that it does not grow.

use crate::common::{isolated, isolated_for, ms, pause, skipped, slack, soon};
use std::time::Duration;

const CYCLES: usize = 200;
const IDLE: Duration = Duration::from_secs(5);
const DAEMON_KIB: u64 = 12 * 1024;
/// With its server, pages and answers in memory.
const SERVING_KIB: u64 = 20 * 1024;
const PROBER_KIB: u64 = 4 * 1024;

#[test]
fn descriptors_and_threads_do_not_grow() {
    isolated_for(Duration::from_secs(180), this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let daemon = lab.daemon(&["--timeout", "300ms", "--poll-interval", "500ms"]);
        daemon.told("Checked 5 mounts; 0 are dead", ms(2000));
        let cycle = || {
            let path = lab.at("cycle");
            lab.tmpfs(&path);
            lab.unmount_soon(&path);
        };
        cycle();
        let before = counts(&daemon);
        for _ in 0..CYCLES {
            cycle();
        }
        soon(ms(3000) + slack(), &format!("{before:?} again after mounts"), || counts(&daemon) <= before);

        // Each hang takes a prober with it.
        for path in mounts.iter().chain(&mounts) {
            lab.order("mute", path);
            daemon.mark();
            daemon.told_failed(path, "hung", ms(1000));
            lab.order("ok", path);
            lab.order("release", path);
            daemon.told_recovered(path, ms(3000));
        }
        soon(ms(5000) + slack(), &format!("{before:?} again after hangs"), || counts(&daemon) <= before);
        daemon.stop();
    });
}

#[test]
fn between_two_runs_nothing_wakes_up() {
    isolated(this_test!(), |lab| {
        lab.fuses(5);
        let _read = lab.syslog();
        let daemon = lab.daemon(&["--poll-interval", "20"]);
        daemon.past_the_second_run(ms(20_000));
        // Threads that have nothing to do any more may end first.
        pause(ms(3000));
        let family = || [daemon.process].into_iter().chain(daemon.process.descendants());
        let before: u64 = family().map(crate::common::Process::wakeups).sum();
        pause(IDLE);
        let after: u64 = family().map(crate::common::Process::wakeups).sum();
        assert_eq!(after, before, "wake-ups in {IDLE:?}");
        daemon.stop();
    });
}

#[test]
fn memory_with_thirty_mounts() {
    if cfg!(debug_assertions) {
        return skipped(this_test!(), "a debug build is larger; run with --release");
    }
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(30);
        let daemon = lab.daemon(&["--timeout", "500ms", "--poll-interval", "500ms"]);
        pause(ms(2000));
        lab.order("mute", &mounts[0]);
        daemon.told_failed(&mounts[0], "hung", ms(1000));
        let rss = daemon.process.rss_kib();
        assert!(rss <= DAEMON_KIB, "the daemon takes {rss} KiB");
        let rss = daemon.prober().rss_kib();
        assert!(rss <= PROBER_KIB, "a prober takes {rss} KiB");
        daemon.stop();
    });
}

#[test]
fn memory_with_thirty_mounts_and_clients() {
    if cfg!(debug_assertions) {
        return skipped(this_test!(), "a debug build is larger; run with --release");
    }
    isolated(this_test!(), |lab| {
        lab.fuses(30);
        let (daemon, address) =
            crate::http::serving(lab, &["--timeout", "500ms", "--poll-interval", "500ms"]);
        for _ in 0..200 {
            for target in ["/metrics", "/api/v1/mounts", "/"] {
                assert_eq!(crate::http::get(address, target).status, 200);
            }
        }
        let rss = daemon.process.rss_kib();
        assert!(rss <= SERVING_KIB, "the daemon takes {rss} KiB");
        daemon.stop();
    });
}

fn counts(daemon: &crate::common::Daemon) -> (usize, usize, usize) {
    let probers = daemon.process.descendants().into_iter().filter(|process| process.alive()).count();
    (daemon.process.descriptors(), daemon.process.threads(), probers)
}
