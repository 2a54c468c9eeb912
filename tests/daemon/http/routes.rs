//! Routes: status, headers and content.

use super::{get, get_unix, mount_json, send, start_with_http};
use crate::common::{display_path, ms, run_isolated, utf8, wait_until};
use crate::{QUICK, QUICK_HANG};
use flate2::read::GzDecoder;
use std::io::Read;
use std::net::TcpListener;

#[test]
fn every_route_has_its_status_type_and_content() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let (daemon, address) = start_with_http(lab, QUICK);
        for (target, status, kind, text) in [
            ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "\ntotal_mountpoints 3\n"),
            ("/api/v1/mounts", 200, "application/json", "\"total\":3"),
            (
                "/api/v1/mounts?format=table",
                200,
                "text/plain; charset=utf-8",
                "Checked 3 mounts; 0 are dead\n",
            ),
            ("/api/v1/mounts?format=nagios", 200, "text/plain; charset=utf-8", "MOUNTS OK - 3 mounts"),
            ("/api/v1/mounts?state=hung", 200, "application/json", "\"mounts\":[]"),
            (
                "/api/v1/mounts?mountpoint=/nowhere",
                404,
                "text/plain; charset=utf-8",
                "/nowhere is not a watched mount",
            ),
            ("/api/v1/mounts?color=red", 400, "text/plain; charset=utf-8", "unknown parameter"),
            ("/api/openapi.json", 200, "application/json", "\"openapi\": \"3.1.0\""),
            ("/-/healthy", 200, "text/plain; charset=utf-8", "healthy\n"),
            ("/-/ready", 200, "text/plain; charset=utf-8", "ready\n"),
            ("/", 200, "text/html; charset=utf-8", "<!doctype html>"),
            ("/nowhere", 404, "text/plain; charset=utf-8", "not found"),
            ("/api/v1/events?after=x", 400, "text/plain; charset=utf-8", "must be an event number"),
        ] {
            wait_until(ms(1000), target, || get(address, target).status == status);
            let response = get(address, target);
            assert_eq!(response.header("content-type"), Some(kind), "{target}");
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{target}");
            let found = response.text().to_lowercase().contains(&text.to_lowercase());
            assert!(found, "{target}: {text} is not in {}", response.text());
        }
        let named = get(address, &format!("/api/v1/mounts?mountpoint={}", display_path(&mounts[1]))).json();
        assert_eq!(
            (&named["total"], &named["mounts"][0]["mountpoint"]),
            (&1.into(), &display_path(&mounts[1]).into())
        );
        daemon.stop();
    });
}

#[test]
fn stranded_prober_is_published_at_once() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("mute", &path);
        // The next run, which would also publish it, is a minute away.
        let (daemon, address) = start_with_http(lab, &["--timeout", "500ms", "--poll-interval", "60"]);
        daemon.wait_for_line("cannot be killed", ms(3000));
        let wanted = "\nmountstatus_probers_stranded 1\n";
        wait_until(ms(1000), wanted, || get(address, "/metrics").text().contains(wanted));
        daemon.stop();
    });
}

#[test]
fn other_methods_and_bodies_are_rejected() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (daemon, address) = start_with_http(lab, QUICK);
        let head = send(address, "HEAD /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!((head.status, head.body.len()), (200, 0));
        let post = send(address, "POST /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!((post.status, post.text()), (405, "only GET and HEAD are allowed\n"));
        // The response does not wait for the body, which is never sent.
        for body in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            let response =
                send(address, &format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{body}\r\n\r\n"));
            assert_eq!(response.status, 413);
        }
        daemon.stop();
    });
}

/// A page of another site that resolves its own name to this machine (DNS rebinding) sends that name.
#[test]
fn other_host_names_are_refused_over_tcp() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let socket = lab.scratch_path("socket");
        let options = ["--allowed-hosts", "mon.example", "--socket", utf8(&socket)];
        let (daemon, address) = start_with_http(lab, &options);
        let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        for (host, status) in [
            ("evil.example", 403),
            ("evil.example:9817", 403),
            ("127.0.0.1.evil.example", 403),
            ("mon.example", 200),
            (&address.to_string(), 200),
            ("[::1]:9817", 200),
            ("localhost", 200),
        ] {
            let response = send(address, &request(host));
            assert_eq!(response.status, status, "{host}");
            assert_eq!(response.text().contains("allowed_hosts"), status == 403, "{host}");
        }
        let absolute = "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert_eq!(send(address, absolute).status, 403);
        assert_eq!(send(address, "GET / HTTP/1.0\r\n\r\n").status, 200, "no browser sends this");
        wait_until(ms(2000), "the socket exists", || socket.exists());
        assert_eq!(get_unix(&socket, "/-/healthy").status, 200);
        daemon.stop();
    });
}

#[test]
fn responses_are_compressed_on_request() {
    run_isolated(|lab| {
        lab.mount_fuses(3);
        let (daemon, address) = start_with_http(lab, &["--poll-interval", "60"]);
        for target in ["/metrics", "/api/v1/mounts"] {
            let plain = get(address, target);
            assert_eq!(plain.header("content-encoding"), None);
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
            );
            let compressed = send(address, &request);
            assert_eq!(compressed.header("content-encoding"), Some("gzip"));
            assert_eq!(compressed.header("vary"), Some("accept-encoding"));
            let mut text = String::new();
            GzDecoder::new(&compressed.body[..]).read_to_string(&mut text).expect("it is gzip");
            assert_eq!(text.lines().count(), plain.text().lines().count());
        }
        daemon.stop();
    });
}

/// Longer than a part: they are made while they are sent.
#[test]
fn long_responses_are_complete() {
    const MOUNTS: usize = 300;
    run_isolated(|lab| {
        (0..MOUNTS).for_each(|n| lab.mount_tmpfs(&lab.mount_point(format!("t{n}"))));
        let (daemon, address) = start_with_http(lab, &["--poll-interval", "60"]);
        let request = |method: &str, target: &str, version: &str, more: &str| {
            let host = "Host: localhost\r\nConnection: close";
            send(address, &format!("{method} {target} HTTP/{version}\r\n{host}\r\n{more}\r\n"))
        };
        let compressed = |target| {
            let response = request("GET", target, "1.1", "Accept-Encoding: gzip\r\n");
            assert_eq!(response.header("content-encoding"), Some("gzip"));
            let mut text = String::new();
            GzDecoder::new(&response.body[..]).read_to_string(&mut text).expect("it is gzip");
            text
        };
        let ups = |text: &str| text.lines().filter(|line| line.starts_with("mountstatus_mount_up{")).count();
        let metrics = request("GET", "/metrics", "1.1", "");
        assert!(metrics.body.len() > 100_000 && metrics.header("transfer-encoding") == Some("chunked"));
        for text in [metrics.text(), request("GET", "/metrics", "1.0", "").text(), &compressed("/metrics")] {
            let all = format!("\ntotal_mountpoints {MOUNTS}\n");
            assert!(ups(text) == MOUNTS && text.ends_with(&all), "{} mounts", ups(text));
        }
        let document = request("GET", "/api/v1/mounts", "1.1", "");
        let length = document.body.len().to_string();
        for response in [&document, &request("HEAD", "/api/v1/mounts", "1.1", "")] {
            assert_eq!(response.header("content-length"), Some(length.as_str()));
        }
        let count = |json: serde_json::Value| json["mounts"].as_array().map(Vec::len);
        let compressed = serde_json::from_str(&compressed("/api/v1/mounts")).expect("it is JSON");
        assert_eq!((count(document.json()), count(compressed)), (Some(MOUNTS), Some(MOUNTS)));
        daemon.stop();
    });
}

#[test]
fn hang_and_recovery_are_published() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let (daemon, address) = start_with_http(lab, QUICK);
        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        wait_until(super::PUBLISH_LIMIT, "the state is published", || {
            mount_json(address, &mounts[1])["state"] == "hung"
        });
        assert!(get(address, "/metrics").text().contains("\ndead_mountpoints 1\n"));
        assert_eq!(get(address, "/api/v1/mounts").header("x-exit-status"), Some("1"));
        lab.clear_fault(&mounts[1]);
        daemon.wait_for_recovery(&mounts[1], ms(1000));
        wait_until(super::PUBLISH_LIMIT, "the state is published", || {
            mount_json(address, &mounts[1])["state"] == "ok"
        });
        daemon.stop();
    });
}

#[test]
fn not_ready_before_the_first_run_is_complete() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        lab.set_fault("mute", &mounts[0]);
        let address = crate::common::free_address();
        let text = address.to_string();
        let daemon =
            crate::common::Daemon::spawn(lab.daemon_command(&["--timeout", "3", "--listen-address", &text]));
        wait_until(ms(2000), "the daemon listens", || std::net::TcpStream::connect(address).is_ok());
        assert_eq!((get(address, "/-/ready").status, get(address, "/-/healthy").status), (503, 200));
        daemon.wait_for_line("Checked 2 mounts; 1 is dead", ms(4000));
        wait_until(ms(1000), "the daemon is ready", || get(address, "/-/ready").status == 200);
        daemon.stop();
    });
}

#[test]
fn port_in_use_is_a_warning_and_retried() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("the socket is bound").to_string();
        let daemon = lab.start_daemon(&["--listen-address", &address]);
        daemon.wait_for_line(&format!("Cannot listen on {address}: Address already in use"), ms(1000));
        daemon.wait_for_line("; continuing without it", ms(0));
        wait_until(ms(1000), "the HTTP thread has ended", || {
            daemon.process.thread_count() <= THREADS_WITHOUT_HTTP
        });
        // A reload retries the listener.
        drop(taken);
        daemon.send_signal(nix::sys::signal::Signal::SIGHUP);
        let address: std::net::SocketAddr = address.parse().expect("an address");
        wait_until(ms(3000), "the daemon listens", || std::net::TcpStream::connect(address).is_ok());
        assert_eq!(get(address, "/-/healthy").status, 200);
        daemon.stop();
    });
}

/// The event loop, the outputs, two sinks and the configuration.
const THREADS_WITHOUT_HTTP: usize = 5;

#[test]
fn http_thread_exists_only_with_a_listener() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let daemon = lab.start_daemon(&["--listen-address", "off", "--socket", "off"]);
        let before = daemon.process.thread_count();
        assert!(before <= THREADS_WITHOUT_HTTP, "{before}");
        daemon.stop();
        let (daemon, _) = start_with_http(lab, &[]);
        assert_eq!(daemon.process.thread_count(), before + 1);
        daemon.stop();
    });
}

#[test]
fn idle_http_server_does_not_wake_up() {
    run_isolated(|lab| {
        lab.mount_fuses(5);
        let _read = lab.read_syslog();
        let (daemon, address) = start_with_http(lab, &["--poll-interval", "20"]);
        daemon.wait_for_second_run(ms(20_000));
        get(address, "/metrics");
        crate::common::pause(ms(3000));
        let before = daemon.process.wakeup_count();
        crate::common::pause(ms(5000));
        assert_eq!(daemon.process.wakeup_count(), before);
        daemon.stop();
    });
}
