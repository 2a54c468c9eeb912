//! The alerts that are sent, and when, with a clock and an Alertmanager of the tests.

use super::alert::{Alert, payload};
use super::set::{MAX_ALERTS, MAX_BYTES};
use super::*;
use crate::monitor::{Expected, ExpectedStatus, Health, MountStatus, ProbeSettings, Reason, Status, Time};
use crate::output::http_client::Access;
use crate::render::{Severity, samples};
use platform::Mount;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const REFRESH: Duration = Duration::from_secs(60);

/// A set of alerts, and its two clocks: the wall clock is 1000 seconds ahead.
struct Simulation {
    alerts: AlertSet,
    start: Instant,
    now: Duration,
    severity: Option<Severity>,
}

impl Simulation {
    fn new() -> Simulation {
        let severity = Some(Severity::Critical);
        Simulation { alerts: AlertSet::default(), start: Instant::now(), now: Duration::ZERO, severity }
    }

    fn now(&self) -> Instant {
        self.start + self.now
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Applies a snapshot with these mounts; all have had their health for ten seconds or since the start.
    fn update(&mut self, mounts: Vec<MountStatus>) -> u64 {
        self.update_status(samples::status(mounts))
    }

    fn update_status(&mut self, mut status: Status) -> u64 {
        let at = Time::after_start(self.now);
        for mount in &mut status.mounts {
            mount.since = Time::after_start(self.now.saturating_sub(Duration::from_secs(10)));
        }
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1000) + self.now;
        let settings = ProbeSettings::default();
        let snapshot = Snapshot { serial: 1, status, at, wall, settings, probers: 0, probers_stranded: 0 };
        let now = self.now();
        self.alerts.update(now, &snapshot, |_| self.severity)
    }

    /// The requests of one round, all of which are accepted.
    fn round(&mut self) -> Vec<Vec<Value>> {
        let (start, mut requests) = (self.now(), Vec::new());
        while let Some(batch) = self.alerts.next_batch(start, start, REFRESH) {
            requests.push(sent(&batch));
            self.alerts.on_accepted(start, &batch);
        }
        requests
    }

    /// The only request of a round, which fails.
    fn failing_round(&mut self) -> Vec<Value> {
        let start = self.now();
        sent(&self.alerts.next_batch(start, start, REFRESH).unwrap())
    }

    /// The only alert of the only request of a round.
    fn only_alert(&mut self) -> Value {
        let mut requests = self.round();
        assert_eq!((requests.len(), requests[0].len()), (1, 1), "{requests:?}");
        requests.remove(0).remove(0)
    }
}

fn sent(batch: &[Alert]) -> Vec<Value> {
    let labels = BTreeMap::from([("team".to_owned(), "storage".to_owned())]);
    let settings = AlertmanagerSettings::new("http://h", Access::default(), labels, None).unwrap();
    let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(9000);
    serde_json::from_slice(&payload(batch, &settings, "me", expires_at)).unwrap()
}

fn is_resolved(alert: &Value) -> bool {
    alert["endsAt"] != "1970-01-01T02:30:00.000Z"
}

fn mount(n: usize) -> Arc<Mount> {
    samples::mount(&format!("/mnt/{n}"), "nfs4", "host:/dir", "rw", "rw")
}

fn dead(n: usize, reason: Reason) -> MountStatus {
    samples::status_of(mount(n), Health::Dead(samples::failure(reason, None, 3.0)))
}

fn with_health(n: usize, health: Health) -> MountStatus {
    samples::status_of(mount(n), health)
}

#[test]
fn alert_fires_is_refreshed_and_resolved_with_the_same_labels() {
    let mut simulation = Simulation::new();
    assert_eq!(simulation.alerts.next_due(REFRESH), None);
    simulation.wait(10);
    simulation.update(vec![dead(1, Reason::Hung)]);
    assert!(simulation.alerts.next_due(REFRESH).unwrap() <= simulation.now() + Duration::from_millis(500));
    let alert = simulation.only_alert();
    let labels = json!({"alertname": "MountHung", "severity": "critical", "instance": "me",
        "job": "mount_status_monitor", "mountpoint": "/mnt/1", "device": "host:/dir", "fstype": "nfs4",
        "team": "storage"});
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"]["summary"], "/mnt/1 on me hangs");
    assert_eq!(alert["annotations"]["reason"], "hung");
    assert!(alert["annotations"]["description"].as_str().unwrap().starts_with("Mount failed health-check: "));
    assert_eq!(alert["startsAt"], "1970-01-01T00:16:40.000Z");
    assert!(!is_resolved(&alert));

    // Another reason or severity does not make another alert, and no change is not sent.
    assert_eq!(simulation.alerts.next_due(REFRESH), Some(simulation.now() + REFRESH));
    simulation.wait(5);
    simulation.severity = Some(Severity::Info);
    simulation.update(vec![dead(1, Reason::IoError)]);
    let changed = simulation.only_alert();
    assert_eq!((&changed["labels"], &changed["startsAt"]), (&labels, &alert["startsAt"]));
    assert_eq!(changed["annotations"]["reason"], "io_error");
    simulation.update(vec![dead(1, Reason::IoError)]);
    assert!(simulation.round().is_empty());

    simulation.wait(60);
    assert_eq!(simulation.only_alert(), changed, "it is refreshed");

    simulation.update(vec![with_health(1, Health::Ok)]);
    let resolved = simulation.only_alert();
    assert_eq!((&resolved["labels"], &resolved["startsAt"]), (&labels, &alert["startsAt"]));
    assert_eq!(resolved["endsAt"], "1970-01-01T00:17:55.000Z");
    assert!(simulation.round().is_empty() && simulation.alerts.next_due(REFRESH).is_none());
}

#[test]
fn alert_that_was_never_sent_is_not_resolved() {
    let mut simulation = Simulation::new();
    simulation.update(vec![dead(1, Reason::Stale)]);
    simulation.update(vec![]);
    assert!(simulation.round().is_empty());
    assert_eq!(simulation.alerts.next_due(REFRESH), None);
}

#[test]
fn resolved_alert_is_sent_until_it_is_accepted_or_expired() {
    let mut simulation = Simulation::new();
    simulation.wait(10);
    simulation.update(vec![dead(1, Reason::Stale), dead(2, Reason::Stale)]);
    assert_eq!(simulation.failing_round().len(), 2, "Alertmanager may have read the request");
    simulation.update(vec![dead(2, Reason::Stale)]);
    for _ in 0..3 {
        simulation.wait(60);
        assert_eq!(simulation.failing_round().len(), 2);
    }
    simulation.wait(3600);
    let alerts = simulation.round();
    assert_eq!(alerts[0].len(), 1, "by then it has expired: {alerts:?}");
    assert_eq!(alerts[0][0]["labels"]["mountpoint"], "/mnt/2");
    assert_eq!(alerts[0][0]["startsAt"], "1970-01-01T00:16:40.000Z");
}

#[test]
fn mount_that_is_not_dead_any_more_resolves_its_alert() {
    for end in [Health::Ok, Health::Hidden, Health::Pending, Health::Denied(platform::Errno::EACCES)] {
        let mut simulation = Simulation::new();
        simulation.update(vec![dead(1, Reason::Error)]);
        assert_eq!(simulation.only_alert()["labels"]["alertname"], "MountFailed");
        simulation.update(vec![with_health(1, end)]);
        assert!(is_resolved(&simulation.only_alert()));
        assert_eq!(simulation.alerts.firing(), 0);
    }
}

#[test]
fn slow_mount_is_a_warning_until_it_is_dead() {
    let mut simulation = Simulation::new();
    simulation.update(vec![with_health(1, Health::Slow)]);
    let alert = simulation.only_alert();
    assert_eq!(alert["labels"]["alertname"], "MountSlow");
    assert_eq!(alert["labels"]["severity"], "warning");
    simulation.severity = Some(Severity::Info);
    simulation.update(vec![dead(1, Reason::Hung)]);
    let mut alerts = simulation.round().remove(0);
    alerts.sort_by_key(|alert| alert["labels"]["alertname"].to_string());
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["labels"]["alertname"], "MountHung");
    assert_eq!(alerts[0]["labels"]["severity"], "info");
    assert!(!is_resolved(&alerts[0]) && is_resolved(&alerts[1]));
}

#[test]
fn problem_that_is_not_routed_to_alertmanager_has_no_alert() {
    let mut simulation = Simulation { severity: None, ..Simulation::new() };
    simulation.update(vec![dead(1, Reason::Hung)]);
    assert!(simulation.round().is_empty());
    simulation.severity = Some(Severity::Critical);
    simulation.update(vec![dead(1, Reason::Hung)]);
    assert!(!is_resolved(&simulation.only_alert()));
    simulation.severity = None;
    simulation.update(vec![dead(1, Reason::Hung)]);
    assert!(is_resolved(&simulation.only_alert()));
}

#[test]
fn mount_behind_a_hung_ancestor_begins_no_alert_but_keeps_one() {
    let blocked = |n| {
        let mut failure = samples::failure(Reason::Hung, None, 3.0);
        failure.blocked_by = Some("/mnt".into());
        samples::status_of(mount(n), Health::Dead(failure))
    };
    let mut simulation = Simulation::new();
    simulation.update(vec![dead(1, Reason::Hung), blocked(2)]);
    assert_eq!(simulation.only_alert()["labels"]["mountpoint"], "/mnt/1");
    simulation.update(vec![blocked(1), blocked(2)]);
    assert!(simulation.round().is_empty());
    assert_eq!(simulation.alerts.firing(), 1);
}

#[test]
fn moved_mount_ends_one_alert_and_begins_another() {
    let mut simulation = Simulation::new();
    simulation.update(vec![dead(1, Reason::Hung)]);
    let first = simulation.only_alert();
    simulation.update(vec![dead(2, Reason::Hung)]);
    let alerts = simulation.round().remove(0);
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["labels"]["mountpoint"], "/mnt/1");
    assert!(is_resolved(&alerts[0]) && !is_resolved(&alerts[1]));
    assert_eq!(alerts[1]["labels"]["mountpoint"], "/mnt/2");
    assert_eq!(alerts[1]["startsAt"], first["startsAt"]);
}

#[test]
fn relapse_before_the_end_is_accepted_is_the_same_alert() {
    let mut simulation = Simulation::new();
    simulation.update(vec![dead(1, Reason::Hung)]);
    let first = simulation.only_alert();
    simulation.update(vec![]);
    simulation.update(vec![dead(1, Reason::Stale)]);
    let again = simulation.only_alert();
    assert_eq!(again["labels"], first["labels"]);
    assert!(!is_resolved(&again));
}

#[test]
fn many_alerts_are_few_requests_and_refreshed_together() {
    let all = |n| (0..n).map(|n| dead(n, Reason::Hung)).collect::<Vec<_>>();
    let mut simulation = Simulation::new();
    simulation.update(all(300));
    assert_eq!(simulation.round().iter().map(Vec::len).collect::<Vec<_>>(), [300]);
    simulation.update(all(1300));
    assert_eq!(simulation.round().iter().map(Vec::len).collect::<Vec<_>>(), [500, 500]);
    simulation.wait(60);
    assert_eq!(simulation.round().iter().map(Vec::len).sum::<usize>(), 1300);
    assert_eq!(simulation.alerts.next_due(REFRESH), Some(simulation.now() + REFRESH));
}

#[test]
fn alerts_are_bounded_in_number_and_in_bytes() {
    let mut simulation = Simulation::new();
    let too_many = || (0..2 * MAX_ALERTS).map(|n| dead(n, Reason::Hung)).collect::<Vec<_>>();
    let dropped = simulation.update(too_many());
    let firing = simulation.alerts.firing();
    assert!(firing <= MAX_ALERTS && firing > MAX_ALERTS / 2, "{firing}");
    assert_eq!(dropped, (2 * MAX_ALERTS - firing) as u64);
    assert_eq!(simulation.update(too_many()), 0, "each is counted once");

    let mut simulation = Simulation::new();
    let long = "x".repeat(4000);
    let large = |n| {
        let mount = samples::mount(&format!("/{n}/{long}"), "nfs4", &long, "rw", "rw");
        samples::status_of(mount, Health::Dead(samples::failure(Reason::Hung, None, 3.0)))
    };
    simulation.update((0..1000).map(large).collect());
    let firing = simulation.alerts.firing();
    assert!(firing < MAX_BYTES / 16_000 && firing > MAX_BYTES / 64_000, "{firing}");
    // Alerts that end make room.
    simulation.round();
    simulation.update(vec![]);
    simulation.round();
    assert_eq!(simulation.update(vec![large(1000)]), 0);
    assert_eq!(simulation.alerts.firing(), 1);
}

#[test]
fn missing_mount_has_an_alert_until_it_is_found() {
    let mut simulation = Simulation::new();
    simulation.wait(10);
    let expected = |missing_since| {
        let expected = Expected::new("/mnt/1".into(), String::new(), String::new(), |_| true);
        let expected =
            vec![ExpectedStatus { expected: Arc::new(expected), missing_since, containing_mount: None }];
        Status { expected, ..Status::default() }
    };
    simulation.update_status(expected(Some(Time::after_start(Duration::from_secs(5)))));
    let alert = simulation.only_alert();
    assert_eq!(alert["labels"]["alertname"], "ExpectedMountMissing");
    assert_eq!(alert["labels"]["mountpoint"], "/mnt/1");
    assert_eq!(alert["labels"]["device"], Value::Null);
    assert_eq!(alert["annotations"]["summary"], "/mnt/1 on me is not mounted");
    assert_eq!(alert["startsAt"], "1970-01-01T00:16:45.000Z");
    simulation.update_status(expected(None));
    let resolved = simulation.only_alert();
    assert_eq!(resolved["labels"], alert["labels"]);
    assert!(is_resolved(&resolved));
}

#[test]
fn another_alertmanager_gets_everything_that_fires() {
    let mut simulation = Simulation::new();
    simulation.update(vec![dead(1, Reason::Hung), dead(2, Reason::Hung)]);
    simulation.round();
    simulation.update(vec![dead(1, Reason::Hung)]);
    simulation.alerts.mark_all_unsent(simulation.now());
    assert_eq!(simulation.only_alert()["labels"]["mountpoint"], "/mnt/1");
}
