//! Resource use: descriptors, threads, wake-ups and memory.

use crate::common::{Process, is_release_build, ms, pause, run_isolated, run_isolated_for, wait_until};
use std::time::Duration;

const CYCLES: usize = 200;
const IDLE: Duration = Duration::from_secs(5);

/// Limits of memory in KiB.
const DAEMON: u64 = 12 * 1024;
/// With the HTTP server and its rendered responses.
const SERVING: u64 = 20 * 1024;
const PROBER: u64 = 4 * 1024;

/// Resident memory in KiB, of a debug build without the pages of its program: these are many, and how many of them are
/// resident depends on the linker and the kernel.
fn memory_kib(process: Process) -> u64 {
    match is_release_build() {
        true => process.rss_kib(),
        false => process.anonymous_kib(),
    }
}

#[test]
fn descriptors_threads_and_processes_do_not_grow() {
    run_isolated_for(Duration::from_secs(180), |lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(&["--timeout", "300ms", "--poll-interval", "500ms"]);
        daemon.wait_for_line("Checked 5 mounts; 0 are dead", ms(2000));
        let cycle = || {
            let path = lab.mount_point("cycle");
            lab.mount_tmpfs(&path);
            lab.unmount_when_idle(&path);
        };
        cycle();
        let before = counts(&daemon);
        for _ in 0..CYCLES {
            cycle();
        }
        wait_until(ms(3000), &format!("{before:?} again after mounts"), || counts(&daemon) <= before);

        // Each hang ends a prober.
        for path in mounts.iter().chain(&mounts) {
            lab.set_fault("mute", path);
            daemon.skip_earlier_lines();
            daemon.wait_for_failure(path, "hung", ms(1000));
            lab.clear_fault(path);
            daemon.wait_for_recovery(path, ms(3000));
        }
        wait_until(ms(5000), &format!("{before:?} again after hangs"), || counts(&daemon) <= before);
        daemon.stop();
    });
}

#[test]
fn no_wakeups_between_runs() {
    run_isolated(|lab| {
        lab.mount_fuses(5);
        let _read = lab.read_syslog();
        let daemon = lab.start_daemon(&["--poll-interval", "20"]);
        daemon.wait_for_second_run(ms(20_000));
        // Idle worker threads end within this time.
        pause(ms(3000));
        let processes = || [daemon.process].into_iter().chain(daemon.process.descendants());
        let wakeups = |of_signs: bool| -> u64 {
            let processes = processes().filter(|process| process.has_role("signs") == of_signs);
            processes.map(Process::wakeup_count).sum()
        };
        let before = [false, true].map(wakeups);
        pause(IDLE);
        let after = [false, true].map(wakeups);
        assert_eq!(after[0], before[0], "wake-ups in {IDLE:?}");
        // It looks every 2 s, and sends nothing.
        let looks = after[1] - before[1];
        assert!((1..=4).contains(&looks), "{looks}");
        daemon.stop();
    });
}

#[test]
fn memory_with_thirty_mounts_is_bounded() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(30);
        let daemon = lab.start_daemon(&["--timeout", "500ms", "--poll-interval", "500ms"]);
        pause(ms(2000));
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", ms(1000));
        let rss = memory_kib(daemon.process);
        assert!(rss <= DAEMON, "the daemon takes {rss} KiB");
        let rss = memory_kib(daemon.prober());
        assert!(rss <= PROBER, "a prober takes {rss} KiB");
        daemon.stop();
    });
}

#[test]
fn memory_with_http_clients_is_bounded() {
    run_isolated(|lab| {
        lab.mount_fuses(30);
        let (daemon, address) =
            crate::http::start_with_http(lab, &["--timeout", "500ms", "--poll-interval", "500ms"]);
        for _ in 0..200 {
            for target in ["/metrics", "/api/v1/mounts", "/"] {
                assert_eq!(crate::http::get(address, target).status, 200);
            }
        }
        let rss = memory_kib(daemon.process);
        assert!(rss <= SERVING, "the daemon takes {rss} KiB");
        daemon.stop();
    });
}

fn counts(daemon: &crate::common::Daemon) -> (usize, usize, usize) {
    let probers = daemon.process.descendants().into_iter().filter(|process| process.is_alive()).count();
    (daemon.process.descriptor_count(), daemon.process.thread_count(), probers)
}
