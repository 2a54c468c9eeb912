//! HTTP to the daemon over its Unix socket. HTTP 1.0 is enough: a response ends with the connection and needs no
//! decoding. A daemon that is stopped or stuck costs a limited time.

use super::print;
use super::terminal;
use crate::cli::USAGE_ERROR;
use crate::config::CheckOutput;
use crate::output::http::limits::HEARTBEAT_INTERVAL;
use crate::output::http::mounts::EXIT_STATUS;
use crate::render::escape::escape_os;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The largest response: ten thousand mounts make a tenth of it.
const MAX_RESPONSE: u64 = 64 << 20;
/// The longest line of a stream: an event with the longest paths.
const MAX_LINE: u64 = 1 << 20;
/// A stream without a heartbeat for this long has lost its daemon.
const STREAM_TIMEOUT: Duration = HEARTBEAT_INTERVAL.saturating_mul(3);
/// For connecting and the response together.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
const MOUNTS: &str = "/api/v1/mounts";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Response {
    /// The HTTP status.
    pub(super) status: u16,
    /// The exit status of a command that prints the body.
    pub(super) exit_status: Option<u8>,
    pub(super) body: String,
}

impl Response {
    /// Prints the body and returns the exit status.
    pub(super) fn print(&self, is_json: bool) -> anyhow::Result<u8> {
        print(&format!("{}{}", self.body, if is_json { "\n" } else { "" }))?;
        Ok(self.exit_status.unwrap_or(USAGE_ERROR))
    }
}

/// Waits at most [`RESPONSE_TIMEOUT`].
///
/// # Errors
/// No daemon listens (`NotFound`, `ConnectionRefused`), or it does not respond (`TimedOut`).
pub(super) fn get(socket: &Path, target: &str) -> io::Result<Response> {
    let (socket, target) = (socket.to_owned(), target.to_owned());
    with_timeout(move || {
        let mut head = ResponseHead::request(&socket, &target)?;
        let mut body = String::new();
        head.stream.by_ref().take(MAX_RESPONSE).read_to_string(&mut body)?;
        if let Some(length) = head.content_length.filter(|&length| length != body.len() as u64) {
            let text = format!("the response ends after {} of {length} bytes", body.len());
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        Ok(Response { status: head.status, exit_status: head.exit_status, body })
    })
}

/// The target for these mounts, or all.
pub(super) fn mounts_target(output: CheckOutput, mountpoints: &[PathBuf]) -> String {
    let mut target = match output {
        CheckOutput::Json if mountpoints.is_empty() => MOUNTS.to_owned(),
        CheckOutput::Json => format!("{MOUNTS}?format=json"),
        CheckOutput::Nagios => format!("{MOUNTS}?format=nagios"),
        CheckOutput::Table => {
            let style = terminal::style();
            let width = style.width.map(|width| format!("&width={width}")).unwrap_or_default();
            format!("{MOUNTS}?format=table{width}&colours={}", u8::from(style.colours))
        }
    };
    for path in mountpoints {
        target.push_str(&format!("&{}", mountpoint_parameter(path)));
    }
    target
}

/// The target for one mount, with further parameters.
pub(super) fn mount_target(path: &Path, parameters: &str) -> String {
    format!("{MOUNTS}?{}{parameters}", mountpoint_parameter(path))
}

fn mountpoint_parameter(path: &Path) -> String {
    format!("mountpoint={}", percent_encode(&escape_os(path)))
}

/// No daemon listens on the socket.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// Explains why the daemon did not respond.
pub(super) fn describe(socket: &Path, error: io::Error) -> anyhow::Error {
    let path = escape_os(socket);
    match error.kind() {
        _ if is_absent(&error) => anyhow::anyhow!(
            "no daemon is running: nothing listens on {path}; `check` probes the mounts directly"
        ),
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("this user may not connect to the daemon on {path}: {error}")
        }
        _ => anyhow::Error::new(error).context(format!("cannot query the daemon on {path}")),
    }
}

/// Server-sent events of the daemon.
#[derive(Debug)]
pub(super) struct EventStream {
    stream: BufReader<UnixStream>,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct SseEvent {
    /// Empty for an event of a mount.
    pub(super) kind: String,
    /// The number to resume after.
    pub(super) id: Option<u64>,
    /// A JSON object.
    pub(super) data: String,
}

impl EventStream {
    /// The events after this number, or those yet to come.
    ///
    /// # Errors
    /// As [`get`].
    pub(super) fn open(socket: &Path, after: Option<u64>) -> io::Result<EventStream> {
        let after = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let (socket, target) = (socket.to_owned(), format!("/api/v1/events{after}"));
        with_timeout(move || {
            let mut head = ResponseHead::request(&socket, &target)?;
            if head.status != 200 {
                let mut text = String::new();
                head.stream.by_ref().take(MAX_LINE).read_to_string(&mut text)?;
                return Err(io::Error::other(text.trim_end().to_owned()));
            }
            Ok(EventStream { stream: head.stream })
        })
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The daemon has ended or sends no heartbeat.
    pub(super) fn next_event(&mut self) -> io::Result<SseEvent> {
        let mut event = SseEvent::default();
        loop {
            let line = read_line(&mut self.stream)?;
            if line.is_empty() {
                if !event.data.is_empty() {
                    return Ok(event);
                }
                event = SseEvent::default();
                continue;
            }
            match line.split_once(": ") {
                Some(("event", kind)) => event.kind = kind.to_owned(),
                Some(("id", id)) => event.id = id.parse().ok(),
                Some(("data", data)) => event.data = data.to_owned(),
                _ => {} // a comment, or the delay before reconnecting
            }
        }
    }
}

/// Runs it on a thread: connecting to a stopped daemon with a full queue would wait for ever, and so would a socket
/// on a file system that hangs.
fn with_timeout<T: Send + 'static>(
    request: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, result) = mpsc::channel();
    thread::Builder::new().name("client".into()).spawn(move || {
        let _ = sender.send(request()); // the receiver is gone after the timeout
    })?;
    let timed_out = || {
        let text = format!("no response in {}s", RESPONSE_TIMEOUT.as_secs());
        io::Error::new(ErrorKind::TimedOut, text)
    };
    result.recv_timeout(RESPONSE_TIMEOUT).unwrap_or_else(|_| Err(timed_out()))
}

/// The start of a response, and the stream with its body.
struct ResponseHead {
    status: u16,
    exit_status: Option<u8>,
    content_length: Option<u64>,
    stream: BufReader<UnixStream>,
}

impl ResponseHead {
    fn request(socket: &Path, target: &str) -> io::Result<ResponseHead> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(STREAM_TIMEOUT))?;
        stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
        write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut stream = BufReader::new(stream);
        let status_line = read_line(&mut stream)?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the response is not HTTP"))?;
        let mut head = ResponseHead { status, exit_status: None, content_length: None, stream };
        loop {
            let line = read_line(&mut head.stream)?;
            let Some((name, value)) = line.split_once(':') else { return Ok(head) };
            if name.eq_ignore_ascii_case("content-length") {
                head.content_length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case(EXIT_STATUS.as_str()) {
                head.exit_status = value.trim().parse().ok();
            }
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.take(MAX_LINE).read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if !line.ends_with('\n') {
        return Err(io::Error::new(ErrorKind::InvalidData, "a line is too long"));
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// For a value of a query.
fn percent_encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for &byte in value.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02X}").expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_bytes_of_a_query_are_percent_encoded() {
        assert_eq!(percent_encode("/mnt/a-b_c.d~"), "/mnt/a-b_c.d~");
        assert_eq!(percent_encode("/a b&c=d%é\\012"), "/a%20b%26c%3Dd%25%C3%A9%5C012");
    }

    #[test]
    fn missing_socket_is_an_absent_daemon() {
        assert!(is_absent(&get(Path::new("/nowhere/socket"), "/").unwrap_err()));
    }

    #[test]
    fn stream_is_split_into_events() {
        let (mut daemon, stream) = UnixStream::pair().unwrap();
        daemon.write_all(b"retry: 2000\n: connected\n\nid: 7\ndata: {\"a\":\": \"}\n\n").unwrap();
        daemon.write_all(b"event: missed\nid: 9\ndata: {\"missed\":2}\n\n: still here\n\n").unwrap();
        drop(daemon);
        let mut events = EventStream { stream: BufReader::new(stream) };
        let first = SseEvent { kind: String::new(), id: Some(7), data: "{\"a\":\": \"}".into() };
        assert_eq!(events.next_event().unwrap(), first);
        let second = events.next_event().unwrap();
        assert_eq!((second.kind.as_str(), second.id), ("missed", Some(9)));
        assert_eq!(events.next_event().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
