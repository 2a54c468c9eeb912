//! Content and time of pushes; a faulty gateway does not delay the daemon.

use crate::common::fake_server::{Behavior, FakeServer};
use crate::common::{Daemon, Lab, free_port, ms, pause, run_isolated, slack, utf8, wait_until};

use crate::{QUICK, QUICK_HANG, with};
use std::time::Duration;

const GROUP: &str = "/metrics/job/mount_status_monitor/instance";

#[test]
fn all_metrics_are_pushed_after_each_run() {
    run_isolated(|lab| {
        lab.mount_fuses(3);
        let fake = FakeServer::start(Behavior::Accept);
        let user = lab.write_file("user", "me:secret\n");
        let user_file = utf8(&user);
        let flags = ["--prometheus-push-gateway", &fake.address, "--push-user-file", user_file];
        let daemon = lab.start_daemon(&with(QUICK, &flags));
        let put = fake.wait_for_request(ms(1000), "a push", |_| true);
        assert!(put.line.starts_with(&format!("PUT {GROUP}")), "{}", put.line);
        let head = put.head.to_lowercase();
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(put.head.contains("Basic bWU6c2VjcmV0"), "{}", put.head);
        assert!(put.body.contains("\ntotal_mountpoints 3\n") && put.body.contains("dead_mountpoints 0\n"));
        assert!(put.body.contains("mountstatus_mount_up{") && !put.body.contains("process_"));
        assert!(put.body.contains("\nmountstatus_last_run_timestamp_seconds 1"), "{}", put.body);

        std::fs::write(&user, "me:other\n").expect("write a file");
        fake.wait_for_request(ms(3000), "the new password", |put| put.head.contains("Basic bWU6b3RoZXI="));
        let cmdline = std::fs::read(format!("/proc/{}/cmdline", daemon.process.0)).expect("the process runs");
        assert!(!String::from_utf8_lossy(&cmdline).contains("secret"));
        daemon.stop();
        let puts = fake.requests().iter().all(|request| request.line.starts_with("PUT "));
        assert!(puts, "the group must stay without --push-delete-on-exit");
    });
}

#[test]
fn failure_and_recovery_are_pushed_within_a_second() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let fake = FakeServer::start(Behavior::Accept);
        let daemon = start_pushing(lab, &fake.address, &[]);
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
            let put = fake
                .wait_for_request(ms(1000), &wanted, |put| put.at >= line.at && put.body.contains(&wanted));
            let late = put.at - line.at;
            assert!(late < ms(1000) + slack() / 4, "pushed {late:?} after the failure was logged");
        }
        daemon.stop();
    });
}

#[test]
fn unresponsive_gateway_does_not_delay_the_daemon() {
    run_isolated(|lab| assert_no_delay(lab, &FakeServer::start(Behavior::Unresponsive).address, None));
}

#[test]
fn slow_gateway_does_not_delay_the_daemon() {
    run_isolated(|lab| assert_no_delay(lab, &FakeServer::start(Behavior::Slow(ms(5000))).address, None));
}

#[test]
fn closed_port_does_not_delay_the_daemon() {
    run_isolated(|lab| {
        assert_no_delay(lab, &format!("127.0.0.1:{}", free_port()), Some("Connection refused"));
    });
}

#[test]
fn unresolvable_gateway_does_not_delay_the_daemon() {
    run_isolated(|lab| {
        assert_no_delay(lab, "gateway.invalid:9091", Some("http://gateway.invalid:9091/"));
    });
}

#[test]
fn rejected_push_does_not_delay_the_daemon() {
    run_isolated(|lab| {
        let gateway = FakeServer::start(Behavior::Reject);
        assert_no_delay(lab, &gateway.address, Some("400 Bad Request: not like this"));
    });
}

#[test]
fn redirect_is_a_failed_push() {
    run_isolated(|lab| {
        assert_no_delay(lab, &FakeServer::start(Behavior::Redirect).address, Some("302 Found"));
    });
}

fn assert_no_delay(lab: &mut Lab, address: &str, message: Option<&str>) {
    let mounts = lab.mount_fuses(3);
    let daemon = start_pushing(lab, address, &["--push-delete-on-exit"]);
    if let Some(message) = message {
        let line = daemon.wait_for_line("Cannot push metrics to http://", ms(5000));
        assert!(line.text.contains(message), "{}", line.text);
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
}

#[test]
fn recovered_gateway_is_logged_and_used() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let fake = FakeServer::start(Behavior::Reject);
        let daemon = start_pushing(lab, &fake.address, &[]);
        daemon.wait_for_line("Cannot push metrics to http://", ms(2000));
        fake.set_behaviour(Behavior::Accept);
        daemon.wait_for_line("Metrics are pushed to http://", ms(5000));
        let put = fake.wait_for_request(ms(3000), "failures", |put| {
            put.body.contains("mountstatus_push_failures_total")
        });
        assert!(put.body.contains("\nmountstatus_push_last_success_timestamp_seconds "), "{}", put.body);
        fake.wait_for_request(ms(3000), "its counters", |put| {
            !put.body.contains("\nmountstatus_push_last_success_timestamp_seconds 0\n")
                && !put.body.contains("\nmountstatus_push_failures_total 0\n")
        });
        daemon.stop();
    });
}

/// Stopping cancels the pending push and still deletes the group.
#[test]
fn stop_during_a_push_deletes_the_group() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let fake = FakeServer::start(Behavior::Slow(ms(60_000)));
        let daemon = start_pushing(lab, &fake.address, &["--push-delete-on-exit"]);
        fake.wait_for_request(ms(2000), "a push", |put| put.line.starts_with("PUT "));
        daemon.stop();
        fake.wait_for_request(ms(0), "the DELETE request", |request| {
            request.line.starts_with(&format!("DELETE {GROUP}"))
        });
    });
}

#[test]
fn export_threads_exist_only_when_configured() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let daemon = lab.start_daemon(QUICK);
        assert_eq!(export_threads(&daemon), Vec::<String>::new());
        daemon.stop();
        let file = lab.scratch_path("m.prom");
        let fake = FakeServer::start(Behavior::Accept);
        let daemon = start_pushing(lab, &fake.address, &["--textfile", utf8(&file)]);
        // The first push prepares its client in a blocking thread, which ends after 10 s without work.
        wait_until(ms(15_000), "both threads", || export_threads(&daemon) == ["push", "textfile"]);
        daemon.stop();
    });
}

fn export_threads(daemon: &Daemon) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process.0)).expect("the process runs");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
    names.retain(|name| matches!(name.as_str(), "push" | "textfile") || name.contains("tokio"));
    names.sort();
    names
}

fn start_pushing(lab: &Lab, address: &str, more: &[&str]) -> Daemon {
    let flags = with(QUICK, &["--prometheus-push-gateway", address]);
    let mut command = lab.daemon_command(&with(&flags, more));
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    let daemon = Daemon::spawn(command);
    daemon.wait_for_line("Checked ", Duration::from_secs(10));
    daemon
}
