//! Which alerts are sent, and when, with a simulated clock and Alertmanager.

use super::alert::{Alert, payload};
use super::set::{MAX_ALERTS, MAX_BYTES};
use super::*;
use crate::monitor::Severity;
use crate::monitor::remedy::{Mode, Outcome, RemedyReport};
use crate::monitor::{
    Expected, ExpectedStatus, Failure, Flapping, Health, MountStatus, OptionDifference, Reason, Status, Time,
    UnexpectedOptions,
};
use crate::output::http_client::Access;
use crate::render::remedy_messages::tests::planned;
use crate::render::remedy_state::tests::dead_with;
use crate::render::samples;
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
    /// After an update with these mounts.
    fn with(mounts: Vec<MountStatus>) -> Simulation {
        let (alerts, start, now) = (AlertSet::default(), Instant::now(), Duration::from_secs(10));
        let mut simulation = Simulation { alerts, start, now, severity: Some(Severity::Critical) };
        simulation.update(mounts);
        simulation
    }

    fn now(&self) -> Instant {
        self.start + self.now
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Applies a snapshot with these mounts; all have had their health for ten seconds.
    fn update(&mut self, mounts: Vec<MountStatus>) -> u64 {
        let since = Time::after_start(self.now.saturating_sub(Duration::from_secs(10)));
        let mounts = mounts.into_iter().map(|mount| MountStatus { since, ..mount }).collect();
        self.update_status(samples::status(mounts))
    }

    fn update_status(&mut self, status: Status) -> u64 {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1000) + self.now;
        let snapshot = Snapshot { at: Time::after_start(self.now), wall, ..samples::snapshot(status) };
        let now = self.now();
        self.alerts.update(now, &snapshot, |_| self.severity)
    }

    /// The requests of one round, all of which are accepted.
    fn round(&mut self) -> Vec<Vec<Value>> {
        let (start, mut requests) = (self.now(), Vec::new());
        loop {
            let batch = self.alerts.next_batch(start, start, REFRESH);
            if batch.is_empty() {
                return requests;
            }
            requests.push(sent(&batch));
            self.alerts.on_accepted(start, &batch);
        }
    }

    /// The only request of a round, which fails.
    fn failing_round(&mut self) -> Vec<Value> {
        sent(&self.alerts.next_batch(self.now(), self.now(), REFRESH))
    }

    /// The alerts of the only request of a round; checks their number.
    fn only_request<const N: usize>(&mut self) -> [Value; N] {
        let [request] = self.round().try_into().expect("one request");
        request.try_into().unwrap()
    }

    fn only_alert(&mut self) -> Value {
        let [alert] = self.only_request();
        alert
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

fn mount(n: usize, health: Health) -> MountStatus {
    samples::status_of(samples::mount(&format!("/mnt/{n}"), "nfs4", "host:/dir", "rw", "rw"), health)
}

fn dead(n: usize, reason: Reason) -> MountStatus {
    mount(n, Health::Dead(samples::failure(reason, None, 3.0).into()))
}

#[test]
fn alert_for_a_slow_mount_begins_when_that_is_reported() {
    let slow = |is_reported_slow| vec![MountStatus { is_reported_slow, ..mount(1, Health::Slow) }];
    let mut simulation = Simulation::with(slow(false));
    assert!(simulation.round().is_empty());
    simulation.update(slow(true));
    assert_eq!(simulation.only_alert()["labels"]["alertname"], "MountSlow");
    simulation.update(slow(false));
    simulation.wait(60);
    assert!(!is_resolved(&simulation.only_alert()));
    simulation.update(vec![mount(1, Health::Ok)]);
    assert!(is_resolved(&simulation.only_alert()));
}

#[test]
fn flapping_mount_has_one_alert_whatever_it_is_now() {
    let flapping = Some(Box::new(Flapping { since: samples::at(5.0), changes: 6, last: samples::at(9.0) }));
    let mut simulation =
        Simulation::with(vec![MountStatus { flapping: flapping.clone(), ..mount(1, Health::Ok) }]);
    let alert = simulation.only_alert();
    assert_eq!(alert["labels"]["alertname"], "MountFlapping");
    assert_eq!(alert["labels"]["severity"], "warning");
    simulation.update(vec![MountStatus { flapping, ..dead(1, Reason::Hung) }]);
    simulation.wait(60);
    assert_eq!(simulation.only_alert()["labels"], alert["labels"], "no alert about the hang begins");
    simulation.update(vec![dead(1, Reason::Hung)]);
    let [hung, steady] = simulation.only_request();
    assert_eq!(hung["labels"]["alertname"], "MountDead");
    assert!(!is_resolved(&hung) && is_resolved(&steady));
}

#[test]
fn unexpected_options_are_an_alert_of_their_own() {
    let mut simulation = Simulation::with(vec![]);
    let differences = vec![OptionDifference { expected: "rw".to_owned(), found: Some("ro".into()) }];
    let status = dead(1, Reason::Hung);
    let found = UnexpectedOptions { mount: Arc::clone(&status.mount), differences, since: samples::at(5.0) };
    let unexpected_options = vec![Arc::new(found)];
    simulation.update_status(Status { unexpected_options, ..samples::status(vec![status]) });
    let [hung, options] = simulation.only_request();
    assert_eq!(hung["labels"]["alertname"], "MountDead");
    assert_eq!(options["labels"]["alertname"], "MountUnexpectedOptions");
    assert_eq!(options["labels"]["severity"], "warning");
    let description = options["annotations"]["description"].as_str().unwrap();
    assert!(description.contains("(ro instead of rw; "), "{description}");
    simulation.update(vec![]);
    let ended = simulation.only_request::<2>();
    assert!(ended.iter().all(is_resolved));
}

#[test]
fn alert_fires_is_refreshed_and_resolved_with_the_same_labels() {
    let mut simulation = Simulation::with(vec![]);
    assert_eq!(simulation.alerts.next_due(REFRESH), None);
    simulation.update(vec![dead(1, Reason::Hung)]);
    assert!(simulation.alerts.next_due(REFRESH).unwrap() <= simulation.now() + Duration::from_millis(500));
    let alert = simulation.only_alert();
    let labels = json!({"alertname": "MountDead", "severity": "critical", "instance": "me",
        "job": "mount_status_monitor", "mountpoint": "/mnt/1", "device": "host:/dir", "fstype": "nfs4",
        "server": "host", "team": "storage"});
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"]["summary"], "/mnt/1 on me hangs");
    assert_eq!(alert["annotations"]["reason"], "hung");
    assert!(alert["annotations"]["description"].as_str().unwrap().starts_with("Mount failed health-check: "));
    assert_eq!(alert["startsAt"], "1970-01-01T00:16:40.000Z");
    assert!(!is_resolved(&alert));

    // Another reason or severity does not create another alert, and an unchanged alert is not sent.
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

    simulation.update(vec![mount(1, Health::Ok)]);
    let resolved = simulation.only_alert();
    assert_eq!((&resolved["labels"], &resolved["startsAt"]), (&labels, &alert["startsAt"]));
    assert_eq!(resolved["endsAt"], "1970-01-01T00:17:55.000Z");
    assert!(simulation.round().is_empty() && simulation.alerts.next_due(REFRESH).is_none());
}

#[test]
fn alert_says_what_is_done_about_a_dead_mount() {
    let mut simulation = Simulation::with(vec![]);
    let mut update = |last, is_running| {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1000) + simulation.now;
        let snapshot = Snapshot { wall, ..dead_with(Some(last), is_running) };
        let now = simulation.now();
        simulation.alerts.update(now, &snapshot, |_| Some(Severity::Critical));
        simulation.round()
    };
    let remedy = |requests: &[Vec<Value>]| {
        let alert = &requests[0][0];
        assert_eq!((requests.len(), &alert["labels"]["alertname"]), (1, &json!("MountDead")));
        alert["annotations"]["remedy"].as_str().unwrap().to_owned()
    };
    assert_eq!(remedy(&update(planned(Mode::Act), true)), "remedy under way: detach, verify");
    assert!(update(planned(Mode::Act), true).is_empty(), "nothing has changed");
    let gave_up =
        RemedyReport::Failed { outcome: Outcome::Failed, gave_up: true, advice: "x".repeat(10_000) };
    let sent = remedy(&update(gave_up, false));
    assert!(sent.starts_with("remedy gave up: xxx") && sent.len() < 600, "{sent}");
}

#[test]
fn alert_that_was_never_sent_is_not_resolved() {
    let mut simulation = Simulation::with(vec![dead(1, Reason::Stale)]);
    simulation.update(vec![]);
    assert!(simulation.round().is_empty());
    assert_eq!(simulation.alerts.next_due(REFRESH), None);
}

#[test]
fn resolved_alert_is_sent_until_it_is_accepted_or_expired() {
    let mut simulation = Simulation::with(vec![dead(1, Reason::Stale), dead(2, Reason::Stale)]);
    assert_eq!(simulation.failing_round().len(), 2, "Alertmanager may have read the request");
    simulation.update(vec![dead(2, Reason::Stale)]);
    for _ in 0..3 {
        simulation.wait(60);
        assert_eq!(simulation.failing_round().len(), 2);
    }
    simulation.wait(3600);
    let alert = simulation.only_alert(); // by then the other one has expired
    assert_eq!(alert["labels"]["mountpoint"], "/mnt/2");
    assert_eq!(alert["startsAt"], "1970-01-01T00:16:40.000Z");
}

#[test]
fn mount_that_is_not_dead_any_more_resolves_its_alert() {
    for end in [Health::Ok, Health::Hidden, Health::Pending, Health::Denied(platform::Errno::EACCES)] {
        let mut simulation = Simulation::with(vec![dead(1, Reason::Error)]);
        assert_eq!(simulation.only_alert()["labels"]["alertname"], "MountDead");
        simulation.update(vec![mount(1, end)]);
        assert!(is_resolved(&simulation.only_alert()));
        assert_eq!(simulation.alerts.firing(), 0);
    }
}

#[test]
fn unknown_mount_is_a_warning_until_it_is_judged() {
    let mut simulation = Simulation::with(vec![mount(1, Health::Unknown { was: "ok" })]);
    let alert = simulation.only_alert();
    assert_eq!(alert["labels"]["alertname"], "MountUnknown");
    assert_eq!(alert["labels"]["severity"], "warning");
    assert!(alert["annotations"]["summary"].as_str().is_some_and(|text| text.ends_with("cannot be judged")));
    simulation.update(vec![mount(1, Health::Ok)]);
    assert!(is_resolved(&simulation.only_alert()));
}

#[test]
fn slow_mount_is_a_warning_until_it_is_dead() {
    let mut simulation = Simulation::with(vec![mount(1, Health::Slow)]);
    let alert = simulation.only_alert();
    assert_eq!(alert["labels"]["alertname"], "MountSlow");
    assert_eq!(alert["labels"]["severity"], "warning");
    simulation.severity = Some(Severity::Info);
    simulation.update(vec![dead(1, Reason::Hung)]);
    let [hung, slow] = simulation.only_request();
    assert_eq!(hung["labels"]["alertname"], "MountDead");
    assert_eq!(hung["labels"]["severity"], "info");
    assert_eq!(slow["labels"], alert["labels"]);
    assert!(!is_resolved(&hung) && is_resolved(&slow));
}

#[test]
fn problem_that_is_not_routed_to_alertmanager_has_no_alert() {
    let mut simulation = Simulation::with(vec![]);
    for (severity, requests) in [(None, 0), (Some(Severity::Critical), 1), (None, 1), (None, 0)] {
        simulation.severity = severity;
        simulation.update(vec![dead(1, Reason::Hung)]);
        let sent = simulation.round();
        assert_eq!(sent.len(), requests);
        assert!(sent.iter().flatten().all(|alert| is_resolved(alert) == severity.is_none()));
    }
}

#[test]
fn mount_behind_a_hung_ancestor_begins_no_alert_but_keeps_one() {
    let blocked = |n| {
        let failure = samples::failure(Reason::Hung, None, 3.0);
        mount(n, Health::Dead(Failure { blocked_by: Some("/mnt".into()), ..failure }.into()))
    };
    let mut simulation = Simulation::with(vec![dead(1, Reason::Hung), blocked(2)]);
    assert_eq!(simulation.only_alert()["labels"]["mountpoint"], "/mnt/1");
    simulation.update(vec![blocked(1), blocked(2)]);
    assert!(simulation.round().is_empty());
    assert_eq!(simulation.alerts.firing(), 1);
}

#[test]
fn moved_mount_ends_one_alert_and_begins_another() {
    let mut simulation = Simulation::with(vec![dead(1, Reason::Hung)]);
    let before = simulation.only_alert();
    simulation.update(vec![dead(2, Reason::Hung)]);
    let [first, second] = simulation.only_request();
    assert_eq!(first["labels"], before["labels"]);
    assert!(is_resolved(&first) && !is_resolved(&second));
    assert_eq!(second["labels"]["mountpoint"], "/mnt/2");
    assert_eq!(second["startsAt"], before["startsAt"]);
}

#[test]
fn relapse_before_the_end_is_accepted_is_the_same_alert() {
    let mut simulation = Simulation::with(vec![dead(1, Reason::Hung)]);
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
    let sizes = |simulation: &mut Simulation| simulation.round().iter().map(Vec::len).collect::<Vec<_>>();
    let mut simulation = Simulation::with(all(300));
    assert_eq!(sizes(&mut simulation), [300]);
    simulation.update(all(1300));
    assert_eq!(sizes(&mut simulation), [500, 500]);
    simulation.wait(60);
    assert_eq!(sizes(&mut simulation).iter().sum::<usize>(), 1300);
    assert_eq!(simulation.alerts.next_due(REFRESH), Some(simulation.now() + REFRESH));
}

#[test]
fn alerts_are_bounded_in_number_and_in_bytes() {
    let too_many = || (0..2 * MAX_ALERTS).map(|n| dead(n, Reason::Hung)).collect::<Vec<_>>();
    let mut simulation = Simulation::with(vec![]);
    let dropped = simulation.update(too_many());
    let firing = simulation.alerts.firing();
    assert!(firing <= MAX_ALERTS && firing > MAX_ALERTS / 2, "{firing}");
    assert_eq!(dropped, (2 * MAX_ALERTS - firing) as u64);
    assert_eq!(simulation.update(too_many()), 0, "each is counted once");

    let long = "x".repeat(4000);
    let large = |n| {
        let mount = samples::mount(&format!("/{n}/{long}"), "nfs4", &long, "rw", "rw");
        samples::status_of(mount, Health::Dead(samples::failure(Reason::Hung, None, 3.0).into()))
    };
    let mut simulation = Simulation::with((0..1000).map(large).collect());
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
    let mut simulation = Simulation::with(vec![]);
    let status = |missing_since| {
        let expected = Arc::new(Expected::new("/mnt/1".into(), String::new(), String::new(), |_| true));
        let expected = vec![ExpectedStatus { expected, missing_since, containing_mount: None }];
        Status { expected, ..Status::default() }
    };
    simulation.update_status(status(Some(samples::at(5.0))));
    let alert = simulation.only_alert();
    assert_eq!(alert["labels"]["alertname"], "ExpectedMountMissing");
    assert_eq!(alert["labels"]["mountpoint"], "/mnt/1");
    assert_eq!(alert["labels"]["device"], Value::Null);
    assert_eq!(alert["annotations"]["summary"], "/mnt/1 on me is not mounted");
    assert_eq!(alert["startsAt"], "1970-01-01T00:16:45.000Z");
    simulation.update_status(status(None));
    let resolved = simulation.only_alert();
    assert_eq!(resolved["labels"], alert["labels"]);
    assert!(is_resolved(&resolved));
}

#[test]
fn another_alertmanager_gets_everything_that_fires() {
    let mut simulation = Simulation::with(vec![dead(1, Reason::Hung), dead(2, Reason::Hung)]);
    simulation.round();
    simulation.update(vec![dead(1, Reason::Hung)]);
    simulation.alerts.mark_all_unsent(simulation.now());
    assert_eq!(simulation.only_alert()["labels"]["mountpoint"], "/mnt/1");
}
