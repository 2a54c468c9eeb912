//! Server-sent events.

use super::{LIMIT, SHOWN_WITHIN, follow, get, send, serving};
use crate::common::{isolated, ms, printed, slack, soon};
use crate::{QUICK, QUICK_HANG};
use serde_json::Value;

#[test]
fn a_hang_is_told_at_once_and_events_can_be_resumed() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(2);
        let (daemon, address) = serving(lab, QUICK);
        let lines = follow(address, "/api/v1/events");
        lab.order("mute", &mounts[0]);
        let told = daemon.told_failed(&mounts[0], "hung", QUICK_HANG);
        let line = lines.wait(0, "\"event\":\"failed\"", LIMIT).expect("it is told");
        assert!(line.at < told.at + SHOWN_WITHIN + slack(), "{:?}", line.at - told.at);
        let event: Value =
            serde_json::from_str(line.text.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!((&event["reason"], &event["mountpoint"]), (&"hung".into(), &printed(&mounts[0]).into()));

        let all = lines.all();
        let at = all.iter().position(|other| other.text == line.text).expect("it is there");
        let number: u64 =
            all[at - 1].text.strip_prefix("id: ").and_then(|n| n.parse().ok()).expect("a number");
        for resumed in [
            follow(address, &format!("/api/v1/events?after={}", number - 1)),
            // The header is stronger; a number that was never given stands for the start.
            follow(address, &format!("/api/v1/events?after={}", u64::MAX)),
        ] {
            resumed.wait(0, &line.text, LIMIT).expect("it is told again");
        }
        let resumed = follow(address, &format!("/api/v1/events?after={number}"));
        daemon.mark();
        daemon.told("Checked 2 mounts", ms(3000));
        resumed.wait(0, "\"event\":\"run\"", LIMIT).expect("what comes is told");
        assert_eq!(resumed.count(&line.text), 0);
        daemon.stop();
        soon(ms(1000) + slack(), "the stream ends with the daemon", || lines.ended());
    });
}

#[test]
fn new_snapshots_are_told_to_those_who_want_to_know() {
    isolated(this_test!(), |lab| {
        lab.fuses(1);
        let (daemon, address) = serving(lab, QUICK);
        let plain = follow(address, "/api/v1/events");
        let lines = follow(address, "/api/v1/events?snapshots=1");
        for _ in 0..3 {
            let from = lines.len();
            lines.wait(from, "event: snapshot", LIMIT).expect("each run makes one");
        }
        assert_eq!(plain.count("event: snapshot"), 0);
        daemon.stop();
    });
}

#[test]
fn clients_are_limited_and_leave_their_places() {
    isolated(this_test!(), |lab| {
        lab.fuses(1);
        let (daemon, address) = serving(lab, QUICK);
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
        soon(ms(3000) + slack(), "there is a place again", || {
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
