//! Server-sent events over HTTP.

use super::{LIMIT, PUBLISH_LIMIT, get, open_event_stream, send, start_with_http};
use crate::common::{
    Daemon, Lab, Lines, display_path, monitor_command, ms, run_isolated, run_isolated_for, slack, utf8,
    wait_until,
};
use crate::{QUICK, QUICK_HANG};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

#[test]
fn hang_is_streamed_at_once_and_events_can_be_resumed() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        let (daemon, address) = start_with_http(lab, QUICK);
        let lines = open_event_stream(address, "/api/v1/events");
        lab.set_fault("mute", &mounts[0]);
        let logged = daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        let line = lines.wait_for(0, "\"event\":\"failed\"", LIMIT).expect("the event arrives");
        assert!(line.at < logged.at + PUBLISH_LIMIT + slack(), "{:?}", line.at - logged.at);
        let event: Value =
            serde_json::from_str(line.text.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(
            (&event["reason"], &event["mountpoint"]),
            (&"hung".into(), &display_path(&mounts[0]).into())
        );

        let all = lines.all();
        let index = all.iter().position(|other| other.text == line.text).expect("it exists");
        let number: u64 =
            all[index - 1].text.strip_prefix("id: ").and_then(|n| n.parse().ok()).expect("a number");
        for resumed in [
            open_event_stream(address, &format!("/api/v1/events?after={}", number - 1)),
            // An unknown event number means the start.
            open_event_stream(address, &format!("/api/v1/events?after={}", u64::MAX)),
        ] {
            resumed.wait_for(0, &line.text, LIMIT).expect("the event arrives again");
        }
        let resumed = open_event_stream(address, &format!("/api/v1/events?after={number}"));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 2 mounts", ms(3000));
        resumed.wait_for(0, "\"event\":\"run\"", LIMIT).expect("the new event arrives");
        assert_eq!(resumed.count(&line.text), 0);
        daemon.stop();
        wait_until(ms(1000), "the stream ends with the daemon", || lines.ended());
    });
}

#[test]
fn snapshot_events_are_sent_on_request_only() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (daemon, address) = start_with_http(lab, QUICK);
        let plain = open_event_stream(address, "/api/v1/events");
        let lines = open_event_stream(address, "/api/v1/events?snapshots=1");
        for _ in 0..3 {
            let from = lines.len();
            lines.wait_for(from, "event: snapshot", LIMIT).expect("one per run");
        }
        assert_eq!(plain.count("event: snapshot"), 0);
        daemon.stop();
    });
}

#[test]
fn event_clients_are_limited_and_their_slots_reused() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (daemon, address) = start_with_http(lab, QUICK);
        let clients: Vec<std::net::TcpStream> = (0..64)
            .map(|_| {
                let mut stream = std::net::TcpStream::connect(address).expect("connect");
                let request = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
                std::io::Write::write_all(&mut stream, request).expect("send the request");
                let mut byte = [0];
                std::io::Read::read_exact(&mut stream, &mut byte).expect("a response");
                stream
            })
            .collect();
        let refused =
            send(address, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(refused.status, 503);
        assert_eq!(get(address, "/metrics").status, 200);
        drop(clients);
        wait_until(ms(3000), "a slot is free again", || {
            let mut stream = std::net::TcpStream::connect(address).expect("connect");
            let request = b"GET /api/v1/events HTTP/1.0\r\n\r\n";
            std::io::Write::write_all(&mut stream, request).expect("send the request");
            let mut start = [0; 12];
            std::io::Read::read_exact(&mut stream, &mut start).expect("a response");
            start.ends_with(b"200")
        });
        daemon.stop();
    });
}

/// More events than are kept, of mounts that come and go after a death and a recovery.
#[test]
fn history_survives_a_week_of_mounts_that_come_and_go() {
    run_isolated_for(Duration::from_secs(120), |lab| {
        let mounts = lab.mount_fuses(2);
        let socket = lab.scratch_path("socket");
        let (daemon, address) = start_with_http(lab, &[QUICK, &["--socket", utf8(&socket)]].concat());
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        lab.clear_fault(&mounts[0]);
        daemon.wait_for_recovery(&mounts[0], ms(3000));
        come_and_go(lab, address, mounts.len());
        let all = open_event_stream(address, "/api/v1/events?after=0");
        all.wait_for(0, "event: missed", LIMIT).expect("more than are kept");

        let watch = start_watch(&socket, &["--last", "20"]);
        let path = display_path(&mounts[0]);
        let died = format!("Mount failed health-check: {path} (hung: ");
        watch.stdout.wait_for(0, &died, LIMIT).expect("it is not lost");
        let recovered = format!("Mount recovered: {path} (after ");
        watch.stdout.wait_for(0, &recovered, LIMIT).expect("it is not lost");
        // Then it follows.
        watch.stdout.wait_for(0, "Checked 2 mounts; 0 are dead", ms(3000)).expect("the next event appears");
        assert_eq!((watch.stdout.count("appeared"), watch.stdout.count("missed")), (0, 0));
        assert!(watch.stdout.all()[0].text.contains(&died), "{:?}", watch.stdout.all()[0]);
        let one = start_watch(&socket, &["--last=1", "--json"]);
        let first = one.stdout.wait_for(0, "{", LIMIT).expect("the last event appears");
        let event: Value = serde_json::from_str(&first.text).expect("JSON");
        assert_eq!((&event["event"], &event["mountpoint"]), (&"recovered".into(), &path.as_str().into()));

        // After a lost connection only new events follow, not what came after the last of the history.
        let one = start_watch(&socket, &["--last=1"]);
        one.stdout.wait_for(0, &recovered, LIMIT).expect("the last event appears");
        daemon.stop();
        one.stderr.wait_for(0, "the daemon is gone", LIMIT).expect("the message appears");
        assert_eq!(one.stdout.count("appeared"), 0);
    });
}

/// Waits until the daemon has seen each, so that it does not miss what comes and goes between two reads.
fn come_and_go(lab: &Lab, address: std::net::SocketAddr, others: usize) {
    const MOUNTS: usize = 800;
    let paths: Vec<_> = (0..MOUNTS).map(|n| lab.mount_point(format!("pod{n}"))).collect();
    let wait_for = |count| {
        wait_until(LIMIT, "the mounts are seen", || get(address, "/api/v1/mounts").json()["total"] == count);
    };
    for _ in 0..3 {
        paths.iter().for_each(|path| lab.mount_tmpfs(path));
        wait_for(MOUNTS + others);
        paths.iter().for_each(|path| lab.detach(path));
        wait_for(others);
    }
}

#[test]
fn events_since_a_time_are_sent_and_the_stream_follows() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        let (daemon, address) = start_with_http(lab, QUICK);
        lab.set_fault("errno ESTALE", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "stale", QUICK_HANG);
        lab.clear_fault(&mounts[0]);
        daemon.wait_for_recovery(&mounts[0], ms(3000));
        let from_start = open_event_stream(address, "/api/v1/events?since=0");
        from_start.wait_for(0, "\"event\":\"recovered\"", LIMIT).expect("it is kept");
        assert!(from_start.all().iter().any(|line| line.text == "id: 0"), "from the first event on");
        let events = data(&from_start);
        let recovered = events.iter().find(|event| event["event"] == "recovered").expect("it is there");
        let time = recovered["time"].as_str().expect("a time");
        let since = open_event_stream(address, &format!("/api/v1/events?since={time}"));
        since.wait_for(0, "\"event\":\"recovered\"", LIMIT).expect("it is from that time on");
        assert_eq!(since.count("\"event\":\"failed\""), 0, "that was before");
        let from = since.len();
        since.wait_for(from, "\"event\":\"run\"", LIMIT).expect("the stream follows");
        let future = open_event_stream(address, "/api/v1/events?since=2999-01-01T00:00:00Z");
        future.wait_for(0, "\"event\":\"run\"", LIMIT).expect("only the stream");
        assert_eq!(future.count("recovered"), 0);
        for (query, problem) in [
            ("since=yesterday", "since: must be a time as 2026-01-31T12:00:00Z or in Unix seconds"),
            ("last=many", "last: must be a number of events"),
            ("last=1&since=0", "use one of after, last and since, once"),
        ] {
            let refused = get(address, &format!("/api/v1/events?{query}"));
            assert_eq!((refused.status, refused.text().trim_end()), (400, problem));
        }
        daemon.stop();
    });
}

fn data(lines: &Lines) -> Vec<Value> {
    let lines = lines.all();
    let data = lines.iter().filter_map(|line| line.text.strip_prefix("data: "));
    data.map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

#[test]
fn watch_without_a_daemon_says_that_there_is_no_history() {
    run_isolated(|lab| {
        let watch = start_watch(&lab.scratch_path("no-daemon"), &["--last", "5"]);
        watch.stderr.wait_for(0, "no daemon is running", LIMIT).expect("the message appears");
        watch.stdout.wait_for(0, "Checked ", LIMIT).expect("it follows");
        watch.stop();
    });
}

fn start_watch(socket: &Path, arguments: &[&str]) -> Daemon {
    let mut command = monitor_command();
    command.arg("watch").arg("--socket").arg(socket).args(arguments);
    Daemon::spawn(command)
}
