//! The daemon as it is asked over HTTP: by scrapers, scripts, people with browsers, and hostile clients.

mod asking;
mod browser;
mod described;
mod events;
mod hostile;
mod page;
mod routes;
mod socket;

use crate::common::{Daemon, Lab, Lines, ms, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any promise: what is not answered by then is not answered.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, as they come.
    head: String,
    body: Vec<u8>,
    elapsed: Duration,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("it is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// An address that nobody else listens on.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("it is bound")
}

/// A daemon with an address, done with its first run.
pub(crate) fn start_with_http(lab: &Lab, arguments: &[&str]) -> (Daemon, SocketAddr) {
    let address = free_address();
    let text = address.to_string();
    let mut all = vec!["--listen-address", &text];
    all.extend(arguments);
    let daemon = lab.start_daemon(&all);
    // From the run that was told to the snapshot that has it.
    let ready = || TcpStream::connect(address).is_ok() && get(address, "/-/ready").status == 200;
    wait_until(LIMIT, "it is ready", ready);
    (daemon, address)
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    send(address, &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

fn send(address: SocketAddr, request: &str) -> Answer {
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&address, LIMIT).expect("somebody listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    converse(stream, request, start)
}

fn get_unix(socket: &Path, target: &str) -> Answer {
    let start = Instant::now();
    let stream = UnixStream::connect(socket).expect("somebody listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    converse(stream, &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), start)
}

fn converse(mut stream: impl Read + Write, request: &str, start: Instant) -> Answer {
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer and its end come in time");
    let elapsed = start.elapsed();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("it is HTTP");
    Answer { status, head, body: bytes.split_off(end + 4), elapsed }
}

/// The lines of a stream of events.
fn open_event_stream(address: SocketAddr, target: &str) -> Lines {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).expect("it reads");
    let lines = Lines::from_reader(stream);
    lines.wait_for(0, ": connected", LIMIT).expect("the stream begins at once");
    lines
}

/// The state of a mount as the API has it.
fn state_of(address: SocketAddr, path: &Path) -> String {
    let answer = get(address, "/api/v1/mounts").json();
    let mounts = answer["mounts"].as_array().expect("mounts");
    let path = crate::common::display_path(path);
    let found = mounts.iter().find(|mount| mount["mountpoint"] == path.as_str());
    found.expect("it is watched")["state"].as_str().expect("a state").to_owned()
}

/// From a verdict to those who look on.
const SHOWN_WITHIN: Duration = ms(1000);
