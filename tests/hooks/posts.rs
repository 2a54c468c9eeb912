//! Requests to servers that accept, are busy, refuse or do not respond.

use crate::common::fake_server::{Behavior, FakeServer};
use crate::common::{ms, run_isolated};
use crate::fixture::{HookFixture, command, hook};
use mount_status_monitor::output::hooks::{Hook, HookAction};
use mount_status_monitor::output::http_client::{Access, Credentials};
use nix::mount::{MsFlags, mount};
use std::net::UdpSocket;
use std::time::Duration;

fn post(name: &str, url: &str, credentials: Credentials, timeout: Duration) -> Hook {
    hook(name, HookAction::post(url, Access { credentials, ..Access::default() }).unwrap(), timeout)
}

#[test]
fn server_receives_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "open sesame\n").unwrap();
    let fake = FakeServer::start(Behavior::Accept);
    let url = format!("http://{}/hooks/a?b=c", fake.address);
    let hooks = HookFixture::start(vec![post("chat", &url, Credentials::Token(token.clone()), ms(5000))]);
    hooks.offer_failure("/mnt/x");
    hooks.wait_until_idle(ms(5000));
    let request = fake.requests().remove(0);
    assert_eq!(request.line, "POST /hooks/a?b=c");
    let head = request.head.to_lowercase();
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer open sesame"), "{head}");
    let object: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&object["event"], &object["mountpoint"]), (&"failed".into(), &"/mnt/x".into()));
    assert!(object["host"].is_string() && object["severity"] == "critical", "{object}");

    // The secret is read for each request.
    std::fs::write(&token, "another").unwrap();
    hooks.offer_failure("/mnt/x");
    hooks.wait_until_idle(ms(5000));
    assert!(fake.requests()[1].head.to_lowercase().contains("bearer another"));
    std::fs::remove_file(&token).unwrap();
    hooks.offer_failure("/mnt/x");
    let (_, text) = hooks.wait_for_line("Hook chat failed for /mnt/x (failed): cannot read ", ms(8000));
    assert!(text.contains("/token: No such file"), "{text}");
    assert_eq!(hooks.runs("chat", "ok"), 2);
}

#[test]
fn busy_server_is_tried_again() {
    let fake = FakeServer::start(Behavior::Unavailable);
    let hooks = HookFixture::start(vec![post("chat", &fake.address, Credentials::None, ms(20_000))]);
    hooks.offer_failure("/mnt/x");
    fake.wait_for_request(ms(1000), "the first attempt", |_| true);
    fake.set_behaviour(Behavior::Accept);
    hooks.wait_for_line("Hook chat is done for /mnt/x", ms(3000));
    assert_eq!(fake.requests().len(), 2);
    assert_eq!(fake.requests()[0].body, fake.requests()[1].body);
    assert_eq!(hooks.outcomes("chat"), [1, 0, 0, 0]);
}

#[test]
fn attempts_are_bounded() {
    let fake = FakeServer::start(Behavior::Unavailable);
    let hooks = HookFixture::start(vec![post("chat", &fake.address, Credentials::None, ms(20_000))]);
    hooks.offer_failure("/mnt/x");
    let (_, text) = hooks.wait_for_line("Hook chat failed for /mnt/x (failed): ", ms(6000));
    assert!(
        text.ends_with("the server responded 503 Service Unavailable: not like this, 4 attempts"),
        "{text}"
    );
    assert_eq!(fake.requests().len(), 4);
}

#[test]
fn refused_request_is_not_repeated() {
    let fake = FakeServer::start(Behavior::Reject);
    let hooks = HookFixture::start(vec![post("chat", &fake.address, Credentials::None, ms(5000))]);
    hooks.offer_failure("/mnt/x");
    let (_, text) = hooks.wait_for_line("Hook chat failed for /mnt/x (failed): ", ms(2000));
    assert!(text.ends_with("the server responded 400 Bad Request: not like this"), "{text}");
    fake.set_behaviour(Behavior::Redirect);
    hooks.offer_failure("/mnt/y");
    hooks.wait_for_line("Hook chat failed for /mnt/y (failed): the server responded 302 Found", ms(2000));
    assert_eq!(fake.requests().len(), 2);
}

#[test]
fn unresponsive_server_delays_no_other_hook() {
    let fake = FakeServer::start(Behavior::Unresponsive);
    let hooks = HookFixture::start(vec![
        post("chat", &fake.address, Credentials::None, ms(1500)),
        hook("page", command(&["/bin/true"]), ms(5000)),
    ]);
    hooks.offer_failures(10);
    hooks.wait_for_line("Hook page is done for /mnt/9", ms(1000));
    hooks.wait_for_line("Hook chat failed for /mnt/0 (timeout): no response in 1.5", ms(2500));
    hooks.stop_within(ms(400));
}

#[test]
fn hung_name_lookup_delays_no_other_hook() {
    run_isolated(|lab| {
        // A name server that never responds: a lookup takes ten seconds.
        let _unresponsive = UdpSocket::bind("127.77.77.77:53").expect("root may bind there");
        let configuration = lab.scratch_path("resolv.conf");
        std::fs::write(&configuration, "nameserver 127.77.77.77\n").expect("a file can be written");
        mount(Some(&configuration), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .expect("bind");
        let fake = FakeServer::start(Behavior::Accept);
        let nowhere = |name| post(name, "http://nowhere.example:1/", Credentials::None, ms(700));
        let hooks = HookFixture::start(vec![
            nowhere("one"),
            nowhere("two"),
            post("chat", &fake.address, Credentials::None, ms(5000)),
            post("named", &format!("http://localhost:{}", port(&fake)), Credentials::None, ms(5000)),
        ]);
        hooks.offer_failures(6);
        hooks.wait_for_line("Hook one failed for /mnt/5 (timeout): no ", ms(3000));
        hooks.wait_for_line("Hook two failed for /mnt/5 (timeout): no ", ms(3000));
        assert_eq!((hooks.runs("chat", "ok"), hooks.runs("named", "ok")), (6, 6));
        // Each client has one thread for lookups, however many requests have timed out.
        let threads = crate::common::Process(std::process::id()).thread_count();
        assert!(threads < 20, "{threads}");
        hooks.stop_within(ms(400));
    });
}

fn port(fake: &FakeServer) -> &str {
    fake.address.rsplit_once(':').expect("an address has a port").1
}
