//! The set of alerts, on a clock of the tests.

use super::set::{MAX_ALERTS, MAX_BYTES};
use super::*;
use crate::monitor::{Expected, Failure, Reason};
use crate::output::http_client::Credentials;
use crate::render::messages;
use crate::render::samples;
use platform::Mount;
use serde_json::Value;
use std::collections::BTreeMap;

const REFRESH: Duration = Duration::from_secs(60);

/// A set, and its two clocks.
struct World {
    set: Set,
    start: Instant,
    now: Duration,
}

impl World {
    fn new() -> World {
        World { set: Set::default(), start: Instant::now(), now: Duration::ZERO }
    }

    fn now(&self) -> Instant {
        self.start + self.now
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn told(&mut self, event: Event) -> bool {
        self.told_as(event, "critical", true)
    }

    fn told_as(&mut self, event: Event, severity: &'static str, may_tell: bool) -> bool {
        let (priority, text) = messages::line(&event);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000) + self.now;
        let message = Message { time, priority, text, event: None };
        let now = self.now();
        take_in(&mut self.set, now, &event, &message, severity, may_tell)
    }

    /// One round, every request of which is accepted.
    fn round(&mut self) -> Vec<Vec<Value>> {
        let (begun, mut requests) = (self.now(), Vec::new());
        while let Some(batch) = self.set.batch(begun, begun, REFRESH) {
            requests.push(posted(&batch));
            self.set.accepted(begun, &batch);
        }
        requests
    }

    /// One round, whose first request fails.
    fn failing_round(&mut self) -> Option<Vec<Value>> {
        let begun = self.now();
        self.set.batch(begun, begun, REFRESH).map(|batch| posted(&batch))
    }

    fn one(&mut self) -> Value {
        let mut requests = self.round();
        assert_eq!((requests.len(), requests[0].len()), (1, 1), "{requests:?}");
        requests.remove(0).remove(0)
    }
}

fn to(labels: &[(&str, &str)]) -> Alertmanager {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Alertmanager::new("http://h", Credentials::None, None, labels, None).unwrap()
}

fn posted(batch: &Batch) -> Vec<Value> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(5000);
    let body = body(&batch.alerts, &to(&[("team", "storage")]), "me", now, REFRESH * EXPIRES_AFTER);
    serde_json::from_slice(&body).unwrap()
}

fn mount(n: usize) -> Arc<Mount> {
    samples::mount(&format!("/mnt/{n}"), "nfs4", "host:/dir", "rw", "rw")
}

fn failed(mount: Arc<Mount>, reason: Reason) -> Event {
    Event::Failed { mount, failure: failure(reason) }
}

fn still(mount: Arc<Mount>, reason: Reason, lasted: u64) -> Event {
    Event::StillFailing { mount, failure: failure(reason), lasted: Duration::from_secs(lasted) }
}

fn failure(reason: Reason) -> Failure {
    samples::failure(reason, None, 3.0)
}

fn recovered(mount: Arc<Mount>) -> Event {
    let lasted = Duration::from_secs(10);
    Event::Recovered { mount, lasted, took: Duration::ZERO, was: "hung" }
}

fn slow(mount: Arc<Mount>) -> Event {
    let second = Duration::from_secs(1);
    Event::Slow { mount, took: second, slow_after: second }
}

#[test]
fn an_alert_from_its_beginning_to_its_end() {
    let mut world = World::new();
    assert_eq!(world.set.due(REFRESH), None);
    world.told(failed(mount(1), Reason::Hung));
    assert!(world.set.due(REFRESH).unwrap() <= world.now() + Duration::from_millis(500));
    let alert = world.one();
    let labels = serde_json::json!({"alertname": "MountHung", "severity": "critical", "instance": "me",
        "job": "mount_status_monitor", "mountpoint": "/mnt/1", "device": "host:/dir", "fstype": "nfs4",
        "team": "storage"});
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"]["summary"], "/mnt/1 on me hangs");
    assert_eq!(alert["annotations"]["reason"], "hung");
    assert!(alert["annotations"]["description"].as_str().unwrap().starts_with("Mount failed health-check: "));
    assert_eq!(alert["startsAt"], "1970-01-01T00:16:40.000Z");
    assert_eq!(alert["endsAt"], "1970-01-01T01:27:20.000Z", "four refreshes from now");

    // Another reason is the same alert.
    assert_eq!(world.set.due(REFRESH), Some(world.now() + REFRESH));
    world.wait(5);
    world.told(still(mount(1), Reason::IoError, 5));
    let changed = world.one();
    assert_eq!((&changed["labels"], &changed["startsAt"]), (&labels, &alert["startsAt"]));
    assert_eq!(changed["annotations"]["reason"], "io_error");

    // Refreshed, not repeated.
    assert!(world.round().is_empty());
    world.wait(60);
    assert_eq!(world.one(), changed);

    world.told(recovered(mount(1)));
    let over = world.one();
    assert_eq!((&over["labels"], &over["startsAt"]), (&labels, &alert["startsAt"]));
    assert_eq!(over["endsAt"], "1970-01-01T00:17:45.000Z");
    assert!(world.round().is_empty() && world.set.due(REFRESH).is_none());
}

#[test]
fn what_nobody_heard_of_is_not_resolved() {
    let mut world = World::new();
    world.told(failed(mount(1), Reason::Stale));
    world.told(recovered(mount(1)));
    assert!(world.round().is_empty());
    assert_eq!(world.set.due(REFRESH), None);
}

#[test]
fn a_resolution_is_sent_until_it_is_accepted_or_out_of_date() {
    let mut world = World::new();
    world.told(failed(mount(1), Reason::Stale));
    world.told(failed(mount(2), Reason::Stale));
    assert_eq!(world.failing_round().unwrap().len(), 2, "it may have been taken all the same");
    world.told(recovered(mount(1)));
    for _ in 0..3 {
        world.wait(60);
        assert_eq!(world.failing_round().unwrap().len(), 2);
    }
    world.wait(3600);
    let alerts = world.round();
    assert_eq!(alerts[0].len(), 1, "by then it has expired by itself: {alerts:?}");
    assert_eq!(alerts[0][0]["labels"]["mountpoint"], "/mnt/2");
    assert_eq!(alerts[0][0]["startsAt"], "1970-01-01T00:16:40.000Z");
}

#[test]
fn whatever_ends_a_death_ends_its_alert() {
    let health = Health::Ok;
    for end in [
        Event::Unmounted { mount: mount(1), health, lasted: Duration::ZERO },
        Event::Denied { mount: mount(1), errno: platform::Errno::EACCES, call: platform::Call::Statfs },
        recovered(mount(1)),
    ] {
        let mut world = World::new();
        world.told(failed(mount(1), Reason::Error));
        assert_eq!(world.one()["labels"]["alertname"], "MountFailed");
        // Even if it may not tell anybody itself.
        world.told_as(end, "critical", false);
        assert!(world.one()["endsAt"].as_str().unwrap() < "1970-01-01T01:00");
        assert_eq!(world.set.count_firing(), 0);
    }
}

#[test]
fn slow_is_a_warning_and_gives_way_to_dead() {
    let mut world = World::new();
    world.told(slow(mount(1)));
    let alert = world.one();
    assert_eq!(
        (&alert["labels"]["alertname"], &alert["labels"]["severity"]),
        (&"MountSlow".into(), &"warning".into())
    );
    world.told_as(failed(mount(1), Reason::Hung), "info", true);
    let mut alerts = world.round().remove(0);
    alerts.sort_by_key(|alert| alert["labels"]["alertname"].to_string());
    assert_eq!(alerts.len(), 2);
    assert_eq!(
        (&alerts[0]["labels"]["alertname"], &alerts[0]["labels"]["severity"]),
        (&"MountHung".into(), &"info".into())
    );
    assert!(alerts[1]["endsAt"].as_str().unwrap() < "1970-01-01T01:00", "{}", alerts[1]);
}

#[test]
fn a_reminder_is_enough_and_knows_the_beginning() {
    let mut world = World::new();
    world.wait(500);
    world.told_as(still(mount(1), Reason::Hung, 400), "critical", false);
    assert!(world.round().is_empty(), "a rule says that nobody is told");
    world.told(still(mount(1), Reason::Hung, 400));
    assert_eq!(world.one()["startsAt"], "1970-01-01T00:18:20.000Z");
}

#[test]
fn a_moved_mount_takes_its_alert_along() {
    let mut world = World::new();
    world.told(failed(mount(1), Reason::Hung));
    world.one();
    world.told(Event::Moved { mount: mount(2), from: "/mnt/1".into() });
    let alerts = world.round().remove(0);
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["labels"]["mountpoint"], "/mnt/1");
    assert!(alerts[0]["endsAt"].as_str().unwrap() < "1970-01-01T01:00");
    assert_eq!(
        (&alerts[1]["labels"]["mountpoint"], &alerts[1]["startsAt"]),
        (&"/mnt/2".into(), &alerts[0]["startsAt"])
    );
}

#[test]
fn a_relapse_before_its_end_was_told_is_the_same_alert() {
    let mut world = World::new();
    world.told(failed(mount(1), Reason::Hung));
    let first = world.one();
    world.told(recovered(mount(1)));
    world.told(failed(mount(1), Reason::Stale));
    let again = world.one();
    assert_eq!(again["labels"], first["labels"]);
    assert_eq!(again["endsAt"], first["endsAt"]);
}

#[test]
fn many_that_die_together_are_few_requests_and_refreshed_together() {
    let mut world = World::new();
    for n in 0..300 {
        world.told(failed(mount(n), Reason::Hung));
    }
    assert_eq!(world.round().iter().map(Vec::len).collect::<Vec<_>>(), [300]);
    for n in 300..1300 {
        world.told(failed(mount(n), Reason::Hung));
    }
    assert_eq!(world.round().iter().map(Vec::len).collect::<Vec<_>>(), [500, 500]);
    world.wait(60);
    assert_eq!(world.round().iter().map(Vec::len).sum::<usize>(), 1300);
    assert_eq!(world.set.due(REFRESH), Some(world.now() + REFRESH));
}

#[test]
fn it_is_bounded() {
    let mut world = World::new();
    let told = (0..2 * MAX_ALERTS).filter(|n| world.told(failed(mount(*n), Reason::Hung))).count();
    assert!(told <= MAX_ALERTS && told > MAX_ALERTS / 2, "{told}");
    let mut world = World::new();
    let long = "x".repeat(4000);
    let large = |n| samples::mount(&format!("/{n}/{long}"), "nfs4", &long, "rw", "rw");
    let told = (0..1000).filter(|n| world.told(failed(large(*n), Reason::Hung))).count();
    assert!(told < MAX_BYTES / 16_000 && told > MAX_BYTES / 64_000, "{told}");
    // And what goes makes room.
    assert!(!world.told(failed(large(MAX_ALERTS), Reason::Hung)));
    world.round();
    for n in 0..told {
        world.told(recovered(large(n)));
    }
    world.round();
    assert!(world.told(failed(large(MAX_ALERTS), Reason::Hung)));
}

#[test]
fn what_is_missing_is_an_alert_until_it_is_found() {
    let mut world = World::new();
    let expected = || Arc::new(Expected::new("/mnt/1".into(), String::new(), String::new(), |_| true));
    world.told(Event::Missing { expected: expected(), containing_mount: None });
    let alert = world.one();
    assert_eq!(
        (&alert["labels"]["alertname"], &alert["labels"]["mountpoint"], &alert["labels"]["device"]),
        (&"ExpectedMountMissing".into(), &"/mnt/1".into(), &Value::Null)
    );
    assert_eq!(alert["annotations"]["summary"], "/mnt/1 on me is not mounted");
    let lasted = Duration::from_secs(5);
    world.told(Event::Found { expected: expected(), mount: mount(1), lasted });
    let over = world.one();
    assert_eq!(over["labels"], alert["labels"]);
    assert!(over["endsAt"].as_str().unwrap() < "1970-01-01T01:00");
}

#[test]
fn somebody_new_is_told_everything_that_fires() {
    let mut world = World::new();
    world.told(failed(mount(1), Reason::Hung));
    world.told(failed(mount(2), Reason::Hung));
    world.round();
    world.told(recovered(mount(2)));
    world.set.tell_all(world.now());
    assert_eq!(world.one()["labels"]["mountpoint"], "/mnt/1");
}

#[test]
fn a_look_at_all_mounts_ends_what_no_event_ended() {
    let alerting = Alerting::default();
    alerting.adopt(Some(to(&[])));
    let dead = |n| samples::status_of(mount(n), Health::Dead(failure(Reason::Hung)));
    for n in 0..3 {
        let event = failed(mount(n), Reason::Hung);
        let (priority, text) = messages::line(&event);
        let message = Message { time: SystemTime::now(), priority, text, event: Some(event.clone()) };
        alerting.offer(&event, &Payload { message: Arc::new(message), severity: "critical" }, true);
    }
    alerting.settle(|| samples::status(vec![dead(0), dead(1), dead(2)]));
    assert_eq!(alerting.count().unwrap().firing, 3);
    alerting.settle(|| samples::status(vec![dead(0), samples::status_of(mount(1), Health::Hidden)]));
    assert_eq!(alerting.count().unwrap().firing, 1);
    alerting.adopt(None);
    assert_eq!((alerting.count(), alerting.is_busy()), (None, false));
}
