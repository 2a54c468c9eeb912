//! End to end: a mount hangs, Prometheus fires the alert from `contrib/`, and Alertmanager receives it.

use crate::common::{Lab, display_path, free_port, ms, run_isolated_for};
use crate::peer::{ALERTMANAGER, Peer, first_missing, start_alertmanager};
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
        assert!(!prometheus.get("/api/v1/alerts").contains("MountHung"));

        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        let path = display_path(&mounts[1]);
        let hung = format!("\"mountpoint\":\"{path}\"");
        // ALERTS{alertname="MountHung",alertstate="firing"}; other alerts may fire before the first scrape.
        let firing = "ALERTS%7Balertname%3D%22MountHung%22%2Calertstate%3D%22firing%22%7D";
        prometheus.wait_for_text(&format!("/api/v1/query?query={firing}"), &hung, ALERT_LIMIT);
        let received = alertmanager.wait_for_text("/api/v2/alerts", "MountHung", ALERT_LIMIT);
        assert!(received.contains(&hung), "{received}");
        assert!(received.contains(&format!("{path} on 127.0.0.1:{port} is hung")), "{received}");
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

fn prometheus(lab: &Lab, scraped: u16, alertmanager: u16) -> Peer {
    let rules: String = RULES
        .lines()
        .map(|line| if line.trim_start().starts_with("for: ") { "        for: 1s" } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    std::fs::write(lab.scratch_path("rules.yml"), rules).expect("write a file");
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\nrule_files: [rules.yml]\n\
         alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ['127.0.0.1:{alertmanager}']\n\
         scrape_configs:\n  - job_name: mount_status_monitor\n    static_configs:\n      - targets: \
         ['127.0.0.1:{scraped}']\n"
    );
    std::fs::write(lab.scratch_path("prometheus.yml"), config).expect("write a file");
    let port = free_port();
    let arguments = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=prometheus".into(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    Peer::start(lab, "prometheus", port, &arguments, "/-/ready")
}
