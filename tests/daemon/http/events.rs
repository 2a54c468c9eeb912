//! Server-sent events.

use super::{LIMIT, SHOWN_WITHIN, get, open_event_stream, send, start_with_http};
use crate::common::{display_path, ms, run_isolated, slack, wait_until};
use crate::{QUICK, QUICK_HANG};
use serde_json::Value;

#[test]
fn a_hang_is_told_at_once_and_events_can_be_resumed() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(2);
        let (daemon, address) = start_with_http(lab, QUICK);
        let lines = open_event_stream(address, "/api/v1/events");
        lab.set_fault("mute", &mounts[0]);
        let told = daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        let line = lines.wait_for(0, "\"event\":\"failed\"", LIMIT).expect("it is told");
        assert!(line.at < told.at + SHOWN_WITHIN + slack(), "{:?}", line.at - told.at);
        let event: Value =
            serde_json::from_str(line.text.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(
            (&event["reason"], &event["mountpoint"]),
            (&"hung".into(), &display_path(&mounts[0]).into())
        );

        let all = lines.all();
        let at = all.iter().position(|other| other.text == line.text).expect("it is there");
        let number: u64 =
            all[at - 1].text.strip_prefix("id: ").and_then(|n| n.parse().ok()).expect("a number");
        for resumed in [
            open_event_stream(address, &format!("/api/v1/events?after={}", number - 1)),
            // The header is stronger; a number that was never given stands for the start.
            open_event_stream(address, &format!("/api/v1/events?after={}", u64::MAX)),
        ] {
            resumed.wait_for(0, &line.text, LIMIT).expect("it is told again");
        }
        let resumed = open_event_stream(address, &format!("/api/v1/events?after={number}"));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 2 mounts", ms(3000));
        resumed.wait_for(0, "\"event\":\"run\"", LIMIT).expect("what comes is told");
        assert_eq!(resumed.count(&line.text), 0);
        daemon.stop();
        wait_until(ms(1000) + slack(), "the stream ends with the daemon", || lines.ended());
    });
}

#[test]
fn new_snapshots_are_told_to_those_who_want_to_know() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(1);
        let (daemon, address) = start_with_http(lab, QUICK);
        let plain = open_event_stream(address, "/api/v1/events");
        let lines = open_event_stream(address, "/api/v1/events?snapshots=1");
        for _ in 0..3 {
            let from = lines.len();
            lines.wait_for(from, "event: snapshot", LIMIT).expect("each run makes one");
        }
        assert_eq!(plain.count("event: snapshot"), 0);
        daemon.stop();
    });
}

#[test]
fn clients_are_limited_and_leave_their_places() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(1);
        let (daemon, address) = start_with_http(lab, QUICK);
        let clients: Vec<std::net::TcpStream> = (0..64)
            .map(|_| {
                let mut stream = std::net::TcpStream::connect(address).expect("somebody listens");
                let request = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n";
                std::io::Write::write_all(&mut stream, request).expect("it reads");
                let mut byte = [0];
                std::io::Read::read_exact(&mut stream, &mut byte).expect("it answers");
                stream
            })
            .collect();
        let refused = send(address, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(refused.status, 503);
        assert_eq!(get(address, "/metrics").status, 200);
        drop(clients);
        wait_until(ms(3000) + slack(), "there is a place again", || {
            let mut stream = std::net::TcpStream::connect(address).expect("somebody listens");
            let request = b"GET /api/v1/events HTTP/1.0\r\n\r\n";
            std::io::Write::write_all(&mut stream, request).expect("it reads");
            let mut start = [0; 12];
            std::io::Read::read_exact(&mut stream, &mut start).expect("it answers");
            start.ends_with(b"200")
        });
        daemon.stop();
    });
}
