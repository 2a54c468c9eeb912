//! The sender of alerts with a real Alertmanager: alerts fire there while their problem exists.

use crate::common::fake_server::{Behavior, FakeServer, Request};
use crate::common::{Lab, free_port, ms, run_isolated, run_isolated_for, wait_until};
use crate::peer::{ALERTMANAGER, Peer, first_missing, start_alertmanager};
use crate::samples::{failure, nfs_mount};
use crate::statuses::{snapshot, status};
use crate::{QUICK, with};
use mount_status_monitor::cli::{Invocation, parse};
use mount_status_monitor::config::Config;
use mount_status_monitor::monitor::{Health, MountStatus, Reason};
use mount_status_monitor::output::alertmanager::AlertmanagerClient;
use mount_status_monitor::render::Priority;
use serde_json::Value;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn alert_fires_is_refreshed_and_resolved_in_alertmanager() {
    run_isolated_for(LIMIT, |lab| {
        if let Some(reason) = first_missing(&[ALERTMANAGER]) {
            return lab.skip(&reason);
        }
        let port = free_port();
        let alertmanager = start_alertmanager(lab, port);
        let sender = Sender::start(lab, port);
        sender.update(vec![dead("/mnt/x", Reason::Hung)]);
        let alert = only(&alertmanager, ms(5000), |alert| alert["annotations"]["reason"] == "hung");
        for (label, value) in [
            ("alertname", "MountDead"),
            ("severity", "critical"),
            ("mountpoint", "/mnt/x"),
            ("device", "host:/dir"),
            ("fstype", "nfs4"),
            ("job", "mount_status_monitor"),
            ("team", "storage"),
        ] {
            assert_eq!(alert["labels"][label], value, "{alert}");
        }
        let summary = alert["annotations"]["summary"].as_str().expect("text");
        assert!(summary.starts_with("/mnt/x on ") && summary.ends_with(" hangs"), "{summary}");

        // It is refreshed, so it outlives its first expiry. Another reason does not create another alert.
        let (first_end, fingerprint) = (alert["endsAt"].clone(), alert["fingerprint"].clone());
        sender.update(vec![dead("/mnt/x", Reason::IoError)]);
        let first_end = first_end.as_str().expect("text").to_owned();
        wait_until(ms(10_000), "its first end is over", || now() > first_end);
        let later = only(&alertmanager, ms(1000), |_| true);
        assert!(later["endsAt"].as_str().expect("text") > first_end.as_str(), "{later}");
        assert_eq!((&later["fingerprint"], &later["startsAt"]), (&fingerprint, &alert["startsAt"]));
        assert_eq!(later["annotations"]["reason"], "io_error");

        sender.update(vec![]);
        wait_until(ms(5000), "it is resolved", || alerts(&alertmanager).is_empty());

        // Many alerts at once are few requests.
        let stats = || sender.client.counters().expect("there is an Alertmanager");
        let before = stats().accepted;
        let begun = Instant::now();
        sender.update((0..300).map(|n| dead(&format!("/mnt/{n}"), Reason::Stale)).collect());
        wait_until(ms(5000), "all 300 fire", || alerts(&alertmanager).len() == 300);
        let requests = stats().accepted - before;
        let most = 3 + begun.elapsed().as_secs();
        assert!(requests <= most, "{requests} requests in {:?}", begun.elapsed());
        assert_eq!(stats().firing, 300);

        // At the end nothing is resolved, and all alerts expire.
        sender.client.stop(ms(400));
        assert_eq!(alerts(&alertmanager).len(), 300);
        wait_until(ms(12_000), "they expire", || alerts(&alertmanager).is_empty());
        assert!(sender.log().is_empty(), "{:?}", sender.log());
    });
}

/// Failures from before the reload are sent too.
#[test]
fn alertmanager_added_by_reload_receives_current_alerts() {
    run_isolated(|lab| {
        let dead = lab.mount_fuse("dead");
        let gone = lab.mount_point("gone");
        lab.set_fault("errno EIO", &dead);
        let fake = FakeServer::start(Behavior::Accept);
        let rule = format!("[[rule]]\nmountpoint = \"{}\"\nexpected = true\n", gone.display());
        let file = lab.write_file("config.toml", &rule);
        let daemon = lab.start_daemon(&with(QUICK, &["--config", file.to_str().expect("UTF-8")]));
        daemon.wait_for_failure(&dead, "io_error", ms(3000));
        daemon.wait_for_line("Expected mount is missing: ", ms(4000));
        std::fs::write(&file, format!("{rule}[alertmanager]\nurl = \"http://{}\"\n", fake.address))
            .expect("write a file");
        let is_alert = |request: &Request| request.line.starts_with("POST /api/v2/alerts");
        let request = fake.wait_for_request(ms(8000), "the alerts arrive", is_alert);
        let alerts: Vec<Value> = serde_json::from_str(&request.body).expect("JSON");
        let mut names: Vec<_> = alerts.iter().map(|alert| alert["labels"]["alertname"].to_string()).collect();
        names.sort();
        assert_eq!(names, ["\"ExpectedMountMissing\"", "\"MountDead\""], "{}", request.body);
        daemon.stop();
    });
}

#[test]
fn alertmanager_that_returns_gets_what_fires_by_then() {
    run_isolated_for(LIMIT, |lab| {
        if let Some(reason) = first_missing(&[ALERTMANAGER]) {
            return lab.skip(&reason);
        }
        let port = free_port();
        let sender = Sender::start(lab, port);
        sender.update(vec![dead("/mnt/x", Reason::Hung), dead("/mnt/y", Reason::Hung)]);
        wait_until(ms(10_000), "it is tried twice", || {
            sender.client.counters().is_some_and(|counters| counters.failed >= 2)
        });
        sender.update(vec![dead("/mnt/x", Reason::Hung)]);
        let (priority, line) = sender.log().remove(0);
        assert!(
            priority == Priority::Warning
                && line.contains("Cannot send alerts to Alertmanager http://127.0.0.1:")
        );
        let alertmanager = start_alertmanager(lab, port);
        only(&alertmanager, ms(40_000), |alert| alert["labels"]["mountpoint"] == "/mnt/x");
        wait_until(ms(2000), "the recovery is logged", || sender.log().len() == 2);
        let (priority, line) = sender.log().remove(1);
        assert!(priority == Priority::Notice && line.ends_with(" accepts alerts again"), "{line}");

        // After a restart of Alertmanager without its memory, the next refresh brings all back.
        drop(alertmanager);
        std::fs::remove_dir_all(lab.scratch_path("alertmanager")).expect("it has a folder");
        let alertmanager = start_alertmanager(lab, port);
        only(&alertmanager, ms(40_000), |alert| alert["labels"]["mountpoint"] == "/mnt/x");
        sender.client.stop(ms(400));
    });
}

/// The current time in the format of Alertmanager.
fn now() -> String {
    mount_status_monitor::render::timestamp::rfc3339(SystemTime::now())
}

fn alerts(alertmanager: &Peer) -> Vec<Value> {
    let all: Value = serde_json::from_str(&alertmanager.get("/api/v2/alerts")).expect("JSON");
    all.as_array().expect("a list").clone()
}

/// Waits until Alertmanager has exactly one alert and it matches.
fn only(alertmanager: &Peer, limit: Duration, like: impl Fn(&Value) -> bool) -> Value {
    let mut last = Vec::new();
    wait_until(limit, "one alert", || {
        last = alerts(alertmanager);
        last.len() == 1 && like(&last[0])
    });
    last.remove(0)
}

/// A client, its configuration, and what it logs.
pub(crate) struct Sender {
    client: AlertmanagerClient,
    config: Arc<Config>,
    log: Arc<Mutex<Vec<(Priority, String)>>>,
}

impl Sender {
    /// Alerts expire after four seconds, four times the refresh.
    fn start(lab: &Lab, port: u16) -> Sender {
        Sender::start_with(lab, port, "team = \"storage\"")
    }

    /// With these labels.
    pub(crate) fn start_with(lab: &Lab, port: u16, labels: &str) -> Sender {
        let file = lab.scratch_path("sender.toml");
        let text = format!(
            "[alertmanager]\nurl = \"http://127.0.0.1:{port}\"\nrefresh = \"1s\"\nlabels = {{ {labels} }}\n"
        );
        std::fs::write(&file, text).expect("a file can be written");
        let arguments = ["mount_status_monitor".into(), "--config".into(), OsString::from(file)];
        let Ok(Invocation::Daemon(config, _)) = parse(arguments) else {
            panic!("the configuration is valid")
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let client = AlertmanagerClient::new(Arc::new(move |priority, text: &str| {
            lines.lock().expect("no thread panics").push((priority, text.to_owned()));
        }));
        Sender { client, config, log }
    }

    pub(crate) fn update(&self, mounts: Vec<MountStatus>) {
        self.client.update(&Arc::new(snapshot(mounts)), &self.config);
    }

    fn log(&self) -> Vec<(Priority, String)> {
        self.log.lock().expect("no thread panics").clone()
    }
}

fn dead(path: &str, reason: Reason) -> MountStatus {
    status(nfs_mount(path), Health::Dead(failure(reason).into()))
}
