//! What is pushed, when, and that a gateway costs nothing but its own thread, whatever it does.

use crate::common::{Daemon, Lab, ms, pause, run_isolated, slack, wait_until};
use crate::fake::{Fake, Manner};
use crate::peer::free_port;
use crate::{QUICK, QUICK_HANG, with};
use std::time::Duration;

const GROUP: &str = "/metrics/job/mount_status_monitor/instance";

#[test]
fn everything_is_put_after_each_run() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(3);
        let fake = Fake::start(Manner::Kind);
        let user = lab.scratch_path("user");
        std::fs::write(&user, "me:secret\n").expect("a file can be written");
        let user_file = user.to_str().expect("plain");
        let flags = ["--prometheus-push-gateway", &fake.address, "--push-user-file", user_file];
        let daemon = lab.start_daemon(&with(QUICK, &flags));
        let put = fake.got(ms(1000), "a push", |_| true);
        assert!(put.line.starts_with(&format!("PUT {GROUP}")), "{}", put.line);
        let head = put.head.to_lowercase();
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(put.head.contains("Basic bWU6c2VjcmV0"), "{}", put.head);
        assert!(put.body.contains("\ntotal_mountpoints 3\n") && put.body.contains("dead_mountpoints 0\n"));
        assert!(put.body.contains("mountstatus_mount_up{") && !put.body.contains("process_"));
        assert!(put.body.contains("\nmountstatus_last_run_timestamp_seconds 1"), "{}", put.body);

        std::fs::write(&user, "me:other\n").expect("a file can be written");
        fake.got(ms(3000), "the new password", |put| put.head.contains("Basic bWU6b3RoZXI="));
        let cmdline = std::fs::read(format!("/proc/{}/cmdline", daemon.process.0)).expect("it runs");
        assert!(!String::from_utf8_lossy(&cmdline).contains("secret"));
        daemon.stop();
        let puts = fake.requests().iter().all(|request| request.line.starts_with("PUT "));
        assert!(puts, "nothing is deleted that was not asked for");
    });
}

#[test]
fn a_death_and_a_recovery_are_pushed_within_a_second() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        let fake = Fake::start(Manner::Kind);
        let daemon = pushing(lab, &fake.address, &[]);
        for dead in [true, false, true, false] {
            daemon.skip_earlier_lines();
            let line = if dead {
                lab.set_fault("mute", &mounts[1]);
                daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG)
            } else {
                lab.clear_fault(&mounts[1]);
                daemon.wait_for_recovery(&mounts[1], ms(3000))
            };
            let wanted = format!("dead_mountpoints {}\n", u8::from(dead));
            let put = fake.got(ms(1000), &wanted, |put| put.at >= line.at && put.body.contains(&wanted));
            let late = put.at - line.at;
            assert!(late < ms(1000) + slack() / 4, "pushed {late:?} after the verdict");
        }
        daemon.stop();
    });
}

#[test]
fn a_black_hole_delays_nothing() {
    delays_nothing(test_name!(), || Fake::start(Manner::BlackHole).address, None);
}

#[test]
fn a_slow_gateway_delays_nothing() {
    delays_nothing(test_name!(), || Fake::start(Manner::Slow(ms(5000))).address, None);
}

#[test]
fn a_closed_port_delays_nothing() {
    delays_nothing(test_name!(), || format!("127.0.0.1:{}", free_port()), Some("Connection refused"));
}

#[test]
fn a_name_that_leads_nowhere_delays_nothing() {
    delays_nothing(test_name!(), || "gateway.invalid:9091".into(), Some("http://gateway.invalid:9091/"));
}

#[test]
fn a_refusal_delays_nothing() {
    delays_nothing(
        test_name!(),
        || Fake::start(Manner::Refuses).address,
        Some("400 Bad Request: not like this"),
    );
}

#[test]
fn a_redirection_is_no_success() {
    delays_nothing(test_name!(), || Fake::start(Manner::Redirects).address, Some("302 Found"));
}

fn delays_nothing(name: &str, address: impl Fn() -> String, complaint: Option<&str>) {
    run_isolated(name, |lab| {
        let mounts = lab.mount_fuses(3);
        let daemon = pushing(lab, &address(), &["--push-delete-on-exit"]);
        if let Some(complaint) = complaint {
            let line = daemon.wait_for_line("Cannot push metrics to http://", ms(5000));
            assert!(line.text.contains(complaint), "{}", line.text);
        }
        daemon.skip_earlier_lines();
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        let runs = || daemon.stderr.all().iter().filter(|line| line.text.contains("Checked ")).count();
        let before = runs();
        pause(ms(4000));
        assert!(runs() >= before + 3, "{} runs in 4 s\n{}", runs() - before, daemon.transcript());
        let warnings = daemon.stderr.all().iter().filter(|l| l.text.contains("Cannot push")).count();
        assert!(warnings <= 1, "{}", daemon.transcript());
        daemon.stop();
    });
}

#[test]
fn a_gateway_that_comes_back_is_told_and_used() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(1);
        let fake = Fake::start(Manner::Refuses);
        let daemon = pushing(lab, &fake.address, &[]);
        daemon.wait_for_line("Cannot push metrics to http://", ms(2000));
        fake.becomes(Manner::Kind);
        daemon.wait_for_line("Metrics are pushed to http://", ms(5000));
        let put = fake.got(ms(3000), "failures", |put| put.body.contains("mountstatus_push_failures_total"));
        assert!(put.body.contains("\nmountstatus_push_last_success_timestamp_seconds "), "{}", put.body);
        fake.got(ms(3000), "its success", |put| {
            !put.body.contains("\nmountstatus_push_last_success_timestamp_seconds 0\n")
                && !put.body.contains("\nmountstatus_push_failures_total 0\n")
        });
        daemon.stop();
    });
}

/// A request that is under way is given up, and the group is gone all the same.
#[test]
fn the_group_is_deleted_in_the_middle_of_a_push() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(1);
        let fake = Fake::start(Manner::Slow(ms(60_000)));
        let daemon = pushing(lab, &fake.address, &["--push-delete-on-exit"]);
        fake.got(ms(2000), "a push", |put| put.line.starts_with("PUT "));
        daemon.stop();
        fake.got(ms(0), "the end", |request| request.line.starts_with(&format!("DELETE {GROUP}")));
    });
}

#[test]
fn without_a_gateway_or_a_file_there_is_no_thread() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(1);
        let daemon = lab.start_daemon(QUICK);
        assert_eq!(threads(&daemon), Vec::<String>::new());
        daemon.stop();
        let file = lab.scratch_path("m.prom");
        let fake = Fake::start(Manner::Kind);
        let daemon = pushing(lab, &fake.address, &["--textfile", file.to_str().expect("plain")]);
        wait_until(ms(2000), "both threads", || threads(&daemon) == ["push", "textfile"]);
        daemon.stop();
    });
}

fn threads(daemon: &Daemon) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process.0)).expect("it runs");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
    names.retain(|name| matches!(name.as_str(), "push" | "textfile") || name.contains("tokio"));
    names.sort();
    names
}

fn pushing(lab: &Lab, address: &str, more: &[&str]) -> Daemon {
    let flags = with(QUICK, &["--prometheus-push-gateway", address]);
    let mut command = lab.daemon_command(&with(&flags, more));
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    let daemon = Daemon::spawn(command);
    daemon.wait_for_line("Checked ", Duration::from_secs(10));
    daemon
}
