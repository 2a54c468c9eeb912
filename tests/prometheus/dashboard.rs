//! The dashboard of `contrib/` with a real Prometheus: no panel is empty.

use crate::common::{Lab, free_port, ms, run_isolated_for, utf8, wait_until};
use crate::peer::{Peer, first_missing, start_prometheus};
use serde_json::Value;
use std::time::Duration;

const BOARD: &str = include_str!("../../contrib/grafana/mount_status_monitor.json");
/// Several runs and scrapes; the rest allows for a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn every_query_of_the_dashboard_has_a_result() {
    run_isolated_for(Duration::from_secs(240), |lab| {
        if let Some(reason) = first_missing(&["prometheus"]) {
            return lab.skip(&reason);
        }
        let mounts = ["nas:/a", "nas:/b", "files:/c", "files:/d"].map(|device| {
            let name = device.replace([':', '/'], "_");
            lab.mount_fuse_with(name, &format!("allow_other fsname={device}"))
        });
        let port = free_port();
        let daemon = lab.start_daemon(&[
            "--config",
            utf8(&configuration(lab)),
            "--listen-address",
            &format!("127.0.0.1:{port}"),
            "--prometheus-push-gateway",
            &format!("127.0.0.1:{}", free_port()), // nobody listens
            "--poll-interval",
            "1",
            "--timeout",
            "2",
            "--slow-after",
            "300ms",
        ]);
        let prometheus = start_prometheus(lab, &scrape_config(port));
        prometheus.wait_for_text("/api/v1/query?query=total_mountpoints", "\"4\"]", LIMIT);
        lab.set_fault("mute", &mounts[0]);
        lab.set_fault("errno EIO", &mounts[2]);
        lab.set_fault("delay 600", &mounts[3]);
        daemon.wait_for_failure(&mounts[0], "hung", ms(10_000));
        daemon.wait_for_failure(&mounts[2], "io_error", ms(10_000));
        lab.mount_fuse("later");

        let board: Value = serde_json::from_str(BOARD).expect("JSON");
        let mut all = queries(&board["annotations"]["list"], "annotation");
        for panel in board["panels"].as_array().expect("panels") {
            let title = panel["title"].as_str().expect("each has a title");
            let of_panel = queries(&panel["targets"], title);
            assert_eq!(of_panel.is_empty(), panel["type"] == "row", "{title}");
            all.extend(of_panel);
        }
        assert!(all.len() > 25, "{all:?}");
        for (title, query) in all {
            wait_until(LIMIT, &format!("{title} has a result: {query}"), || has_result(&prometheus, &query));
        }
        daemon.stop();
    });
}

/// A mount that is missing, and a remedy that is only planned.
fn configuration(lab: &Lab) -> std::path::PathBuf {
    let (missing, mounts) = (lab.mount_point("missing"), lab.mount_point("*"));
    let text = format!(
        "[[rule]]\nmountpoint = {:?}\nexpected = true\n\n[[rule]]\nmountpoint = {:?}\nfstype = \"fuse*\"\n\
         remedy = {{ mode = \"dry-run\", after = \"1s\", allow = [] }}\n",
        utf8(&missing),
        utf8(&mounts)
    );
    lab.write_file("config.toml", text)
}

fn scrape_config(port: u16) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: mount_status_monitor\n    \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    )
}

/// The queries of panels or annotations, as Grafana sends them for all hosts.
fn queries(list: &Value, title: &str) -> Vec<(String, String)> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let query = |target: &Value| {
        let query = target["expr"].as_str().expect("each has a query").replace("$instance", ".*");
        let query = query.replace("$__rate_interval", "30s").replace("$__range", "5m");
        assert!(!query.contains('$'), "{title} has an unknown variable: {query}");
        (title.to_owned(), query)
    };
    list.iter().map(query).collect()
}

fn has_result(prometheus: &Peer, query: &str) -> bool {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = prometheus.get(&format!("/api/v1/query?query={escaped}"));
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty())
}
