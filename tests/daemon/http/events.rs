//! Server-sent events over HTTP.

use super::{LIMIT, PUBLISH_LIMIT, get, open_event_stream, send, start_with_http};
use crate::common::{display_path, ms, run_isolated, slack, wait_until};
use crate::{QUICK, QUICK_HANG};
use serde_json::Value;

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
