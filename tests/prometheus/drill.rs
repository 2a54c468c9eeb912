//! Drills with a real push gateway and a real Alertmanager: nothing of them is left.

use crate::common::{CommandOutput, free_port, monitor_command, ms, run_isolated_for, utf8, wait_until};
use crate::peer::{ALERTMANAGER, Peer, first_missing, start_alertmanager};
use serde_json::Value;
use std::time::{Duration, Instant};

const GATEWAY: &str = "prometheus-pushgateway";
/// The alert of a drill ends by itself within this time.
const ALERT_LIMIT: Duration = Duration::from_secs(62);

#[test]
fn pushed_series_is_deleted_and_the_alert_is_resolved() {
    run_isolated_for(Duration::from_secs(180), |lab| {
        if let Some(reason) = first_missing(&[GATEWAY, ALERTMANAGER]) {
            return lab.skip(&reason);
        }
        lab.mount_fuses(1);
        let _syslog = lab.read_syslog();
        let alertmanager = start_alertmanager(lab, free_port());
        let port = free_port();
        let own =
            [format!("--web.listen-address=127.0.0.1:{port}"), "--persistence.file=gateway.db".to_owned()];
        let gateway = Peer::spawn(lab, GATEWAY, port, &own);
        let url = format!("[alertmanager]\nurl = \"http://127.0.0.1:{}\"\n", alertmanager.port);
        let (config, socket) = (lab.write_file("config.toml", url), lab.scratch_path("socket"));
        let push = format!("http://127.0.0.1:{port}");
        let arguments =
            ["--config", utf8(&config), "--socket", utf8(&socket), "--prometheus-push-gateway", &push];
        let daemon = lab.start_daemon(&arguments);
        gateway.wait_for_text("/metrics", "\ntotal_mountpoints{", ms(5000));
        let groups = || {
            let text = gateway.get("/metrics");
            text.lines()
                .filter(|line| line.starts_with("push_time_seconds{"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(groups().len(), 1);

        let begun = Instant::now();
        let mut command = monitor_command();
        command.args(["drill", "--json", "--socket", utf8(&socket)]);
        let output = CommandOutput::run(command, ms(10_000));
        output.assert_code(0);
        for result in output.json()["outputs"].as_array().expect("outputs") {
            let is_confirmed = matches!(result["output"].as_str(), Some("push_gateway" | "alertmanager"));
            assert!(!is_confirmed || result["result"] == "accepted", "{result}");
        }
        let alerts = || -> Vec<Value> {
            serde_json::from_str(&alertmanager.get("/api/v2/alerts?filter=drill%3D%22true%22")).expect("JSON")
        };
        let fired = alerts();
        assert_eq!((fired.len(), &fired[0]["labels"]["mountpoint"]), (1, &"/drill".into()), "{fired:?}");
        // The gateway accepts a request at once and executes it later.
        wait_until(ms(2000), "the group of the drill is deleted", || {
            groups().len() == 1 && !gateway.get("/metrics").contains("drill")
        });
        wait_until(ALERT_LIMIT.saturating_sub(begun.elapsed()), "the alert is resolved", || {
            crate::common::pause(ms(200));
            alerts().is_empty()
        });
        daemon.stop();
    });
}
