use super::*;
use crate::monitor::remedy::Outcome;
use crate::monitor::testing::mount;
use crate::monitor::{
    Counters, Durations, Expected, ExpectedStatus, FsCounters, Health, LastResponse, LastRun, MountSettings,
    MountStatus, ProbeSettings, Reason, Severity, Status, Time,
};
use crate::render::Snapshot;
use crate::render::parts::{PART_SIZE, Parts as _};
use crate::render::remedy_messages::tests::failed;
use crate::render::remedy_state::tests::dead_with;
use crate::render::samples::{self, at, failure, status_of};
use platform::{Errno, Mount, Usage};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn status(key: u64, path: &str, health: Health) -> MountStatus {
    MountStatus { last_response: None, ..status_of(Arc::new(mount(key, path)), health) }
}

fn dead(reason: Reason) -> Health {
    Health::Dead(failure(reason, None, 0.0).into())
}

fn snapshot(mounts: Vec<MountStatus>) -> Snapshot {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    Snapshot { wall, ..samples::snapshot(samples::status(mounts)) }
}

fn text(snapshot: &Snapshot) -> String {
    String::from_utf8(render(snapshot, MetricInputs::default())).unwrap()
}

fn lines<'a>(text: &'a str, family: &str) -> Vec<&'a str> {
    let of =
        |line: &&str| line.starts_with(&format!("{family}{{")) || line.starts_with(&format!("{family} "));
    text.lines().filter(of).collect()
}

#[test]
fn families_are_sorted_and_follow_the_naming_conventions() {
    assert!(FAMILIES.is_sorted_by(|a, b| a.name < b.name));
    for family in FAMILIES {
        assert!(family.labels.is_sorted(), "{}", family.name);
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.help.ends_with('.') && family.help.len() <= 110, "{}", family.name);
        let known = ["mountstatus_", "process_", "total_mountpoints", "dead_mountpoints"];
        assert!(known.iter().any(|start| family.name.starts_with(start)), "{}", family.name);
    }
}

#[test]
fn each_state_of_a_mount_has_its_series() {
    let usage = Usage { read_only: true, ..Usage::default() };
    let last = LastResponse { at: at(9.0), took: Duration::from_millis(250), usage: Some(usage) };
    let last_response = Some(last);
    let refused = Some(LastResponse { usage: None, ..last });
    let text = text(&snapshot(vec![
        MountStatus { last_response, ..status(1, "/ok", Health::Ok) },
        MountStatus { last_response, ..status(2, "/slow", Health::Slow) },
        status(3, "/hung", dead(Reason::Hung)),
        MountStatus { last_response: refused, ..status(4, "/eio", dead(Reason::IoError)) },
        status(5, "/denied", Health::Denied(Errno::EACCES)),
        status(6, "/new", Health::Pending),
        status(7, "/below", Health::Hidden),
        status(8, "/unknown", Health::Unknown { was: "ok" }),
    ]));
    let value = |family: &str, path: &str| {
        let found: Vec<_> = lines(&text, family)
            .into_iter()
            .filter(|l| l.contains(&format!("mountpoint=\"{path}\"")))
            .collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
    };
    let up = |path| value("mountstatus_mount_up", path);
    for (path, expected) in [
        ("/ok", "1"),
        ("/slow", "1"),
        ("/hung", "0"),
        ("/eio", "0"),
        ("/denied", "1"),
        ("/new", "1"),
        ("/unknown", "NaN"),
    ] {
        assert_eq!(up(path).as_deref(), Some(expected), "{path}");
        assert_eq!(value("mountstatus_mount_state_since_timestamp_seconds", path).unwrap(), "1699999998.25");
    }
    assert_eq!(up("/below"), None);
    assert_eq!(value("mountstatus_mount_slow", "/slow").unwrap(), "1");
    assert_eq!(value("mountstatus_mount_slow", "/ok").unwrap(), "0");
    assert_eq!(value("mountstatus_mount_readonly", "/ok").unwrap(), "1");
    assert_eq!(value("mountstatus_mount_probe_duration_seconds", "/eio").unwrap(), "0.25");
    assert_eq!(value("mountstatus_mount_probe_duration_seconds", "/hung"), None);
    assert_eq!(value("mountstatus_mount_last_success_timestamp_seconds", "/ok").unwrap(), "1699999999.25");
    assert_eq!(value("mountstatus_mount_last_success_timestamp_seconds", "/eio"), None);
    assert_eq!(
        lines(&text, "mountstatus_mount_failure"),
        [
            r#"mountstatus_mount_failure{device="tmpfs",fstype="tmpfs",mountpoint="/hung",reason="hung"} 1"#,
            r#"mountstatus_mount_failure{device="tmpfs",fstype="tmpfs",mountpoint="/eio",reason="io_error"} 1"#,
        ]
    );
    assert_eq!(
        (lines(&text, "total_mountpoints"), lines(&text, "dead_mountpoints")),
        (vec!["total_mountpoints 7"], vec!["dead_mountpoints 2"])
    );
    let states = ["pending", "ok", "slow", "hung", "failed", "denied", "unknown"];
    let counts = states.map(|state| format!("mountstatus_mounts{{state=\"{state}\"}} 1"));
    assert_eq!(lines(&text, "mountstatus_mounts"), counts);
}

#[test]
fn sizes_are_those_of_mounts_that_respond() {
    let usage =
        Usage { block_size: 4096, blocks: 100, available: 25, files: 7, files_free: 3, ..Usage::default() };
    let response = |usage| {
        let last = LastResponse { at: at(9.0), took: Duration::from_millis(1), usage: Some(usage) };
        MountStatus { last_response: Some(last), ..status(1, "/a", Health::Ok) }
    };
    let values = |mount: MountStatus| -> Vec<String> {
        let text = text(&snapshot(vec![mount]));
        ["size_bytes", "avail_bytes", "files", "files_free"]
            .iter()
            .flat_map(|name| {
                lines(&text, &format!("mountstatus_mount_{name}")).into_iter().map(str::to_owned)
            })
            .map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
            .collect()
    };
    assert_eq!(values(response(usage)), ["409600", "102400", "7", "3"]);
    assert_eq!(values(response(Usage { files: 0, ..usage })), ["409600", "102400"]);
    assert!(values(response(Usage { blocks: 0, files: 0, ..usage })).is_empty(), "a pseudo file system");
    assert!(values(MountStatus { health: dead(Reason::Hung), ..response(usage) }).is_empty());
    assert!(values(MountStatus { health: Health::Unknown { was: "ok" }, ..response(usage) }).is_empty());
}

#[test]
fn info_has_the_severity_and_the_server_of_a_mount() {
    let mut mount = status(1, "/a", Health::Pending);
    let from_server = Mount { fstype: "nfs4".into(), device: "nas:/\"a".into(), ..(*mount.mount).clone() };
    mount.mount = Arc::new(from_server);
    let probe = ProbeSettings { severity: Severity::Info, ..ProbeSettings::default() };
    mount.settings = Arc::new(MountSettings { probe, ..MountSettings::default() });
    let text = text(&snapshot(vec![mount, status(2, "/hidden", Health::Hidden)]));
    assert_eq!(
        lines(&text, "mountstatus_mount_info"),
        [
            r#"mountstatus_mount_info{device="nas:/\"a",fstype="nfs4",mountpoint="/a",mount_severity="info",server="nas"} 1"#
        ]
    );
}

#[test]
fn expected_mounts_have_the_severity_of_their_rule() {
    let expected = |path: &str, severity, missing_since| {
        let mut expected = Expected::new(path.into(), String::new(), String::new(), |_| true);
        expected.severity = severity;
        ExpectedStatus { expected: Arc::new(expected), missing_since, containing_mount: None }
    };
    let missing_since = Some(Time::default());
    let expected =
        vec![expected("/a", Severity::Critical, None), expected("/b", Severity::Warning, missing_since)];
    let snapshot = samples::snapshot(Status { expected, ..Status::default() });
    let series = |labels: &str| format!("mountstatus_expected_mount_missing{{{labels}}}");
    let [a, b] =
        [r#"mount_severity="critical",mountpoint="/a""#, r#"mount_severity="warning",mountpoint="/b""#];
    assert_eq!(
        lines(&text(&snapshot), "mountstatus_expected_mount_missing"),
        [series(a) + " 0", series(b) + " 1"]
    );
}

#[test]
fn counters_and_histograms() {
    let mut durations = Durations { sum: Duration::from_millis(1500), ..Durations::default() };
    (durations.buckets[0], durations.buckets[2], durations.buckets[12]) = (3, 1, 1);
    let mut failures = [0; 6];
    failures[Reason::Stale as usize] = 2;
    let one = FsCounters { fstype: "nfs4".into(), probes: 5, failures, durations };
    let other = FsCounters { fstype: "other".into(), probes: 1, ..FsCounters::default() };
    let counters = Counters { by_fstype: vec![other.clone(), one, other], moved: 4, ..Counters::default() };
    let last_run = Some(LastRun { at: at(8.0), took: Duration::from_millis(1250) });
    let status = Arc::new(Status { counters, last_run, ..Status::default() });
    let text = text(&Snapshot { status, ..snapshot(vec![]) });
    for line in [
        r#"mountstatus_probe_duration_seconds_bucket{fstype="nfs4",le="0.0005"} 3"#,
        r#"mountstatus_probe_duration_seconds_bucket{fstype="nfs4",le="0.005"} 4"#,
        r#"mountstatus_probe_duration_seconds_bucket{fstype="nfs4",le="10"} 4"#,
        r#"mountstatus_probe_duration_seconds_bucket{fstype="nfs4",le="+Inf"} 5"#,
        r#"mountstatus_probe_duration_seconds_sum{fstype="nfs4"} 1.5"#,
        r#"mountstatus_probe_duration_seconds_count{fstype="nfs4"} 5"#,
        r#"mountstatus_probes_total{fstype="other"} 2"#,
        r#"mountstatus_probe_failures_total{fstype="nfs4",reason="stale"} 2"#,
        r#"mountstatus_probe_failures_total{fstype="nfs4",reason="hung"} 0"#,
        r#"mountstatus_mount_events_total{event="moved"} 4"#,
        r#"mountstatus_mount_events_total{event="mounted"} 0"#,
        r#"mountstatus_mount_events_total{event="flapping"} 0"#,
        r#"mountstatus_mount_events_total{event="steady"} 0"#,
        "mountstatus_last_run_timestamp_seconds 1699999998.25",
        "mountstatus_run_duration_seconds 1.25",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert_eq!(lines(&text, "mountstatus_push_failures_total").len(), 0);
}

#[test]
fn remedies_have_series_only_with_rules() {
    let names =
        ["mountstatus_remedies_total", "mountstatus_remedy_steps_total", "mountstatus_mount_remedy_gave_up"];
    let series = |snapshot: &Snapshot| {
        let text = text(snapshot);
        let found = names.iter().flat_map(|name| lines(&text, name).into_iter().map(str::to_owned));
        found.collect::<Vec<_>>()
    };
    assert_eq!(series(&snapshot(vec![status(1, "/a", dead(Reason::Hung))])), [""; 0]);
    let labels = r#"device="nas:/a",fstype="nfs4",mountpoint="/mnt/a""#;
    let expected = |gave_up| {
        [
            r#"mountstatus_remedies_total{outcome="dry_run"} 0"#.to_owned(),
            r#"mountstatus_remedies_total{outcome="failed"} 2"#.to_owned(),
            r#"mountstatus_remedies_total{outcome="refused"} 1"#.to_owned(),
            r#"mountstatus_remedies_total{outcome="remedied"} 0"#.to_owned(),
            "mountstatus_remedy_steps_total 0".to_owned(),
            format!("mountstatus_mount_remedy_gave_up{{{labels}}} {gave_up}"),
        ]
    };
    assert_eq!(series(&dead_with(Some(failed(Outcome::Failed, true)), false)), expected(1));
    assert_eq!(series(&dead_with(Some(failed(Outcome::Failed, false)), false)), expected(0));
}

#[test]
fn names_are_escaped_and_series_are_unique() {
    let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let named = |key, path: &[u8], health| {
        let entry =
            Mount { mountpoint: odd(path).into(), device: odd(b"h:/\xe9\"\\").into(), ..mount(key, "") };
        MountStatus { mount: Arc::new(entry), ..status(key, "", health) }
    };
    let text = text(&snapshot(vec![
        named(1, b"/latin \xff", Health::Ok),
        named(2, "/Grüße\n".as_bytes(), Health::Ok),
        named(3, b"/twice", Health::Ok),
        named(4, b"/twice", dead(Reason::Hung)),
        named(5, b"/twice", Health::Hidden),
    ]));
    let device = r#"device="h:/\\351\"\\134",fstype="tmpfs""#;
    assert_eq!(
        lines(&text, "mountstatus_mount_up"),
        [
            format!(r#"mountstatus_mount_up{{{device},mountpoint="/latin \\377"}} 1"#),
            format!(r#"mountstatus_mount_up{{{device},mountpoint="/Grüße\\012"}} 1"#),
            format!(r#"mountstatus_mount_up{{{device},mountpoint="/twice"}} 0"#),
        ]
    );
    let series: Vec<&str> =
        text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(series.iter().collect::<BTreeSet<_>>().len(), series.len());
}

#[test]
fn long_labels_are_shortened_and_differ() {
    let path = |middle: char| format!("/{}{middle}{}/end", "é/".repeat(900), "x/".repeat(900));
    let mounts = ['a', 'b'].map(|middle| status(u64::from(middle), &path(middle), Health::Ok));
    let text = text(&snapshot(mounts.into()));
    let series = lines(&text, "mountstatus_mount_up");
    assert_eq!(series.len(), 2, "{series:?}");
    assert!(series.iter().all(|line| line.len() < 700 && line.ends_with("/x//end\"} 1")), "{series:?}");
}

#[test]
fn inputs_that_are_set_have_series() {
    let snapshot = snapshot(vec![status(1, "/a", Health::Ok)]);
    let inputs = MetricInputs {
        files_left_behind: 1,
        dropped_messages: [("syslog", 7)].into(),
        push: Some(PushStats::default()),
        hooks: vec![HookStats { name: "chat".into(), runs: vec![("ok", 3)], waiting: 2, stranded: 1 }],
        alertmanager: Some(AlertmanagerStats { accepted: 5, firing: 1, ..AlertmanagerStats::default() }),
        process: platform::process_stats(),
    };
    let text = String::from_utf8(render(&snapshot, inputs)).unwrap();
    for line in [
        "total_mountpoints 1",
        "dead_mountpoints 0",
        r#"mountstatus_messages_dropped_total{sink="syslog"} 7"#,
        "mountstatus_push_failures_total 0",
        "mountstatus_push_last_success_timestamp_seconds 0",
        "mountstatus_files_left_behind 1",
        r#"mountstatus_hook_runs_total{hook="chat",outcome="ok"} 3"#,
        r#"mountstatus_hook_events_waiting{hook="chat"} 2"#,
        r#"mountstatus_hook_commands_stranded{hook="chat"} 1"#,
        r#"mountstatus_alertmanager_requests_total{outcome="ok"} 5"#,
        "mountstatus_alertmanager_alerts_firing 1",
        &format!(r#"mountstatus_build_info{{revision="{REVISION}",version="{VERSION}"}} 1"#),
    ] {
        assert!(text.contains(&format!("\n{line}\n")) || text.starts_with(line), "{line} is not in\n{text}");
    }
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    let without = String::from_utf8(render(&snapshot, MetricInputs::default())).unwrap();
    for name in ["process_", "_push_", "_hook_", "_alertmanager_", "_messages_dropped_"] {
        assert!(!without.contains(name), "{name}");
    }
}

/// Who sends the text holds a part of it.
#[test]
fn parts_are_small_and_together_the_whole_text() {
    let path = |n: u64| format!("/{}/{n}", "long".repeat(100));
    let health = |n: u64| if n.is_multiple_of(3) { dead(Reason::Hung) } else { Health::Ok };
    let snapshot = snapshot((0..1_000).map(|n| status(n, &path(n), health(n))).collect());
    let whole = render(&snapshot, MetricInputs::default());
    let mut parts = MetricsText::new(&snapshot, MetricInputs::default());
    let (mut joined, mut part, mut count) = (Vec::new(), Vec::new(), 0);
    while parts.write(&mut part, PART_SIZE) {
        assert!((PART_SIZE..PART_SIZE + 2_048).contains(&part.len()), "{}", part.len());
        joined.append(&mut part);
        count += 1;
    }
    joined.append(&mut part);
    assert!(count > 10 && joined == whole, "{count} parts, {} of {} bytes", joined.len(), whole.len());
}
