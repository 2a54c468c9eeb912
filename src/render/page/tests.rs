use super::*;
use crate::monitor::remedy::{Outcome, RemedyReport};
use crate::monitor::{Expected, ExpectedStatus, Reason, Status};
use crate::render::remedy_messages::tests::failed;
use crate::render::remedy_state::tests::dead_with;
use crate::render::samples::{self, at, failure, mount, status_of};
use crate::render::table::tests::sample;
use crate::render::{Priority, messages};
use std::time::SystemTime;

const ROW: &str = "<tr role=\"row\"><td";

fn query(text: &str) -> PageQuery {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    PageQuery::new(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>())
}

fn html(snapshot: &Snapshot, parameters: &str) -> String {
    let query = query(parameters);
    StatusPage { snapshot, history: &[], other_events: &[], host: "<h>", query: &query }.html()
}

/// The mount points of the table, in its order.
fn paths(html: &str) -> Vec<&str> {
    let cells = html.split("scope=\"row\" class=\"path\">").skip(1);
    cells.map(|cell| cell.split('<').next().unwrap()).collect()
}

fn dead(path: &str, device: &str) -> MountStatus {
    let health = Health::Dead(failure(Reason::Hung, None, 3.0).into());
    status_of(mount(path, "nfs4", device, "rw", "rw"), health)
}

#[test]
fn page_shows_dead_mounts_filtered_rows_and_escapes_text() {
    let snapshot = Snapshot { at: at(12.0), ..samples::snapshot(sample()) };
    let page = html(&snapshot, "");
    for part in [
        "<title>(2 dead) Mounts on &lt;h&gt;</title>",
        "6 mounts; 2 dead; 1 slow; 1 cannot be checked;",
        "<b>hung: no response in 3s</b> · <time datetime=\"1970-01-01T00:01:36.000Z\"",
        "<p class=\"evidence\">NFS server 10.0.0.5:2049 refuses connections; 14 tasks blocked: bash[311], ",
        ">found 12s ago</time>",
        "class=\"badge failed\">failed ESTALE</span>",
        "Nothing has failed since the start of the daemon",
        "No events yet",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert_eq!(page.matches(ROW).count(), 7);
    assert!(page.find("/mnt/hung</th>") < page.find("/mnt/日本</th>"), "{page}");
    let filtered = html(&snapshot, "q=ESTALE nfs\"");
    assert!(filtered.contains("value=\"ESTALE nfs&quot;\"") && filtered.contains("0 of 7 mounts match"));
    assert!(filtered.contains("2 mounts are dead") && filtered.contains("the filter matches none of them"));
    let filtered = html(&snapshot, "q=estale nfs");
    assert_eq!(filtered.matches(ROW).count(), 1);
    assert!(filtered.contains("1 more do not match the filter") && !filtered.contains("bash[311]"));
}

#[test]
fn page_shows_the_next_steps_of_a_diagnosis() {
    let snapshot = samples::snapshot(sample());
    let page = html(&snapshot, "");
    let dead = snapshot.status.mounts.iter().filter(|mount| mount.health.failure().is_some());
    for mount in dead {
        let diagnosis = crate::render::diagnosis::json(mount, &snapshot);
        let diagnosis: serde_json::Value = serde_json::from_str(&diagnosis).unwrap();
        let steps = diagnosis["next_steps"].as_array().unwrap();
        assert!(!steps.is_empty());
        for text in
            steps.iter().flat_map(|step| [&step["command"], &step["effect"]]).filter_map(|t| t.as_str())
        {
            assert!(page.contains(&Html(text).to_string()), "{text} is not in\n{page}");
        }
    }
    assert_eq!(page.matches("<details data-key=\"/").count(), 2);
    assert_eq!(page.matches(" open><summary>Next steps").count(), 2, "there are few");
    let many = (0..4).map(|n| dead_n(n, "nas:/e")).collect();
    assert_eq!(html(&samples::snapshot(samples::status(many)), "").matches(" open><").count(), 0);
}

fn dead_n(n: u64, device: &str) -> MountStatus {
    let mut status = dead(&format!("/n{n}"), device);
    Arc::make_mut(&mut status.mount).key = platform::MountKey(n);
    status
}

#[test]
fn page_is_bounded_and_shows_problems_first() {
    let healthy = (0..10_000).map(|n| {
        let mut status = status_of(mount(&format!("/a{n:05}"), "ext4", "/dev/sda", "rw", "rw"), Health::Ok);
        Arc::make_mut(&mut status.mount).key = platform::MountKey(n);
        status
    });
    let dead = (20_000..20_300).map(|n| dead_n(n, "nas:/e"));
    let snapshot = samples::snapshot(samples::status(healthy.chain(dead).collect()));
    let page = html(&snapshot, "");
    let shown = paths(&page);
    assert_eq!((shown.len(), shown[0], shown[299], shown[300]), (500, "/n20000", "/n20299", "/a00000"));
    assert!(page.contains("the first 500 of 10300 are shown") && page.contains("and 250 more"));
    assert_eq!(page.matches("<details data-key").count(), 50);
    assert!(page.len() < 700_000, "{} bytes", page.len());
    let second = html(&snapshot, "page=2&sort=path");
    assert_eq!((paths(&second)[0], paths(&second).len()), ("/a00500", 500));
    assert!(second.contains("501 to 1000 of 10300 are shown"));
    assert!(second.contains("href=\"?sort=path&amp;page=3\"") && second.contains("href=\"?sort=path\""));
    let last = html(&snapshot, "page=99999999999999999");
    assert_eq!(paths(&last).len(), 300);
    // A page of another number is not known; that of a selection has its parameters.
    assert!(html(&snapshot, "page=0").contains("page=0 is not known and ignored"));
    let selected = html(&snapshot, "q=a b&server=&state=ok&q=/a0 \"&'");
    assert!(selected.contains("value=\"/a0 &quot;\""), "the last counts, without blanks at its ends");
    assert!(html(&snapshot, "state=ok&q=%&").contains("0 of 10300 mounts match"));
}

#[test]
fn mounts_are_selected_by_state_and_server_and_ordered() {
    let ext4 = |path: &str, health| status_of(mount(path, "ext4", "/dev/sda1", "rw", "rw"), health);
    let mut mounts = vec![
        ext4("/b", Health::Ok),
        dead("/c", "nas2:/e"),
        dead("/d", "nas1:/e"),
        ext4("/a", Health::Slow),
        status_of(mount("/e", "cifs", "//NAS1/x", "rw", "rw"), Health::Ok),
        ext4("/u", Health::Unknown { was: "ok" }),
        ext4("/h", Health::Hidden),
    ];
    mounts[4].since = at(9.5);
    mounts[0].since = at(9.0);
    let snapshot = samples::snapshot(samples::status(mounts));
    for (parameters, expected) in [
        ("", &["/c", "/d", "/u", "/a", "/b", "/e", "/h"][..]),
        ("sort=state", &["/c", "/d", "/u", "/a", "/b", "/e", "/h"]),
        ("state=", &["/c", "/d", "/u", "/a", "/b", "/e", "/h"]),
        ("state=problems", &["/c", "/d", "/u", "/a"]),
        ("state=dead", &["/c", "/d"]),
        ("state=hung&q=%20", &[]),
        ("state=failed", &[]),
        ("state=missing", &[]),
        ("state=ok&sort=path", &["/b", "/e"]),
        ("server=nas1", &["/d", "/e"]),
        ("state=dead&server=nas1&q=nfs&sort=since", &["/d"]),
        ("server=nas", &[]),
        ("sort=since", &["/e", "/b", "/a", "/c", "/d", "/h", "/u"]),
        ("sort=path", &["/a", "/b", "/c", "/d", "/e", "/h", "/u"]),
        ("sort=latency", &["/c", "/d", "/a", "/b", "/e", "/h", "/u"]),
        ("sort=server", &["/e", "/d", "/c", "/u", "/a", "/b", "/h"]),
        ("sort=use", &["/a", "/b", "/e", "/c", "/d", "/h", "/u"]),
    ] {
        assert_eq!(paths(&html(&snapshot, parameters)), expected, "{parameters}");
    }
    let page = html(&snapshot, "state=dead&server=nas1&sort=since");
    for part in [
        "<option value=\"dead\" selected>",
        "<option value=\"nas1\" selected>",
        "<option value=\"nas2\">",
        "<option value=\"since\" selected>",
        "1 of 7 mounts match (<a href=\"?\">show all</a>)",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
}

#[test]
fn names_and_parameters_are_escaped_everywhere() {
    let evil = "<script>alert(1)</script>\"'&";
    let mut status = dead(&format!("/{evil}"), &format!("{evil}:/x"));
    Arc::make_mut(&mut status.mount).fstype = format!("nfs4{evil}").as_str().into();
    let nfs = dead(&format!("/{evil}2"), &format!("{evil}:/x"));
    let origin = format!("rule of {evil}");
    let path = std::path::PathBuf::from(format!("/{evil}m"));
    let expected = Arc::new(Expected::new(path, evil.to_owned(), origin, |_| false));
    let missing = ExpectedStatus { expected, missing_since: Some(at(1.0)), containing_mount: None };
    let mounts = Status { expected: vec![missing], ..samples::status(vec![status, nfs]) };
    let text = evil.to_owned();
    let time = SystemTime::UNIX_EPOCH;
    let event = Arc::new(Message { time, priority: Priority::Error, text, event: None });
    let query = query(&format!("q={evil}&server={evil}&state={evil}&sort={evil}&{evil}={evil}&page={evil}"));
    let page = StatusPage {
        snapshot: &samples::snapshot(mounts),
        history: &[Arc::clone(&event)],
        other_events: &[event],
        host: evil,
        query: &query,
    };
    let page = page.html();
    assert_eq!(page.matches("<script>").count(), 1, "that of the page");
    assert!(!page.contains("alert(1)</script>") && !page.contains("\"'&\""), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
}

#[test]
fn page_does_not_call_unknown_mounts_well() {
    let unknown = mount("/u", "nfs4", "nas:/u", "rw", "rw");
    let unknown = status_of(unknown, Health::Unknown { was: "ok" });
    let snapshot = samples::snapshot(samples::status(vec![unknown]));
    let page = html(&snapshot, "");
    assert!(page.contains("1 mount could not be judged") && page.contains("unknown (was ok)"), "{page}");
    assert!(!page.contains(">No mount is dead<"), "{page}");
}

#[test]
fn badge_stays_short_and_the_age_is_beside_it() {
    let mut old = dead("/d", "nas:/e");
    old.flapping = Some(Box::new(crate::monitor::Flapping { since: at(1.0), changes: 9, last: at(9.0) }));
    old.has_unexpected_options = Some(true);
    let snapshot = Snapshot { at: at(200.0), ..samples::snapshot(samples::status(vec![old])) };
    let page = html(&snapshot, "");
    assert!(page.contains("<span class=\"badge hung\">hung</span>"), "{page}");
    let tags = ["flapping", "unexpected options", "3m10s old"];
    let tags = tags.map(|tag| format!("<span class=\"tag warn\">{tag}</span>"));
    assert!(page.contains(&tags.concat()), "{page}");
}

#[test]
fn dead_mounts_of_users_and_of_low_severity_are_last() {
    let mut info = dead("/a", "nas:/a");
    let mut settings = *info.settings;
    settings.probe.severity = crate::monitor::Severity::Info;
    info.settings = Arc::new(settings);
    let health = Health::Dead(failure(Reason::Hung, None, 3.0).into());
    let of_user = status_of(mount("/b", "fuse.sshfs", "h:/", "rw", "rw,user_id=123456,group_id=1"), health);
    let snapshot = samples::snapshot(samples::status(vec![info, of_user, dead("/c", "nas:/c")]));
    let page = html(&snapshot, "");
    assert_eq!(paths(&page), ["/c", "/b", "/a"]);
    assert!(page.contains("/a</span><span class=\"tag\">severity info</span>"), "{page}");
}

#[test]
fn rejected_configuration_and_rules_that_end_are_shown() {
    let mut snapshot = samples::snapshot(sample());
    assert!(html(&snapshot, "").contains("id=\"notices\"></ul>"));
    snapshot.config.rejected_at = Some(at(7.0));
    snapshot.config.temporary_rules = Arc::new(["Until <x>".to_owned()]);
    let page = html(&snapshot, "");
    assert!(page.contains("<li>The configuration was rejected 3s ago and the earlier one is in force: "));
    assert!(page.contains("<li>Until &lt;x&gt;</li>"), "{page}");
}

#[test]
fn history_is_apart_from_other_events() {
    let event = crate::monitor::Event::Mounted { mount: samples::sshfs() };
    let (priority, text) = messages::line(&event);
    let time = SystemTime::UNIX_EPOCH;
    let appeared = Arc::new(Message { time, priority, text, event: Some(event) });
    let died = Arc::new(Message { text: "died".into(), ..(*appeared).clone() });
    let page = StatusPage {
        snapshot: &samples::snapshot(sample()),
        history: &[died],
        other_events: &vec![appeared; 2 * MAX_EVENTS],
        host: "h",
        query: &PageQuery::default(),
    };
    let page = page.html();
    let (history, others) = page.split_once("id=\"other-events\"").unwrap();
    assert!(history.contains("<span>died</span>") && !history.contains("Mount appeared"));
    assert_eq!(
        others.matches("<span>Mount appeared: /x (fuse.sshfs from host:/dir)</span>").count(),
        MAX_EVENTS
    );
}

#[test]
fn page_shows_what_is_done_about_a_dead_mount() {
    let mut snapshot = dead_with(Some(failed(Outcome::Failed, true)), false);
    let page = html(&snapshot, "");
    let remedy = "<p class=\"evidence remedy\">remedy gave up: mount it by hand: mount /x</p>";
    assert!(page.contains(remedy), "{page}");
    assert!(page.contains("; 1 dead; remedies: 3 planned; 2 failed; 1 given up; 1 refused"), "{page}");
    let evil = RemedyReport::Failed { outcome: Outcome::Failed, gave_up: true, advice: "<b>&".to_owned() };
    snapshot = dead_with(Some(evil), false);
    assert!(html(&snapshot, "").contains("gave up: &lt;b&gt;&amp;</p>"));
}
