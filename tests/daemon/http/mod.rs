//! The HTTP interface: routes, events, the status page, the Unix socket and hostile clients.

mod browser;
mod clients;
mod events;
mod hostile;
pub(crate) mod openapi;
mod page;
mod routes;
mod socket;

use crate::common::{Daemon, Lab, Lines, display_path, free_address, ms, wait_until};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any promised time.
const LIMIT: Duration = Duration::from_secs(10);
/// A change of state is published to HTTP clients within this time.
const PUBLISH_LIMIT: Duration = ms(1000);

pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and headers in lower case.
    head: String,
    body: Vec<u8>,
    elapsed: Duration,
}

impl Response {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A daemon with an HTTP listener that has finished its first run.
pub(crate) fn start_with_http(lab: &Lab, arguments: &[&str]) -> (Daemon, SocketAddr) {
    let address = free_address();
    let text = address.to_string();
    let mut all = vec!["--listen-address", &text];
    all.extend(arguments);
    let daemon = lab.start_daemon(&all);
    // The snapshot is published shortly after the log line.
    let ready = || TcpStream::connect(address).is_ok() && get(address, "/-/ready").status == 200;
    wait_until(LIMIT, "the daemon is ready", ready);
    (daemon, address)
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Response {
    send(address, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

fn send(address: SocketAddr, request: &str) -> Response {
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&address, LIMIT).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("set a timeout");
    exchange(stream, request, start)
}

fn get_unix(socket: &Path, target: &str) -> Response {
    let start = Instant::now();
    let stream = UnixStream::connect(socket).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("set a timeout");
    exchange(stream, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), start)
}

fn exchange(mut stream: impl Read + Write, request: &str, start: Instant) -> Response {
    stream.write_all(request.as_bytes()).expect("send the request");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a complete response in time");
    let elapsed = start.elapsed();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a complete head");
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an HTTP status");
    let mut body = bytes.split_off(end + 4);
    if head.contains("\r\ntransfer-encoding: chunked") {
        body = joined_chunks(&body);
    }
    Response { status, head, body, elapsed }
}

fn joined_chunks(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|w| w == b"\r\n").expect("a size");
        let size = usize::from_str_radix(&String::from_utf8_lossy(&chunks[..end]), 16).expect("a number");
        if size == 0 {
            return body;
        }
        let chunk;
        (chunk, chunks) = chunks[end + 2..].split_at(size);
        body.extend_from_slice(chunk);
        chunks = chunks.strip_prefix(b"\r\n").expect("a line end");
    }
}

pub(crate) fn open_event_stream(address: SocketAddr, target: &str) -> Lines {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).expect("send the request");
    let lines = Lines::from_reader(stream);
    lines.wait_for(0, ": connected", LIMIT).expect("the stream starts");
    lines
}

/// The object of a mount in the API.
pub(crate) fn mount_json(address: SocketAddr, path: &Path) -> Value {
    let document = get(address, "/api/v1/mounts").json();
    let path = display_path(path);
    let mut mounts = document["mounts"].as_array().expect("mounts").iter();
    mounts.find(|mount| mount["mountpoint"] == path.as_str()).expect("the mount is watched").clone()
}
