//! A drill reaches every output, names those that fail, and leaves nothing behind.

mod outputs;

use crate::common::fake_server::Behavior;
use crate::common::{
    CommandOutput, Daemon, Lab, Lines, monitor_command, ms, pause, run_isolated, run_isolated_for, utf8,
    wait_until,
};
use crate::http::openapi::mismatches;
use crate::http::{get, open_event_stream};
use outputs::{DRILL_LIMIT, Datagrams, Entries, Outputs, assert_failed, assert_results, drill};
use serde_json::Value;
use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Some tests wait for the deadline of a drill, or until the next may begin.
const LONG: Duration = Duration::from_secs(240);

/// The first command of the README, without options, while its first run is still going on.
#[test]
fn drill_on_a_fresh_machine_is_green() {
    run_isolated(|lab| {
        lab.mount_tmpfs_over(Path::new("/run"));
        mount_new_dev(lab);
        for has_syslog in [false, true] {
            let syslog = has_syslog.then(|| UnixDatagram::bind("/dev/log").expect("bind a socket"));
            let mut command = monitor_command();
            command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
            let daemon = Daemon::spawn(command);
            daemon.wait_for_line("Started mount_status_monitor", ms(5000));
            wait_until(ms(3000), "the socket exists", || {
                UnixStream::connect("/run/mount_status_monitor/socket").is_ok()
            });
            let mut command = monitor_command();
            command.args(["drill", "--json"]);
            let output = CommandOutput::run(command, DRILL_LIMIT);
            let syslog_result = if has_syslog { "sent" } else { "nobody_listening" };
            assert_results(
                &assert_failed(&output, &[]),
                &[("stderr", "sent"), ("syslog", syslog_result), ("events", "nobody_listening")],
            );
            daemon.wait_for_line("Drill: /drill (a test of the outputs; nothing is wrong)", ms(1000));
            daemon.stop();
            drop(syslog);
        }
    });
}

/// Replaces `/dev`, which other tests share, by one without a socket of syslog.
fn mount_new_dev(lab: &Lab) {
    let dev = lab.scratch_path("dev");
    lab.mount_tmpfs(&dev);
    for name in ["null", "urandom", "fuse"] {
        let to = dev.join(name);
        File::create(&to).expect("create a file");
        let none = None::<&str>;
        nix::mount::mount(Some(&Path::new("/dev").join(name)), &to, none, nix::mount::MsFlags::MS_BIND, none)
            .expect("bind mount");
    }
    assert!(Path::new("/dev/null").metadata().expect("it exists").file_type().is_char_device());
    lab.move_mount(&dev, Path::new("/dev"));
}

#[test]
fn drill_reaches_every_output_and_leaves_nothing() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        lab.set_fault("errno EIO", &mounts[1]);
        let outputs = Outputs::prepare(lab);
        let daemon = outputs.start(lab, &[]);
        daemon.wait_for_failure(&mounts[1], "io_error", ms(3000));
        wait_until(ms(3000), "the death is pushed", || {
            outputs.gateway.requests().iter().any(|request| request.body.contains("\ndead_mountpoints 1\n"))
        });
        wait_until(ms(3000), "its alert is sent", || !outputs.alertmanager.requests().is_empty());
        let events = open_event_stream(outputs.address, "/api/v1/events");
        let metrics = || without_process(get(outputs.address, "/metrics").text());
        let status = || without_last_event(get(outputs.address, "/api/v1/mounts").json());
        let before = (metrics(), status());
        for server in [&outputs.server, &outputs.gateway, &outputs.alertmanager] {
            server.take_requests();
        }

        let output = drill(&outputs.socket, &["--json", "--mountpoint", "/srv/no such mount"]);
        assert_results(
            &assert_failed(&output, &[]),
            &[
                ("alertmanager", "accepted"),
                ("events", "sent"),
                ("hook command", "accepted"),
                ("hook post", "accepted"),
                ("push_gateway", "accepted"),
                ("stderr", "sent"),
                ("syslog", "sent"),
                ("textfile", "accepted"),
            ],
        );
        let report = output.json();
        let api: Value = serde_json::from_str(include_str!("../../../contrib/openapi.json")).expect("JSON");
        assert_eq!(
            mismatches(&api, &api["components"]["schemas"]["Drill"], &report, "drill"),
            Vec::<String>::new()
        );
        assert!(!output.stdout.contains("secret"), "{}", output.stdout);

        assert_marked(&outputs, &daemon, &events);

        // It is no death, and no history.
        assert_eq!((metrics(), status()), before);
        let mut watch = monitor_command();
        watch.args(["watch", "--last", "50", "--socket", utf8(&outputs.socket)]);
        let watch = Daemon::spawn(watch);
        assert!(watch.stdout.wait_for(0, "Mount failed health-check", ms(3000)).is_some());
        assert_eq!(watch.stdout.count("Drill"), 0);

        // The next does not begin too soon.
        let refused = drill(&outputs.socket, &[]);
        refused.assert_code(2);
        refused.assert_stderr_contains("no drill was made: the last drill has just begun; try again in ");
        daemon.stop();
    });
}

/// What each output got of a drill of `/srv/no such mount` is marked, and nothing else is left.
fn assert_marked(outputs: &Outputs, daemon: &Daemon, events: &Lines) {
    let line = "Drill: /srv/no such mount (a test of the outputs; nothing is wrong)";
    daemon.wait_for_line(line, ms(1000));
    let packet = outputs.syslog.wait_for(0, line, ms(1000)).expect("syslog got it").text;
    assert!(packet.starts_with("<27>"), "the priority of a death: {packet}");
    let event = events.wait_for(0, "\"event\":\"drill\"", ms(1000)).expect("clients got it").text;
    assert!(event.contains("\"drill\":true"), "{event}");
    let environment = std::fs::read_to_string(&outputs.environment).expect("the hook ran");
    for variable in ["MSM_EVENT=drill", "MSM_DRILL=1", "MSM_MOUNTPOINT=/srv/no such mount", "MSM_STATE="] {
        assert!(environment.lines().any(|line| line == variable), "{variable} in {environment}");
    }
    let posted = outputs.server.take_requests();
    let posted: Value = serde_json::from_str(&posted[0].body).expect("JSON");
    assert_eq!((&posted["event"], &posted["drill"]), (&"drill".into(), &true.into()));
    let alerts: Value = serde_json::from_str(&outputs.alertmanager.take_requests()[0].body).expect("JSON");
    let labels = &alerts[0]["labels"];
    assert_eq!(alerts.as_array().expect("a list").len(), 1);
    for (label, value) in [
        ("alertname", "MountDead"),
        ("drill", "true"),
        ("mountpoint", "/srv/no such mount"),
        ("team", "storage"),
    ] {
        assert_eq!(labels[label], value, "{alerts}");
    }
    let pushed: Vec<String> = outputs.gateway.take_requests().iter().map(|it| it.line.clone()).collect();
    let [put, delete] = &pushed[..] else { panic!("{pushed:?}") };
    assert!(put.starts_with("PUT /metrics/job/mount_status_monitor/instance") && put.contains("/drill/true"));
    assert_eq!(delete.strip_prefix("DELETE"), put.strip_prefix("PUT"));
    let text = std::fs::read_to_string(&outputs.textfile).expect("it exists");
    assert!(text.contains("\ndead_mountpoints 1\n") && !text.contains("drill"), "{text}");
}

/// Without what changes with each request.
fn without_process(metrics: &str) -> String {
    let is_kept = |line: &&str| !line.contains("process_") && !line.contains("_timestamp_seconds");
    metrics.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
}

/// Without the number of the last event.
fn without_last_event(mut status: Value) -> Value {
    status["daemon"]["last_event"].take();
    status
}

#[test]
fn each_output_that_fails_is_named() {
    run_isolated_for(LONG, |lab| {
        let outputs = Outputs::prepare(lab);
        let refused = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let tcp = format!("tcp://{refused}");
        let nowhere = lab.scratch_path("nowhere");
        let unix = format!("unix:{}", nowhere.display());
        for (target, why) in [(&tcp, "Connection refused"), (&unix, "No such file")] {
            let daemon = outputs.start(lab, &["--syslog", target]);
            assert_failed(&drill(&outputs.socket, &["--json"]), &[("syslog", why)]);
            daemon.stop();
        }
        for (server, title) in [
            (&outputs.server, "hook post"),
            (&outputs.gateway, "push_gateway"),
            (&outputs.alertmanager, "alertmanager"),
        ] {
            let daemon = outputs.start(lab, &[]);
            server.set_behaviour(Behavior::Unavailable);
            server.take_requests();
            assert_failed(&drill(&outputs.socket, &["--json"]), &[(title, "503")]);
            let is_attempt =
                |line: &str| line.starts_with("POST") || line.starts_with("PUT") && line.contains("/drill/");
            let attempts = server.take_requests().iter().filter(|it| is_attempt(&it.line)).count();
            assert_eq!(attempts, 1, "{title} makes one attempt");
            server.set_behaviour(Behavior::Accept);
            daemon.stop();
            let has_deleted = server.take_requests().iter().any(|it| it.line.starts_with("DELETE "));
            assert_eq!(has_deleted, title == "push_gateway", "what a failed push may have left");
        }
        let daemon = outputs.start(lab, &[]);
        std::fs::write(lab.scratch_path("hook"), "echo why; exit 3").expect("write a file");
        let output = drill(&outputs.socket, &[]);
        output.assert_code(1);
        output.assert_stdout_contains("FAILED: exit status 3: why\n");
        output.assert_stdout_contains("8 outputs; failed: hook command\n");
        assert!(!daemon.transcript().contains("Hook command failed"), "{}", daemon.transcript());
        daemon.stop();
        std::fs::write(lab.scratch_path("hook"), "").expect("write a file");

        let daemon = outputs.start(lab, &[]);
        std::fs::remove_file(&outputs.textfile).expect("remove the file");
        std::fs::create_dir(&outputs.textfile).expect("create a directory");
        assert_failed(&drill(&outputs.socket, &["--json"]), &[("textfile", "directory")]);
        daemon.stop();
        std::fs::remove_dir(&outputs.textfile).expect("remove the directory");

        let mut command = outputs.command(lab, &[]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the daemon starts");
        drop(child.stderr.take());
        let daemon = Daemon::with_stderr(child, Lines::default());
        wait_until(ms(10_000), "the first run is published", || outputs.textfile.exists());
        assert_failed(&drill(&outputs.socket, &["--json"]), &[("stderr", "Broken pipe")]);
        daemon.stop();
    });
}

#[test]
fn syslog_over_the_network_gets_the_drill() {
    run_isolated(|lab| {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (to_udp, to_tcp) = (udp.local_addr().expect("bound"), tcp.local_addr().expect("bound"));
        let socket = lab.scratch_path("socket");
        for target in [format!("udp://{to_udp}"), format!("tcp://{to_tcp}")] {
            let daemon = lab.start_daemon(&["--socket", utf8(&socket), "--syslog", &target]);
            wait_until(ms(3000), "the socket exists", || socket.exists());
            let lines = if target.starts_with("tcp") {
                Lines::from_reader(tcp.accept().expect("the daemon connects").0)
            } else {
                Lines::from_reader(Datagrams(udp.try_clone().expect("a descriptor")))
            };
            let results = assert_failed(&drill(&socket, &["--json"]), &[]);
            assert_eq!(
                (&results["syslog"]["result"], &results["syslog"]["target"]),
                (&"sent".into(), &target.into())
            );
            assert!(lines.wait_for(0, "]: Drill: /drill (", ms(2000)).is_some());
            daemon.stop();
        }
    });
}

#[test]
fn journal_gets_fields_and_is_named_when_it_is_gone() {
    run_isolated(|lab| {
        lab.mount_tmpfs_over(Path::new("/run"));
        std::fs::create_dir_all("/run/systemd/journal").expect("create a directory");
        let journal_socket = "/run/systemd/journal/socket";
        let journal = UnixDatagram::bind(journal_socket).expect("bind a socket");
        let entries = Lines::from_reader(Entries(journal));
        let socket = lab.scratch_path("socket");
        for is_there in [true, false] {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let pipe = File::from(OwnedFd::from(writer));
            let identity = pipe.metadata().expect("fstat");
            let mut command = lab.daemon_command(&["--socket", utf8(&socket), "--syslog", "auto"]);
            command.env("JOURNAL_STREAM", format!("{}:{}", identity.dev(), identity.ino()));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(pipe);
            let daemon =
                Daemon::with_stderr(command.spawn().expect("the daemon starts"), Lines::from_reader(reader));
            wait_until(ms(5000), "the daemon listens", || UnixStream::connect(&socket).is_ok());
            if is_there {
                let results = assert_failed(&drill(&socket, &["--json"]), &[]);
                assert_results(&results, &[("journal", "sent"), ("events", "nobody_listening")]);
                for field in ["MOUNTSTATUS_EVENT=drill", "MOUNTSTATUS_DRILL=true"] {
                    assert!(entries.wait_for(0, field, ms(1000)).is_some(), "{field}");
                }
                std::fs::remove_file(journal_socket).expect("remove the socket");
            } else {
                let why = "No such file or directory (os error 2); written to standard error instead";
                assert_failed(&drill(&socket, &["--json"]), &[("journal", why)]);
                daemon.wait_for_line("<3>Drill: /drill (", ms(1000));
            }
            daemon.stop();
        }
    });
}

/// All at once, each named, within the time of one; and what was in time is not affected.
#[test]
fn outputs_that_hang_time_out_and_send_nothing_later() {
    run_isolated_for(LONG, |lab| {
        let outputs = Outputs::prepare(lab);
        let unread = lab.scratch_path("unread");
        let receiver = UnixDatagram::bind(&unread).expect("bind a socket");
        let syslog = format!("unix:{}", unread.display());
        let daemon = outputs.start(lab, &["--syslog", &syslog, "--syslog-level", "debug"]);
        let hung_client = unread_client(&outputs.socket);
        // Their events have more bytes than the buffer of a socket.
        let directory = lab.mount_point(["x"; 14].map(|name| name.repeat(200)).join("/"));
        for number in 0..60 {
            lab.mount_tmpfs(&directory.join(number.to_string()));
        }
        wait_until(ms(5000), "they have appeared", || {
            get(outputs.address, "/api/v1/mounts").json()["total"].as_u64() >= Some(60)
        });
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_nonblocking(true).expect("set a flag");
        while sender.send_to(b"x", &unread).is_ok() {}
        for server in [&outputs.server, &outputs.gateway, &outputs.alertmanager] {
            server.set_behaviour(Behavior::Unresponsive);
        }
        std::fs::write(lab.scratch_path("hook"), "exec sleep 1000").expect("write a file");
        let failed = [
            ("syslog", "no result in 9s"),
            ("hook command", "no result in 9s"),
            ("hook post", "no result in 9s"),
            ("push_gateway", "no response in "),
            ("alertmanager", "no response in "),
            ("events", "no result in 9s"),
        ];
        let results = assert_failed(&drill(&outputs.socket, &["--json"]), &failed);
        assert_eq!(
            (&results["stderr"]["result"], &results["textfile"]["result"]),
            (&"sent".into(), &"accepted".into())
        );

        // Detection goes on meanwhile, and the late drill does not reach syslog.
        pause(ms(1500)); // the second of two writes of 5 s ends
        let lines = Lines::from_socket(receiver);
        let mount = lab.mount_fuse("later");
        daemon.wait_for_mount_line("Mount appeared", &mount, ms(3000));
        assert!(lines.wait_for(0, "later", ms(10_000)).is_some());
        assert_eq!(lines.count("Drill"), 0);
        drop(hung_client);
        daemon.stop();
    });
}

/// Follows the events from the first, and reads none.
fn unread_client(socket: &Path) -> UnixStream {
    let mut client = UnixStream::connect(socket).expect("connect");
    client.write_all(b"GET /api/v1/events?after=0 HTTP/1.0\r\n\r\n").expect("send the request");
    client
}

#[test]
fn only_the_socket_serves_drills() {
    run_isolated(|lab| {
        let outputs = Outputs::prepare(lab);
        let daemon = outputs.start(lab, &[]);
        let request = |method: &str, target: &str| {
            let mut stream = TcpStream::connect(outputs.address).expect("connect");
            write!(stream, "{method} {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")
                .expect("send the request");
            std::io::read_to_string(stream).expect("a response")
        };
        let response = request("POST", "/api/v1/drill");
        assert!(response.starts_with("HTTP/1.0 403") && response.contains("Unix socket only"), "{response}");
        let response = request("GET", "/api/v1/drill");
        assert!(
            response.starts_with("HTTP/1.0 405") && response.ends_with("only POST is allowed\n"),
            "{response}"
        );

        // A user who may not use the socket gets no drill over TCP either.
        let copy = lab.scratch_path("monitor");
        std::fs::copy(crate::common::program(), &copy).expect("copy the program");
        let mut command = std::process::Command::new(&copy);
        command.args(["drill", "--config", utf8(&outputs.config), "--socket", utf8(&outputs.socket)]);
        command.uid(65_534).gid(65_534).current_dir("/");
        let output = CommandOutput::run(command, ms(5000));
        output.assert_code(2);
        output.assert_stderr_contains("this user may not connect to the daemon");
        for (mountpoint, why) in [("srv", "write an absolute path"), ("/a\nb", "")] {
            let output = drill(&outputs.socket, &["--mountpoint", mountpoint]);
            output.assert_code(if why.is_empty() { 0 } else { 2 });
            output.assert_stderr_contains(why);
        }
        daemon.wait_for_line("Drill: /a\\012b (", ms(1000));
        assert_eq!(outputs.server.requests().len(), 1);
        daemon.stop();
        let output = drill(&outputs.socket, &[]);
        output.assert_code(2);
        output.assert_stderr_contains("no daemon is running");
    });
}

/// A stopped event loop reports no death either.
#[test]
fn stopped_daemon_is_an_error_in_time() {
    run_isolated(|lab| {
        let socket = lab.scratch_path("socket");
        let daemon = lab.start_daemon(&["--socket", utf8(&socket)]);
        wait_until(ms(3000), "the socket exists", || socket.exists());
        crate::common::suspend(daemon.process);
        let begun = Instant::now();
        let output = drill(&socket, &[]);
        output.assert_code(2);
        output.assert_stderr_contains("no response in 2s");
        assert!(begun.elapsed() < ms(5000));
        daemon.send_signal(nix::sys::signal::Signal::SIGCONT);
        daemon.stop();
    });
}
