//! Sinks with real sockets and pipes, including those without a reader.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

#[path = "common/samples.rs"]
mod samples;

use mount_status_monitor::monitor::Severity;
use mount_status_monitor::monitor::{Event, Reason};
use mount_status_monitor::output::sink::{Delivery, SinkWriter};
use mount_status_monitor::output::stderr::StderrWriter;
use mount_status_monitor::output::syslog::{SyslogSettings, SyslogWriter};
use mount_status_monitor::output::{Facility, LogFormat, ReportSettings, Reporter, Sink, SyslogTarget};
use mount_status_monitor::render::{Message, Priority};
use samples::{failure, nfs_mount};
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

/// Upper bound of every wait in these tests.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Upper bound of a call that must not block, even on a slow machine.
const IMMEDIATE: Duration = Duration::from_secs(2);
const MAX_QUEUED_BYTES: usize = 4 << 20;

#[test]
fn unix_socket_receives_packets() {
    let (directory, log) = socket_directory();
    let socket = bind(&log);
    let (reporter, logged) = syslog(SyslogTarget::Unix(log));
    log_line(&reporter, "hello");
    let packet = receive(&socket);
    assert!(packet.starts_with("<28>") && packet.ends_with(": hello"), "{packet}");
    assert!(packet.contains(&format!("mount_status_monitor[{}]", std::process::id())));
    assert!(logged.try_recv().is_err());
    assert!(reporter.close(TIMEOUT));
    drop(directory);
}

#[test]
fn restarted_syslog_receives_the_next_message() {
    let (_directory, log) = socket_directory();
    let socket = bind(&log);
    let (reporter, logged) = syslog(SyslogTarget::Unix(log.clone()));
    log_line(&reporter, "before");
    receive(&socket);
    std::fs::remove_file(&log).unwrap();
    drop(socket);
    let socket = bind(&log);
    log_line(&reporter, "after");
    assert!(receive(&socket).ends_with(": after"));
    assert!(logged.try_recv().is_err(), "this is not worth a line");
}

#[test]
fn missing_syslog_is_logged_once_and_tried_again() {
    let (_directory, log) = socket_directory();
    let (reporter, logged) = syslog(SyslogTarget::Unix(log.clone()));
    let (priority, text) = logged.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(priority, Priority::Warning);
    assert!(text.contains("cannot be reached") && text.contains(log.to_str().unwrap()), "{text}");
    log_line(&reporter, "kept");
    let socket = bind(&log);
    assert!(receive(&socket).ends_with(": kept"));
    let (priority, text) = logged.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(priority, Priority::Notice);
    assert!(text.ends_with(": connected again"), "{text}");
    assert!(logged.try_recv().is_err());
}

#[test]
fn new_target_is_tried_at_once_after_long_failures() {
    let (_directory, log) = socket_directory();
    let absent = SyslogTarget::Unix(log.with_file_name("absent"));
    let settings = ReportSettings { log_level: Priority::Error, syslog: absent, ..ReportSettings::default() };
    let reporter = Reporter::start(&settings).unwrap();
    log_line(&reporter, "kept");
    // Three attempts were made; the next is due after 4 s.
    std::thread::park_timeout(Duration::from_millis(3500));
    let socket = bind(&log);
    let begun = Instant::now();
    reporter.reconfigure(&ReportSettings { syslog: SyslogTarget::Unix(log), ..settings });
    assert!(receive(&socket).ends_with(": kept"));
    assert!(begun.elapsed() < IMMEDIATE, "{:?}", begun.elapsed());
}

#[test]
fn full_unix_socket_does_not_block_and_drops_are_reported() {
    let (_directory, log) = socket_directory();
    let socket = bind(&log);
    let (reporter, _logged) = syslog(SyslogTarget::Unix(log));
    flood(&reporter);
    let packets = std::iter::from_fn(|| Some(receive(&socket)));
    let note = packets.into_iter().find(|packet| packet.contains("messages were dropped")).unwrap();
    let count: u64 = note.rsplit_once("]: ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(count, reporter.sinks().next().unwrap().dropped_total());
    log_line(&reporter, "again");
    assert!(receive(&socket).ends_with(": again"));
}

#[test]
fn death_is_delivered_although_other_messages_fill_the_queue() {
    let (_directory, log) = socket_directory();
    let socket = bind(&log);
    let (reporter, _logged) = syslog(SyslogTarget::Unix(log));
    flood(&reporter);
    let died = Event::Failed { mount: nfs_mount("/a"), failure: failure(Reason::Hung) };
    reporter.report(Instant::now(), SystemTime::now(), &died, Severity::Critical);
    flood(&reporter);
    // The sink's thread writes what was in the queue: the death too.
    let mut packets = std::iter::from_fn(|| Some(receive(&socket)));
    assert!(packets.any(|packet| packet.contains("Mount failed health-check: /a")));
}

#[test]
fn frozen_syslog_is_replaced_by_its_successor() {
    let (_directory, log) = socket_directory();
    let _frozen = bind(&log);
    let (reporter, _logged) = syslog(SyslogTarget::Unix(log.clone()));
    flood(&reporter);
    std::fs::remove_file(&log).unwrap();
    let successor = bind(&log);
    assert!(receive(&successor).contains("xxx"));
}

#[test]
fn unix_stream_receives_terminated_packets() {
    let (_directory, log) = socket_directory();
    let listener = UnixListener::bind(&log).unwrap();
    let (reporter, _logged) = syslog(SyslogTarget::Unix(log));
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut stream = BufReader::new(stream);
    for text in ["one", "two"] {
        log_line(&reporter, text);
        let mut packet = Vec::new();
        stream.read_until(0, &mut packet).unwrap();
        assert!(packet.ends_with(format!(": {text}\0").as_bytes()));
    }
}

#[test]
fn tcp_collector_receives_lines_and_is_connected_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (reporter, _logged) = syslog(SyslogTarget::Tcp(address));
    let mut first = BufReader::new(accept(&listener));
    for text in ["one", "two"] {
        log_line(&reporter, text);
        let mut line = String::new();
        first.read_line(&mut line).unwrap();
        assert!(line.ends_with(&format!(": {text}\n")), "{line}");
    }
    drop(first);
    // A line that is written before the end of the connection is known is lost, as always with syslog over TCP.
    let again = std::thread::scope(|scope| {
        let again = scope.spawn(|| accept(&listener));
        while !again.is_finished() {
            log_line(&reporter, "three");
            std::thread::park_timeout(Duration::from_millis(100));
        }
        again.join().unwrap()
    });
    let mut line = String::new();
    BufReader::new(again).read_line(&mut line).unwrap();
    assert!(line.ends_with(": three\n"), "{line}");
}

#[test]
fn tcp_collector_that_does_not_read_does_not_block() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reporter, _logged) = syslog(SyslogTarget::Tcp(listener.local_addr().unwrap().to_string()));
    let _accepted = accept(&listener);
    flood(&reporter);
    let started = Instant::now();
    assert!(!reporter.close(Duration::from_millis(50)), "the sink still blocks");
    assert!(started.elapsed() < IMMEDIATE);
}

#[test]
fn udp_datagrams_have_a_bounded_size() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let (reporter, _logged) = syslog(SyslogTarget::Udp(socket.local_addr().unwrap().to_string()));
    log_line(&reporter, &"x".repeat(5000));
    let mut packet = [0; 9000];
    assert_eq!(socket.recv(&mut packet).unwrap(), 1024);
    assert!(packet.starts_with(b"<28>"));
}

#[test]
fn only_the_journal_receives_priority_prefixes() {
    // JSON, because the journal receives text by its socket, see tests/daemon/sinks.rs.
    if std::env::var_os(CHILD).is_some() {
        return run_child();
    }
    for (own_stream, expected) in [(true, "<4>{\"event\":\"notice\","), (false, "{\"event\":\"notice\",")] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = File::from(OwnedFd::from(writer));
        let pipe = writer.metadata().unwrap();
        let inode = if own_stream { pipe.ino() } else { pipe.ino() + 1 };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "only_the_journal_receives_priority_prefixes", "--nocapture"])
            .env(CHILD, "1")
            .env("JOURNAL_STREAM", format!("{}:{inode}", pipe.dev()))
            .stdout(Stdio::null())
            .stderr(writer)
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success());
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert!(written.starts_with(expected), "{written}");
    }
}

/// Set for the child of the test above, which has its own standard error.
const CHILD: &str = "MSM_TEST_CHILD";

fn run_child() {
    let settings = ReportSettings {
        log_format: LogFormat::Json,
        syslog: SyslogTarget::Off,
        ..ReportSettings::default()
    };
    let reporter = Reporter::start(&settings).unwrap();
    log_line(&reporter, "hello from the child");
    assert!(reporter.close(TIMEOUT));
}

#[test]
fn stderr_without_reads_does_not_block() {
    let (reader, writer) = std::io::pipe().unwrap();
    let output = StderrWriter::to_file(OwnedFd::from(writer).into(), LogFormat::Text);
    let (reporter, _) = reporter_with(output);
    flood(&reporter);
    let started = Instant::now();
    assert!(!reporter.close(Duration::from_millis(50)), "the sink still blocks");
    assert!(started.elapsed() < IMMEDIATE);
    let mut all = String::new();
    BufReader::new(reader).read_to_string(&mut all).unwrap();
    assert!(all.lines().last().unwrap().ends_with("messages were dropped"), "{:?}", all.lines().last());
    assert!(all.lines().all(|line| line.len() == FLOOD_TEXT || line.ends_with("dropped")));
}

#[test]
fn messages_to_closed_stderr_are_counted_as_dropped() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = StderrWriter::to_file(OwnedFd::from(writer).into(), LogFormat::Text);
    let (reporter, sink) = reporter_with(output);
    log_line(&reporter, "one");
    log_line(&reporter, "two");
    assert!(reporter.close(TIMEOUT));
    assert_eq!((sink.dropped_total(), sink.written_total()), (2, 0));
}

#[test]
fn messages_above_the_rate_are_dropped_and_reported() {
    let (sender, written) = channel();
    let (reporter, sink) = reporter_with(Forward(sender));
    let now = SystemTime::now();
    let mut offered = 0;
    while sink.written_total() + sink.dropped_total() < 25_000 {
        // In portions, so that the rate is exceeded and not the queue.
        reporter.notice(now, Priority::Info, "again");
        offered += 1;
        if offered % 1000 == 0 {
            assert!(written.recv_timeout(TIMEOUT).is_ok());
        }
    }
    assert!(reporter.close(TIMEOUT));
    let rest: Vec<String> = written.iter().collect();
    let notes = rest.iter().filter(|text| text.ends_with("messages were dropped")).count();
    assert!((1..100).contains(&notes), "{notes}");
    assert!(rest.len() <= 10_000 + notes, "{}", rest.len());
}

#[test]
fn sink_receives_only_its_level() {
    let (sender, written) = channel();
    let sink = Sink::start("test", Forward(sender)).unwrap();
    let reporter = Reporter::with_sinks(vec![(sink, Priority::Notice)]);
    for priority in Priority::ALL {
        reporter.notice(SystemTime::now(), priority, priority.as_str());
    }
    assert!(reporter.close(TIMEOUT));
    assert_eq!(written.iter().collect::<Vec<_>>(), ["error", "warning", "notice"]);
}

#[test]
fn failing_sink_does_not_delay_the_close() {
    struct Broken;
    impl SinkWriter for Broken {
        fn write(&mut self, _: &Message) -> Delivery {
            Delivery::Retry
        }
    }
    let (reporter, sink) = reporter_with(Broken);
    log_line(&reporter, "one");
    log_line(&reporter, "two");
    let started = Instant::now();
    assert!(!reporter.close(TIMEOUT));
    assert!(started.elapsed() < IMMEDIATE);
    assert_eq!((sink.dropped_total(), sink.queued()), (2, (0, 0)));
}

/// Sends the texts of messages to a channel.
struct Forward(std::sync::mpsc::Sender<String>);

impl SinkWriter for Forward {
    fn write(&mut self, message: &Message) -> Delivery {
        self.0.send(message.text.clone()).map_or(Delivery::Lost, |()| Delivery::Done)
    }
}

fn syslog(target: SyslogTarget) -> (Reporter, Receiver<(Priority, String)>) {
    let (sender, logged) = channel();
    let log = Arc::new(move |priority, text: &str| drop(sender.send((priority, text.to_owned()))));
    let output = SyslogWriter::new(SyslogSettings::new((target, Facility::LOG_DAEMON).into()), log);
    (reporter_with(output).0, logged)
}

fn reporter_with(writer: impl SinkWriter) -> (Reporter, Sink) {
    let sink = Sink::start("test", writer).unwrap();
    (Reporter::with_sinks(vec![(sink.clone(), Priority::Info)]), sink)
}

fn log_line(reporter: &Reporter, text: &str) {
    reporter.notice(SystemTime::now(), Priority::Warning, text);
}

const FLOOD_TEXT: usize = 2000;

/// Offers messages until the sink blocks and its queue is full. No offer waits, the queue stays bounded, and the rest
/// is counted.
fn flood(reporter: &Reporter) {
    let sink = reporter.sinks().next().unwrap();
    let text = "x".repeat(FLOOD_TEXT);
    let (_sender, pause) = channel::<()>();
    let mut now = SystemTime::now();
    let begun = Instant::now();
    loop {
        let (dropped, written) = (sink.dropped_total(), sink.written_total());
        let started = Instant::now();
        for _ in 0..3000 {
            now += Duration::from_millis(10); // within the allowed rate
            reporter.notice(now, Priority::Info, &text);
        }
        assert!(started.elapsed() < IMMEDIATE, "offering took {:?}", started.elapsed());
        let (_, bytes) = sink.queued();
        assert!(bytes <= MAX_QUEUED_BYTES, "{bytes}");
        let _ = pause.recv_timeout(Duration::from_millis(100));
        if sink.dropped_total() >= dropped + 3000 && sink.written_total() == written {
            break;
        }
        assert!(begun.elapsed() < TIMEOUT, "the sink does not block");
    }
}

fn socket_directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    (directory, log)
}

/// The next connection, with a timeout.
fn accept(listener: &TcpListener) -> TcpStream {
    let (sender, accepted) = channel();
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || sender.send(listener.accept().unwrap().0));
    let stream = accepted.recv_timeout(TIMEOUT).expect("a connection is made");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

fn bind(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

fn receive(socket: &UnixDatagram) -> String {
    let mut packet = vec![0; 9000];
    loop {
        match socket.recv(&mut packet) {
            Ok(length) => return String::from_utf8(packet[..length].to_vec()).unwrap(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet was received: {error}"),
        }
    }
}

#[test]
fn cost_of_a_message_is_its_memory() {
    let text = "x".repeat(3000);
    let message = Message { time: SystemTime::now(), priority: Priority::Info, text, event: None };
    assert!((3000..4000).contains(&Arc::new(message).cost()));
}
