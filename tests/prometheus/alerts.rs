//! End to end: a mount hangs, Prometheus fires the alert from `contrib/`, and Alertmanager receives it.

use crate::common::fake_server::{Behavior, FakeServer, Request};
use crate::common::{Lab, display_path, free_port, ms, run_isolated_for, wait_until};
use crate::peer::{
    ALERTMANAGER, Peer, first_missing, start_alertmanager, start_alertmanager_with, start_prometheus,
};
use crate::{QUICK, QUICK_HANG, with};
use std::time::Duration;

const RULES: &str = include_str!("../../contrib/prometheus/mount_status_monitor.rules.yml");
/// Scrape, evaluation and `for:` take a second each; the rest allows for two large programs on a loaded machine.
const ALERT_LIMIT: Duration = Duration::from_secs(40);

#[test]
fn hang_fires_the_alert_and_reaches_alertmanager() {
    let programs = ["prometheus", ALERTMANAGER, "prometheus-node-exporter"];
    run_isolated_for(Duration::from_secs(180), |lab| {
        if let Some(reason) = first_missing(&programs) {
            return lab.skip(&reason);
        }
        let mounts = lab.mount_fuses(3);
        let port = free_port();
        let daemon = lab.start_daemon(&with(QUICK, &["--listen-address", &format!("127.0.0.1:{port}")]));
        let alertmanager = start_alertmanager(lab, free_port());
        let prometheus = prometheus(lab, port, alertmanager.port);
        prometheus.wait_for_text("/api/v1/query?query=total_mountpoints", "\"3\"]", ALERT_LIMIT);
        assert!(!prometheus.get("/api/v1/alerts").contains("MountDead"));

        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        let path = display_path(&mounts[1]);
        let hung = format!("\"mountpoint\":\"{path}\"");
        // ALERTS{alertname="MountDead",alertstate="firing"}; other alerts may fire before the first scrape.
        let firing = "ALERTS%7Balertname%3D%22MountDead%22%2Calertstate%3D%22firing%22%7D";
        prometheus.wait_for_text(&format!("/api/v1/query?query={firing}"), &hung, ALERT_LIMIT);
        let received = alertmanager.wait_for_text("/api/v2/alerts", "MountDead", ALERT_LIMIT);
        assert!(received.contains(&hung), "{received}");
        assert!(received.contains(&format!("{path} on 127.0.0.1:{port} is dead")), "{received}");
        let up = prometheus.get("/api/v1/query?query=mountstatus_mount_up");
        assert!(
            up.matches("\"__name__\"").count() == 3 && up.contains(",\"0\"]"),
            "every mount keeps its series: {up}"
        );

        lab.clear_fault(&mounts[1]);
        daemon.wait_for_recovery(&mounts[1], ms(5000));
        prometheus.wait_for_text("/api/v1/alerts", "\"alerts\":[]", ALERT_LIMIT);
        daemon.stop();
    });
}

#[test]
fn a_mount_whose_reason_changes_is_notified_once() {
    run_isolated_for(Duration::from_secs(180), |lab| {
        if let Some(reason) = first_missing(&["prometheus", ALERTMANAGER]) {
            return lab.skip(&reason);
        }
        let path = lab.mount_fuse("a");
        let port = free_port();
        let daemon = lab.start_daemon(&with(QUICK, &["--listen-address", &format!("127.0.0.1:{port}")]));
        let receiver = FakeServer::start(Behavior::Accept);
        let webhook = format!("    webhook_configs:\n      - url: http://{}/\n", receiver.address);
        let alertmanager = start_alertmanager_with(lab, free_port(), &webhook);
        let prometheus = prometheus(lab, port, alertmanager.port);
        let notifications = |status: &str| {
            let wanted = format!("\"status\":\"{status}\"");
            let is_about = |request: &Request| {
                request.body.contains("\"MountDead\"")
                    && request.body.starts_with(&format!("{{\"receiver\":\"test\",{wanted}"))
            };
            receiver.requests().into_iter().filter(is_about).count()
        };
        for (errno, reason) in
            [("EIO", "io_error"), ("ESTALE", "stale"), ("EHOSTUNREACH", "unreachable"), ("EIO", "io_error")]
        {
            lab.set_fault(&format!("errno {errno}"), &path);
            let query = format!("/api/v1/query?query=mountstatus_mount_failure%7Breason%3D%22{reason}%22%7D");
            prometheus.wait_for_text(&query, &display_path(&path), ALERT_LIMIT);
            wait_until(ALERT_LIMIT, "it is notified", || notifications("firing") > 0);
        }
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(5000));
        wait_until(ALERT_LIMIT, "the end is notified", || notifications("resolved") > 0);
        assert_eq!((notifications("firing"), notifications("resolved")), (1, 1), "{:?}", receiver.requests());
        daemon.stop();
    });
}

fn prometheus(lab: &Lab, scraped: u16, alertmanager: u16) -> Peer {
    let rules: String = RULES
        .lines()
        .map(|line| match line.trim_start().split_once(": ") {
            Some((key @ ("for" | "keep_firing_for"), _)) => format!("        {key}: 1s\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    std::fs::write(lab.scratch_path("rules.yml"), rules).expect("write a file");
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\nrule_files: [rules.yml]\n\
         alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ['127.0.0.1:{alertmanager}']\n\
         scrape_configs:\n  - job_name: mount_status_monitor\n    static_configs:\n      - targets: \
         ['127.0.0.1:{scraped}']\n"
    );
    start_prometheus(lab, &config)
}
