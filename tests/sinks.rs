//! The sinks against real sockets and pipes, among them those that nobody reads.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use mount_status_monitor::output::Facility;
use mount_status_monitor::output::LogFormat;
use mount_status_monitor::output::ReportSettings;
use mount_status_monitor::output::Reporter;
use mount_status_monitor::output::Sink;
use mount_status_monitor::output::SyslogTarget;
use mount_status_monitor::output::sink::{Delivery, Output};
use mount_status_monitor::output::stderr::Stderr;
use mount_status_monitor::output::syslog::{SyslogOutput, Wanted};
use mount_status_monitor::render::Message;
use mount_status_monitor::render::Priority;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

/// No wait in these tests is meant to last this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than any call that must not block may take, on the slowest machine.
const AT_ONCE: Duration = Duration::from_secs(2);
const MAX_QUEUED_BYTES: usize = 4 << 20;

#[test]
fn a_unix_socket_gets_packets() {
    let (directory, log) = socket_directory();
    let socket = bind(&log);
    let (reporter, told) = syslog(SyslogTarget::Unix(log));
    say(&reporter, "hello");
    let packet = receive(&socket);
    assert!(packet.starts_with("<28>") && packet.ends_with(": hello"), "{packet}");
    assert!(packet.contains(&format!("mount_status_monitor[{}]", std::process::id())));
    assert!(told.try_recv().is_err());
    assert!(reporter.close(PATIENCE));
    drop(directory);
}

#[test]
fn a_restarted_syslog_gets_the_next_message() {
    let (_directory, log) = socket_directory();
    let socket = bind(&log);
    let (reporter, told) = syslog(SyslogTarget::Unix(log.clone()));
    say(&reporter, "before");
    receive(&socket);
    std::fs::remove_file(&log).unwrap();
    drop(socket);
    let socket = bind(&log);
    say(&reporter, "after");
    assert!(receive(&socket).ends_with(": after"));
    assert!(told.try_recv().is_err(), "nobody needs to know");
}

#[test]
fn no_syslog_at_start_is_told_once_and_tried_again() {
    let (_directory, log) = socket_directory();
    let (reporter, told) = syslog(SyslogTarget::Unix(log.clone()));
    let (priority, text) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(priority, Priority::Warning);
    assert!(text.contains("cannot be reached") && text.contains(log.to_str().unwrap()), "{text}");
    say(&reporter, "kept");
    let socket = bind(&log);
    assert!(receive(&socket).ends_with(": kept"));
    let (priority, text) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(priority, Priority::Notice);
    assert!(text.ends_with("is reached again"), "{text}");
    assert!(told.try_recv().is_err());
}

#[test]
fn another_syslog_is_tried_at_once_however_long_the_one_before_was_away() {
    let (_directory, log) = socket_directory();
    let nowhere = SyslogTarget::Unix(log.with_file_name("nowhere"));
    let settings =
        ReportSettings { log_level: Priority::Error, syslog: nowhere, ..ReportSettings::default() };
    let reporter = Reporter::start(&settings).unwrap();
    say(&reporter, "kept");
    // Three attempts; the next would come after 4 s.
    std::thread::park_timeout(Duration::from_millis(3500));
    let socket = bind(&log);
    let begun = Instant::now();
    reporter.reconfigure(&ReportSettings { syslog: SyslogTarget::Unix(log), ..settings });
    assert!(receive(&socket).ends_with(": kept"));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn a_full_unix_socket_blocks_nobody_and_drops_are_told() {
    let (_directory, log) = socket_directory();
    let socket = bind(&log);
    let (reporter, _told) = syslog(SyslogTarget::Unix(log));
    flood(&reporter);
    let packets = std::iter::from_fn(|| Some(receive(&socket)));
    let note = packets.into_iter().find(|packet| packet.contains("messages were dropped")).unwrap();
    let count: u64 = note.rsplit_once("]: ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(count, reporter.sinks().next().unwrap().dropped_total());
    say(&reporter, "again");
    assert!(receive(&socket).ends_with(": again"));
}

#[test]
fn a_frozen_syslog_is_left_for_its_successor() {
    let (_directory, log) = socket_directory();
    let _frozen = bind(&log);
    let (reporter, _told) = syslog(SyslogTarget::Unix(log.clone()));
    flood(&reporter);
    std::fs::remove_file(&log).unwrap();
    let successor = bind(&log);
    assert!(receive(&successor).contains("xxx"));
}

#[test]
fn a_unix_stream_socket_gets_terminated_packets() {
    let (_directory, log) = socket_directory();
    let listener = UnixListener::bind(&log).unwrap();
    let (reporter, _told) = syslog(SyslogTarget::Unix(log));
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    for text in ["one", "two"] {
        say(&reporter, text);
        let mut packet = Vec::new();
        stream.read_until(0, &mut packet).unwrap();
        assert!(packet.ends_with(format!(": {text}\0").as_bytes()));
    }
}

#[test]
fn tcp_gets_lines_and_is_connected_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (reporter, _told) = syslog(SyslogTarget::Tcp(address));
    let mut first = BufReader::new(accept(&listener));
    for text in ["one", "two"] {
        say(&reporter, text);
        let mut line = String::new();
        first.read_line(&mut line).unwrap();
        assert!(line.ends_with(&format!(": {text}\n")), "{line}");
    }
    drop(first);
    say(&reporter, "three");
    let mut line = String::new();
    BufReader::new(accept(&listener)).read_line(&mut line).unwrap();
    assert!(line.ends_with(": three\n"), "{line}");
}

#[test]
fn a_tcp_collector_that_never_reads_blocks_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reporter, _told) = syslog(SyslogTarget::Tcp(listener.local_addr().unwrap().to_string()));
    let _accepted = accept(&listener);
    flood(&reporter);
    let asked = Instant::now();
    assert!(!reporter.close(Duration::from_millis(50)), "the sink is still stuck");
    assert!(asked.elapsed() < AT_ONCE);
}

#[test]
fn udp_gets_datagrams_of_bounded_size() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (reporter, _told) = syslog(SyslogTarget::Udp(socket.local_addr().unwrap().to_string()));
    say(&reporter, &"x".repeat(5000));
    let mut packet = [0; 9000];
    assert_eq!(socket.recv(&mut packet).unwrap(), 1024);
    assert!(packet.starts_with(b"<28>"));
}

#[test]
fn the_journal_gets_priorities_and_nobody_else_does() {
    if std::env::var_os(CHILD).is_some() {
        return say_hello();
    }
    for (own_stream, expected) in [(true, "<4>hello from the child\n"), (false, "hello from the child\n")] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = File::from(OwnedFd::from(writer));
        let pipe = writer.metadata().unwrap();
        let inode = if own_stream { pipe.ino() } else { pipe.ino() + 1 };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_journal_gets_priorities_and_nobody_else_does", "--nocapture"])
            .env(CHILD, "1")
            .env("JOURNAL_STREAM", format!("{}:{inode}", pipe.dev()))
            .stdout(Stdio::null())
            .stderr(writer)
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success());
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, expected);
    }
}

/// Set for the child of the test above: it has a standard error of its own.
const CHILD: &str = "MSM_TEST_CHILD";

fn say_hello() {
    let settings = ReportSettings { syslog: SyslogTarget::Off, ..ReportSettings::default() };
    let reporter = Reporter::start(&settings).unwrap();
    say(&reporter, "hello from the child");
    assert!(reporter.close(PATIENCE));
}

#[test]
fn a_standard_error_that_nobody_reads_blocks_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Stderr::onto(OwnedFd::from(writer).into(), LogFormat::Text);
    let sink = Sink::start("stderr", output).unwrap();
    let reporter = Reporter::over(vec![(sink, Priority::Info)]);
    flood(&reporter);
    let asked = Instant::now();
    assert!(!reporter.close(Duration::from_millis(50)), "the sink is still stuck");
    assert!(asked.elapsed() < AT_ONCE);
    let mut all = String::new();
    BufReader::new(reader).read_to_string(&mut all).unwrap();
    assert!(all.lines().last().unwrap().ends_with("messages were dropped"), "{:?}", all.lines().last());
    assert!(all.lines().all(|line| line.len() == FLOOD_TEXT || line.ends_with("dropped")));
}

#[test]
fn a_standard_error_without_a_reader_loses_messages_and_ends_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let sink = Sink::start("stderr", Stderr::onto(OwnedFd::from(writer).into(), LogFormat::Text)).unwrap();
    let reporter = Reporter::over(vec![(sink.clone(), Priority::Info)]);
    say(&reporter, "one");
    say(&reporter, "two");
    assert!(reporter.close(PATIENCE));
    assert_eq!((sink.dropped_total(), sink.written_total()), (2, 0));
}

#[test]
fn too_many_messages_are_dropped_and_told() {
    let (sender, written) = channel();
    let sink = Sink::start("test", Forward(sender)).unwrap();
    let reporter = Reporter::over(vec![(sink.clone(), Priority::Info)]);
    let now = SystemTime::now();
    let mut offered = 0;
    while sink.written_total() + sink.dropped_total() < 25_000 {
        // In portions, so that the rate and not the queue is what is full.
        reporter.notice(now, Priority::Info, "again");
        offered += 1;
        if offered % 1000 == 0 {
            assert!(written.recv_timeout(PATIENCE).is_ok());
        }
    }
    assert!(reporter.close(PATIENCE));
    let rest: Vec<String> = written.iter().collect();
    let notes = rest.iter().filter(|text| text.ends_with("messages were dropped")).count();
    assert!((1..100).contains(&notes), "{notes}");
    assert!(rest.len() <= 10_000 + notes, "{}", rest.len());
}

#[test]
fn levels_are_kept() {
    let (sender, written) = channel();
    let sink = Sink::start("test", Forward(sender)).unwrap();
    let reporter = Reporter::over(vec![(sink, Priority::Notice)]);
    for priority in Priority::ALL {
        reporter.notice(SystemTime::now(), priority, priority.as_str());
    }
    assert!(reporter.close(PATIENCE));
    assert_eq!(written.iter().collect::<Vec<_>>(), ["error", "warning", "notice"]);
}

#[test]
fn a_sink_that_fails_for_good_does_not_hold_up_the_end() {
    struct Broken;
    impl Output for Broken {
        fn write(&mut self, _: &Message) -> Delivery {
            Delivery::Later
        }
    }
    let sink = Sink::start("broken", Broken).unwrap();
    let reporter = Reporter::over(vec![(sink.clone(), Priority::Info)]);
    say(&reporter, "one");
    say(&reporter, "two");
    let asked = Instant::now();
    assert!(!reporter.close(PATIENCE));
    assert!(asked.elapsed() < AT_ONCE);
    assert_eq!((sink.dropped_total(), sink.queued()), (2, (0, 0)));
}

/// Hands on what it gets.
struct Forward(std::sync::mpsc::Sender<String>);

impl Output for Forward {
    fn write(&mut self, message: &Message) -> Delivery {
        self.0.send(message.text.clone()).map_or(Delivery::Lost, |()| Delivery::Done)
    }
}

fn syslog(target: SyslogTarget) -> (Reporter, Receiver<(Priority, String)>) {
    let (sender, told) = channel();
    let tell = Box::new(move |priority, text| drop(sender.send((priority, text))));
    let output = SyslogOutput::new(Wanted::new(target, Facility::LOG_DAEMON), tell);
    (Reporter::over(vec![(Sink::start("syslog", output).unwrap(), Priority::Info)]), told)
}

fn say(reporter: &Reporter, text: &str) {
    reporter.notice(SystemTime::now(), Priority::Warning, text);
}

const FLOOD_TEXT: usize = 2000;

/// Offers until the sink is stuck and its queue is full: nothing waits, the queue keeps its bounds, the rest is counted.
fn flood(reporter: &Reporter) {
    let sink = reporter.sinks().next().unwrap();
    let text = "x".repeat(FLOOD_TEXT);
    let (_held, silence) = channel::<()>();
    let mut now = SystemTime::now();
    let begun = Instant::now();
    loop {
        let (dropped, written) = (sink.dropped_total(), sink.written_total());
        let asked = Instant::now();
        for _ in 0..3000 {
            now += Duration::from_millis(10); // slow enough for the allowed rate
            reporter.notice(now, Priority::Info, &text);
        }
        assert!(asked.elapsed() < AT_ONCE, "offering took {:?}", asked.elapsed());
        let (_, bytes) = sink.queued();
        assert!(bytes <= MAX_QUEUED_BYTES, "{bytes}");
        let _ = silence.recv_timeout(Duration::from_millis(100));
        if sink.dropped_total() >= dropped + 3000 && sink.written_total() == written {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the sink is never stuck");
    }
}

fn socket_directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    (directory, log)
}

/// The next connection; a collector that is never called ends its test instead of waiting for ever.
fn accept(listener: &TcpListener) -> TcpStream {
    let (sender, accepted) = channel();
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || sender.send(listener.accept().unwrap().0));
    let stream = accepted.recv_timeout(PATIENCE).expect("nobody connects");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn bind(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UnixDatagram) -> String {
    let mut packet = vec![0; 9000];
    loop {
        match socket.recv(&mut packet) {
            Ok(length) => return String::from_utf8(packet[..length].to_vec()).unwrap(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet came: {error}"),
        }
    }
}

#[test]
fn a_message_costs_what_it_holds() {
    let text = "x".repeat(3000);
    let message = Message { time: SystemTime::now(), priority: Priority::Info, text, event: None };
    assert!((3000..4000).contains(&Arc::new(message).cost()));
}
