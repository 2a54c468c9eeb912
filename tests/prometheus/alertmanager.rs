//! Hooks and a real Alertmanager: what fires fires there, for as long as it does, and not longer.

use crate::common::{Lab, ms, run_isolated, run_isolated_for, skip_test, wait_until};
use crate::fake::{Fake, Manner, Request};
use crate::peer::{Peer, free_port, missing};
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

const PROGRAM: &str = "prometheus-alertmanager";
/// It expires after four of these.
const REFRESH: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn alertmanager_has_what_fires() {
    if let Some(reason) = missing(&[PROGRAM]) {
        return skip_test(test_name!(), &reason);
    }
    run_isolated_for(LIMIT, test_name!(), |lab| {
        let port = free_port();
        let alertmanager = start(lab, port);
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

        // Refreshed: it outlives its first end, and is still the same. Another reason does not make another.
        let (first_end, fingerprint) = (alert["endsAt"].clone(), alert["fingerprint"].clone());
        told.tell(still("/mnt/x", Reason::IoError));
        let first_end = first_end.as_str().expect("text").to_owned();
        wait_until(ms(10_000), "its first end is over", || now() > first_end);
        let later = only(&alertmanager, ms(1000), |_| true);
        assert!(later["endsAt"].as_str().expect("text") > first_end.as_str(), "{later}");
        assert_eq!((&later["fingerprint"], &later["startsAt"]), (&fingerprint, &alert["startsAt"]));
        assert_eq!(later["annotations"]["reason"], "io_error");

        told.tell(recovered("/mnt/x"));
        wait_until(ms(5000), "it is resolved", || alerts(&alertmanager).is_empty());

        // Many at once are few requests.
        let before = told.hooks.counters().alertmanager.expect("there is one").accepted;
        let begun = Instant::now();
        for n in 0..300 {
            told.tell(failed(&format!("/mnt/{n}"), Reason::Stale));
        }
        wait_until(ms(5000), "all 300 fire", || alerts(&alertmanager).len() == 300);
        let requests = told.hooks.counters().alertmanager.expect("there is one").accepted - before;
        let most = 3 + begun.elapsed().as_secs();
        assert!(requests <= most, "{requests} requests in {:?}", begun.elapsed());
        assert_eq!(told.hooks.counters().alertmanager.expect("there is one").firing, 300);

        // At the end nothing is resolved, and all expires by itself.
        told.hooks.stop(ms(400));
        assert_eq!(alerts(&alertmanager).len(), 300);
        wait_until(ms(12_000), "they expire", || alerts(&alertmanager).is_empty());
        assert!(told.lines().is_empty(), "{:?}", told.lines());
    });
}

/// What was wrong before it was named in the configuration: a missing mount is told once, a dead one ever more seldom.
#[test]
fn an_alertmanager_that_comes_with_a_reload_is_told_what_is_wrong() {
    run_isolated(test_name!(), |lab| {
        let dead = lab.mount_fuse("dead");
        let gone = lab.mount_point("gone");
        lab.set_fault("errno EIO", &dead);
        let fake = Fake::start(Manner::Kind);
        let rule = format!("[[rule]]\nmountpoint = \"{}\"\nexpected = true\n", gone.display());
        let file = lab.scratch_path("config.toml");
        std::fs::write(&file, &rule).expect("a file can be written");
        let daemon = lab.start_daemon(&with(QUICK, &["--config", file.to_str().expect("UTF-8")]));
        daemon.wait_for_failure(&dead, "io_error", ms(3000));
        daemon.wait_for_line("Expected mount is missing: ", ms(4000));
        std::fs::write(&file, format!("{rule}[alertmanager]\nurl = \"http://{}\"\n", fake.address))
            .expect("a file can be written");
        let is_alert = |request: &Request| request.line.starts_with("POST /api/v2/alerts");
        let request = fake.got(ms(8000), "the alerts come", is_alert);
        let alerts: Vec<Value> = serde_json::from_str(&request.body).expect("JSON");
        let mut names: Vec<_> = alerts.iter().map(|alert| alert["labels"]["alertname"].to_string()).collect();
        names.sort();
        assert_eq!(names, ["\"ExpectedMountMissing\"", "\"MountFailed\""], "{}", request.body);
        daemon.stop();
    });
}

#[test]
fn an_alertmanager_that_was_away_is_told_what_fires_by_then() {
    if let Some(reason) = missing(&[PROGRAM]) {
        return skip_test(test_name!(), &reason);
    }
    run_isolated_for(LIMIT, test_name!(), |lab| {
        let port = free_port();
        let told = Told::start(port, REFRESH);
        told.tell(failed("/mnt/x", Reason::Hung));
        told.tell(failed("/mnt/y", Reason::Hung));
        wait_until(ms(10_000), "it is tried twice", || {
            told.hooks.counters().alertmanager.expect("there is one").failed >= 2
        });
        told.tell(recovered("/mnt/y"));
        let (priority, line) = told.lines().remove(0);
        assert!(
            priority == Priority::Warning
                && line.contains("Cannot send alerts to Alertmanager http://127.0.0.1:")
        );
        let alertmanager = start(lab, port);
        only(&alertmanager, ms(40_000), |alert| alert["labels"]["mountpoint"] == "/mnt/x");
        wait_until(ms(2000), "that is told", || told.lines().len() == 2);
        let (priority, line) = told.lines().remove(1);
        assert!(priority == Priority::Notice && line.ends_with(" takes alerts again"), "{line}");

        // A restart of Alertmanager without its memory: the next refresh brings all back.
        drop(alertmanager);
        std::fs::remove_dir_all(lab.scratch_path("alertmanager")).expect("it has a folder");
        let alertmanager = start(lab, port);
        only(&alertmanager, ms(40_000), |alert| alert["labels"]["mountpoint"] == "/mnt/x");
        told.hooks.stop(ms(400));
    });
}

fn start(lab: &Lab, port: u16) -> Peer {
    let config = "route:\n  receiver: nobody\n  group_wait: 0s\nreceivers:\n  - name: nobody\n";
    std::fs::write(lab.scratch_path("alertmanager.yml"), config).expect("a file can be written");
    let arguments = [
        "--config.file=alertmanager.yml".to_owned(),
        "--storage.path=alertmanager".into(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".into(),
    ];
    Peer::start(lab, PROGRAM, port, &arguments, "/-/ready")
}

/// As Alertmanager writes times.
fn now() -> String {
    mount_status_monitor::render::timestamp::rfc3339(SystemTime::now())
}

fn alerts(alertmanager: &Peer) -> Vec<Value> {
    let all: Value = serde_json::from_str(&alertmanager.get("/api/v2/alerts")).expect("JSON");
    all.as_array().expect("a list").clone()
}

/// Waits until there is one alert and it is like this.
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
            kept.lock().expect("nobody panics").push((priority, text.to_owned()));
        });
        let labels = BTreeMap::from([("team".to_owned(), "storage".to_owned())]);
        let url = format!("http://127.0.0.1:{port}");
        let to = Alertmanager::new(&url, Credentials::None, None, labels, Some(refresh)).expect("valid");
        let settings = HookSettings::new(vec![], Some(to)).expect("valid");
        Told { hooks: Hooks::start(settings, tell).expect("it starts"), lines }
    }

    fn tell(&self, event: Event) {
        let (priority, text) = messages::line(&event);
        let message = Message { time: SystemTime::now(), priority, text, event: Some(event) };
        self.hooks.offer(&Arc::new(message), None, "critical");
    }

    fn lines(&self) -> Vec<(Priority, String)> {
        self.lines.lock().expect("nobody panics").clone()
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
