//! Hostile and broken HTTP clients delay neither scrapes nor detection.

use super::{get, start_with_http};
use crate::common::{Daemon, ms, run_isolated, slack};
use crate::{QUICK, QUICK_HANG};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A scrape takes no longer than this meanwhile.
const SCRAPE: Duration = ms(500);

#[test]
fn ten_thousand_connections_do_not_delay_scrapes() {
    run_isolated(|lab| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(12_000), hard).expect("raise the soft limit");
        let mounts = lab.mount_fuses(2);
        let (daemon, address) = start_with_http(lab, QUICK);
        let open: Vec<TcpStream> = (0..10_000)
            .map_while(|n| {
                let stream = TcpStream::connect(address).ok();
                if n % 1000 == 0 {
                    scrape(address);
                }
                stream
            })
            .collect();
        assert!(open.len() > 1000, "only {} connections: no descriptors to test with", open.len());
        scrape(address);
        let held = daemon.process.descriptor_count();
        assert!(held < 400, "{held} descriptors");
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        drop(open);
        scrape(address);
        daemon.stop();
    });
}

#[test]
fn slow_headers_time_out_and_do_not_delay_scrapes() {
    run_isolated(|lab| {
        lab.mount_fuses(2);
        let (daemon, address) = start_with_http(lab, QUICK);
        let start = Instant::now();
        let mut slow: Vec<TcpStream> = (0..300)
            .filter_map(|_| {
                let mut stream = TcpStream::connect(address).ok()?;
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-").ok()?;
                Some(stream)
            })
            .collect();
        while start.elapsed() < ms(7000) {
            slow.iter_mut().for_each(|stream| drop(stream.write(b"a")));
            scrape(address);
            crate::common::pause(ms(500));
        }
        for stream in &mut slow {
            stream.set_read_timeout(Some(ms(2000) + slack())).expect("set a timeout");
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            assert!(
                ended.map_or_else(|e| e.kind() == ErrorKind::ConnectionReset, |_| true),
                "the connection is still open"
            );
        }
        daemon.stop();
    });
}

#[test]
fn malformed_requests_are_rejected() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (daemon, address) = start_with_http(lab, QUICK);
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
        let pieces: [&[u8]; 6] = [
            b"\0\xff\xfe\n\n\n",
            b"GET\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            long.as_bytes(),
            many.as_bytes(),
            b"",
        ];
        for piece in pieces {
            let mut stream = TcpStream::connect(address).expect("connect");
            stream.set_read_timeout(Some(ms(8000))).expect("set a timeout");
            let _ = stream.write_all(piece); // the daemon may close the connection early
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut response = Vec::new();
            let _ = stream.read_to_end(&mut response);
            let text = String::from_utf8_lossy(&response);
            assert!(response.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
            scrape(address);
        }
        daemon.stop();
    });
}

/// Clients that send many requests and read no response.
const CLIENTS: u32 = 300;

#[test]
fn clients_that_do_not_read_do_not_delay_scrapes() {
    run_isolated(|lab| {
        lab.mount_fuses(200);
        let (daemon, address) = start_with_http(lab, QUICK);
        let undisturbed = (0..5).map(|_| scrape(address)).max().expect("five scrapes");
        let not_reading: Vec<TcpStream> = (0..CLIENTS)
            .filter_map(|n| {
                let targets = ["/api/v1/mounts", "/api/v1/mounts?format=table", "/", "/metrics"];
                let target = targets[n as usize % 4];
                let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(300);
                let mut stream = TcpStream::connect(address).ok()?;
                stream.set_write_timeout(Some(ms(100))).ok()?;
                let _ = stream.write_all(request.as_bytes());
                Some(stream)
            })
            .collect();
        // At most one response to each of them is rendered before.
        let limit = SCRAPE.max(CLIENTS * undisturbed);
        for _ in 0..5 {
            scrape_within(address, limit);
        }
        drop(not_reading);
        daemon.stop();
    });
}

#[test]
fn lack_of_descriptors_does_not_make_the_listener_spin() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let address = crate::common::free_address();
        let inner = lab.daemon_command(&["--listen-address", &address.to_string(), "--poll-interval", "60"]);
        let mut command = std::process::Command::new("prlimit");
        command.arg("--nofile=46:46").arg(inner.get_program()).args(inner.get_args());
        let daemon = Daemon::start(command);
        let open: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(address).ok()).collect();
        crate::common::pause(ms(1000));
        let before = daemon.process.wakeup_count();
        crate::common::pause(ms(2000));
        let woken = daemon.process.wakeup_count() - before;
        assert!(woken < 100, "{woken} wake-ups in two seconds");
        drop(open);
        crate::common::wait_until(ms(10_000), "the daemon responds again", || {
            TcpStream::connect(address).is_ok() && get(address, "/metrics").status == 200
        });
        daemon.stop();
    });
}

fn scrape(address: SocketAddr) -> Duration {
    scrape_within(address, SCRAPE)
}

fn scrape_within(address: SocketAddr, limit: Duration) -> Duration {
    let response = get(address, "/metrics");
    assert_eq!(response.status, 200);
    assert!(response.elapsed < limit + slack(), "{:?}", response.elapsed);
    response.elapsed
}
