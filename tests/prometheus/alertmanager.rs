//! Alerts sent to a real Alertmanager: they fire while the mount is dead, and no longer.

use crate::common::{free_port, ms, run_isolated, run_isolated_for, skip_test, wait_until};
use crate::fake::{Behaviour, FakeServer, Request};
use crate::peer::{ALERTMANAGER, Peer, first_missing, start_alertmanager};
use crate::{QUICK, with};
use mount_status_monitor::monitor::{Event, Failure, Reason};
use mount_status_monitor::output::hooks::Alertmanager;
use mount_status_monitor::output::hooks::HookSettings;
use mount_status_monitor::output::hooks::Hooks;
use mount_status_monitor::output::http_client::Credentials;
use mount_status_monitor::render::Message;
use mount_status_monitor::render::Priority;
use mount_status_monitor::render::messages;
use platform::{DeviceNumber, Mount, MountKey};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// An alert expires after four of these intervals.
const REFRESH: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn alertmanager_has_the_firing_alerts() {
    if let Some(reason) = first_missing(&[ALERTMANAGER]) {
        return skip_test(test_name!(), &reason);
    }
    run_isolated_for(LIMIT, test_name!(), |lab| {
        let port = free_port();
        let alertmanager = start_alertmanager(lab, port);
        let told = Told::start(port, REFRESH);
        told.tell(failed("/mnt/x", Reason::Hung));
        let alert = only(&alertmanager, ms(5000), |alert| alert["annotations"]["reason"] == "hung");
        for (label, value) in [
            ("alertname", "MountHung"),
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

        // Refreshing moves the end of the alert; another reason does not create another alert.
        let (first_end, fingerprint) = (alert["endsAt"].clone(), alert["fingerprint"].clone());
        told.tell(still("/mnt/x", Reason::IoError));
        let first_end = first_end.as_str().expect("text").to_owned();
        wait_until(ms(10_000), "the first end time has passed", || now() > first_end);
        let later = only(&alertmanager, ms(1000), |_| true);
        assert!(later["endsAt"].as_str().expect("text") > first_end.as_str(), "{later}");
        assert_eq!((&later["fingerprint"], &later["startsAt"]), (&fingerprint, &alert["startsAt"]));
        assert_eq!(later["annotations"]["reason"], "io_error");

        told.tell(recovered("/mnt/x"));
        wait_until(ms(5000), "the alert is resolved", || alerts(&alertmanager).is_empty());

        // Many alerts are sent in few requests.
        let before = told.hooks.counters().alertmanager.expect("Alertmanager is configured").accepted;
        let begun = Instant::now();
        for n in 0..300 {
            told.tell(failed(&format!("/mnt/{n}"), Reason::Stale));
        }
        wait_until(ms(5000), "all 300 alerts fire", || alerts(&alertmanager).len() == 300);
        let requests =
            told.hooks.counters().alertmanager.expect("Alertmanager is configured").accepted - before;
        let most = 3 + begun.elapsed().as_secs();
        assert!(requests <= most, "{requests} requests in {:?}", begun.elapsed());
        assert_eq!(told.hooks.counters().alertmanager.expect("Alertmanager is configured").firing, 300);

        // Stopping resolves no alert; they expire.
        told.hooks.stop(ms(400));
        assert_eq!(alerts(&alertmanager).len(), 300);
        wait_until(ms(12_000), "they expire", || alerts(&alertmanager).is_empty());
        assert!(told.lines().is_empty(), "{:?}", told.lines());
    });
}

/// Failures from before the reload are sent too.
#[test]
fn alertmanager_added_by_reload_receives_current_alerts() {
    run_isolated(test_name!(), |lab| {
        let dead = lab.mount_fuse("dead");
        let gone = lab.mount_point("gone");
        lab.set_fault("errno EIO", &dead);
        let fake = FakeServer::start(Behaviour::Accept);
        let rule = format!("[[rule]]\nmountpoint = \"{}\"\nexpected = true\n", gone.display());
        let file = lab.scratch_path("config.toml");
        std::fs::write(&file, &rule).expect("write a file");
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
        assert_eq!(names, ["\"ExpectedMountMissing\"", "\"MountFailed\""], "{}", request.body);
        daemon.stop();
    });
}

#[test]
fn unreachable_alertmanager_receives_current_alerts_later() {
    if let Some(reason) = first_missing(&[ALERTMANAGER]) {
        return skip_test(test_name!(), &reason);
    }
    run_isolated_for(LIMIT, test_name!(), |lab| {
        let port = free_port();
        let told = Told::start(port, REFRESH);
        told.tell(failed("/mnt/x", Reason::Hung));
        told.tell(failed("/mnt/y", Reason::Hung));
        wait_until(ms(10_000), "two requests fail", || {
            told.hooks.counters().alertmanager.expect("Alertmanager is configured").failed >= 2
        });
        told.tell(recovered("/mnt/y"));
        let (priority, line) = told.lines().remove(0);
        assert!(
            priority == Priority::Warning
                && line.contains("Cannot send alerts to Alertmanager http://127.0.0.1:")
        );
        let alertmanager = start_alertmanager(lab, port);
        only(&alertmanager, ms(40_000), |alert| alert["labels"]["mountpoint"] == "/mnt/x");
        wait_until(ms(2000), "the recovery is logged", || told.lines().len() == 2);
        let (priority, line) = told.lines().remove(1);
        assert!(priority == Priority::Notice && line.ends_with(" takes alerts again"), "{line}");

        // Alertmanager restarts without its data; the next refresh sends all alerts again.
        drop(alertmanager);
        std::fs::remove_dir_all(lab.scratch_path("alertmanager")).expect("remove its data");
        let alertmanager = start_alertmanager(lab, port);
        only(&alertmanager, ms(40_000), |alert| alert["labels"]["mountpoint"] == "/mnt/x");
        told.hooks.stop(ms(400));
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

struct Told {
    hooks: Hooks,
    lines: Arc<Mutex<Vec<(Priority, String)>>>,
}

impl Told {
    fn start(port: u16, refresh: Duration) -> Told {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let tell = Arc::new(move |priority, text: &str| {
            kept.lock().expect("no thread panicked").push((priority, text.to_owned()));
        });
        let labels = BTreeMap::from([("team".to_owned(), "storage".to_owned())]);
        let url = format!("http://127.0.0.1:{port}");
        let to = Alertmanager::new(&url, Credentials::None, None, labels, Some(refresh)).expect("valid");
        let settings = HookSettings::new(vec![], Some(to)).expect("valid");
        Told { hooks: Hooks::start(settings, tell).expect("the program starts"), lines }
    }

    fn tell(&self, event: Event) {
        let (priority, text) = messages::line(&event);
        let message = Message { time: SystemTime::now(), priority, text, event: Some(event) };
        self.hooks.offer(&Arc::new(message), None, "critical");
    }

    fn lines(&self) -> Vec<(Priority, String)> {
        self.lines.lock().expect("no thread panicked").clone()
    }
}

fn mount(path: &str) -> Arc<Mount> {
    Arc::new(Mount {
        key: MountKey(1),
        id: 1,
        parent: 0,
        device_number: DeviceNumber { major: 0, minor: 42 },
        root: "/".into(),
        mountpoint: path.into(),
        fstype: "nfs4".into(),
        device: "host:/dir".into(),
        options: "rw".into(),
        super_options: "rw".into(),
    })
}

fn failed(path: &str, reason: Reason) -> Event {
    Event::Failed { mount: mount(path), failure: failure(reason) }
}

fn still(path: &str, reason: Reason) -> Event {
    Event::StillFailing { mount: mount(path), failure: failure(reason), lasted: Duration::from_secs(1) }
}

fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        errno: None,
        call: None,
        waited: Duration::from_secs(3),
        blocked_by: None,
        evidence: None,
    }
}

fn recovered(path: &str) -> Event {
    Event::Recovered { mount: mount(path), lasted: Duration::from_secs(9), took: ms(1), was: "hung" }
}
