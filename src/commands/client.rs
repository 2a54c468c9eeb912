//! HTTP to the daemon over its Unix socket, or over TCP for users who may not use that. HTTP 1.0 is enough: a response ends with the connection and needs no
//! decoding. A daemon that is stopped or stuck costs a limited time.

use super::connection::connect;
use super::{print, terminal};
use crate::cli::USAGE_ERROR;
use crate::config::{CheckOutput, DaemonAddress};
use crate::output::http::limits::{FRESH_ALLOWANCE, HEARTBEAT_INTERVAL};
use crate::output::http::mounts::EXIT_STATUS;
use crate::render::escape::escape_os;
use crate::render::nagios::{Range, Thresholds};
use reqwest::Url;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write as _};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The parameter that makes the daemon probe the mounts before it responds.
pub(super) const FRESH_PROBES: (&str, &str) = ("probe", "fresh");
/// The HTTP status of a request that is only allowed on the socket.
const FORBIDDEN: u16 = 403;
/// Maximum size of a response: ten thousand mounts need a tenth of it.
const MAX_RESPONSE: u64 = 64 << 20;
/// Maximum length of a line of a stream: an event with the longest paths.
const MAX_LINE: u64 = 1 << 20;
/// A stream without a heartbeat for this long has lost its daemon.
pub(super) const STREAM_TIMEOUT: Duration = HEARTBEAT_INTERVAL.saturating_mul(3);
/// For connecting and the response together.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Response {
    /// The HTTP status.
    pub(super) status: u16,
    /// The exit status of a command that prints the body.
    exit_status: Option<u8>,
    pub(super) body: String,
}

impl Response {
    /// Prints the body and returns the exit status.
    pub(super) fn print(&self, is_json: bool) -> anyhow::Result<u8> {
        print(&format!("{}{}", self.body, if is_json { "\n" } else { "" }))?;
        Ok(self.exit_status())
    }

    /// Of a command that prints the body.
    pub(super) fn exit_status(&self) -> u8 {
        self.exit_status.unwrap_or(USAGE_ERROR)
    }
}

/// Waits at most [`RESPONSE_TIMEOUT`].
pub(super) fn get(daemon: &DaemonAddress, target: &str) -> io::Result<Response> {
    get_within(daemon, target, RESPONSE_TIMEOUT)
}

/// For a response that waits for probes, which take at most `longest_timeout` each. A daemon whose event loop does not
/// respond is an error at once. Over TCP, where the daemon probes for nobody, what is known.
pub(super) fn get_fresh(
    daemon: &DaemonAddress,
    target: &str,
    longest_timeout: Duration,
) -> io::Result<Response> {
    if get(daemon, "/-/healthy")?.status != 200 {
        return Err(io::Error::other("the daemon's event loop does not respond"));
    }
    let response = get_within(daemon, target, RESPONSE_TIMEOUT + FRESH_ALLOWANCE + longest_timeout)?;
    if response.status == FORBIDDEN {
        return get(daemon, &target.replacen("&probe=fresh", "", 1).replacen("probe=fresh", "", 1));
    }
    Ok(response)
}

fn get_within(daemon: &DaemonAddress, target: &str, timeout: Duration) -> io::Result<Response> {
    send_within(daemon, "GET", target, timeout)
}

/// For a request that makes the daemon do something.
pub(super) fn post(daemon: &DaemonAddress, target: &str, timeout: Duration) -> io::Result<Response> {
    send_within(daemon, "POST", target, timeout)
}

fn send_within(
    daemon: &DaemonAddress,
    method: &'static str,
    target: &str,
    timeout: Duration,
) -> io::Result<Response> {
    request(daemon, method, target, timeout, |mut head| {
        let mut body = String::new();
        head.stream.take(MAX_RESPONSE).read_to_string(&mut body)?;
        if let Some(length) = head.content_length.take_if(|length| *length != body.len() as u64) {
            let text = format!("the response ends after {} of {length} bytes", body.len());
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        Ok(Response { status: head.status, exit_status: head.exit_status, body })
    })
}

/// The target for these mounts, or all, which are probed first if `is_fresh`.
pub(super) fn mounts_target(
    output: CheckOutput,
    thresholds: &Thresholds,
    mountpoints: &[PathBuf],
    is_fresh: bool,
) -> String {
    let style = terminal::style();
    let width = style.width.map(|width| width.to_string());
    let mut parameters = match output {
        CheckOutput::Json => Vec::new(),
        CheckOutput::Nagios => vec![("format", "nagios")],
        CheckOutput::Table => vec![("format", "table"), ("colours", if style.colours { "1" } else { "0" })],
    };
    if output == CheckOutput::Table {
        parameters.extend(width.as_deref().map(|width| ("width", width)));
    }
    let text = |range: &Option<Range>| range.as_ref().map(Range::to_string);
    let (warning, critical) = (text(&thresholds.warning), text(&thresholds.critical));
    parameters.extend(warning.as_deref().map(|range| ("warning", range)));
    parameters.extend(critical.as_deref().map(|range| ("critical", range)));
    if is_fresh {
        parameters.push(FRESH_PROBES);
    }
    target(mountpoints, &parameters)
}

pub(super) fn target(mountpoints: &[PathBuf], parameters: &[(&str, &str)]) -> String {
    let paths = mountpoints.iter().map(|path| ("mountpoint", escape_os(path)));
    let mut url = Url::parse("http://localhost/api/v1/mounts").expect("a valid URL");
    url.query_pairs_mut().extend_pairs(parameters).extend_pairs(paths);
    target_of(&url)
}

/// The target of a drill.
pub(super) fn drill_target(mountpoint: Option<&str>) -> String {
    let mut url = Url::parse("http://localhost/api/v1/drill").expect("a valid URL");
    url.query_pairs_mut().extend_pairs(mountpoint.map(|path| ("mountpoint", path)));
    target_of(&url)
}

fn target_of(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// No daemon listens on the socket.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// Explains why the daemon did not respond.
pub(super) fn describe(daemon: &DaemonAddress, error: io::Error) -> anyhow::Error {
    let path = escape_os(&daemon.socket);
    match error.kind() {
        _ if is_absent(&error) => anyhow::anyhow!("no daemon is running: nothing listens on {path}"),
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("this user may not connect to the daemon on {path} (see socket_group): {error}")
        }
        _ => anyhow::Error::new(error).context(format!("cannot query the daemon on {path}")),
    }
}

/// Server-sent events of the daemon.
pub(super) struct EventStream {
    stream: BufReader<File>,
    position: Option<u64>,
}

/// The first event of a stream.
#[derive(Clone, Copy)]
pub(super) enum StreamStart {
    /// The next event.
    Now,
    /// The one after this number.
    After(u64),
    /// So many deaths, recoveries and the like, then the next event.
    LastVital(u32),
}

impl EventStream {
    pub(super) fn open(daemon: &DaemonAddress, start: StreamStart) -> io::Result<EventStream> {
        let query = match start {
            StreamStart::Now => String::new(),
            StreamStart::After(number) => format!("?after={number}"),
            StreamStart::LastVital(count) => format!("?last={count}"),
        };
        request(daemon, "GET", &format!("/api/v1/events{query}"), RESPONSE_TIMEOUT, |head| {
            if head.status == 200 {
                return Ok(EventStream { stream: head.stream, position: None });
            }
            let mut text = String::new();
            head.stream.take(MAX_LINE).read_to_string(&mut text)?;
            Err(io::Error::other(text.trim_end().to_owned()))
        })
    }

    /// The number of the event after which the stream can be resumed.
    pub(super) fn position(&self) -> Option<u64> {
        self.position
    }

    /// Waits for the next event, a JSON object. An error means that the daemon has ended or sends no heartbeat.
    pub(super) fn next_event(&mut self) -> io::Result<String> {
        let mut data = String::new();
        loop {
            let line = read_line(&mut self.stream)?;
            match line.split_once(": ") {
                Some(("id", id)) => self.position = id.parse().ok().or(self.position),
                Some(("data", object)) => data = object.to_owned(),
                None if line.is_empty() && !data.is_empty() => return Ok(data),
                _ => {} // a comment, the kind of the event, or the delay before reconnecting
            }
        }
    }
}

/// The start of a response, and the stream with its body.
struct ResponseHead {
    status: u16,
    exit_status: Option<u8>,
    content_length: Option<u64>,
    stream: BufReader<File>,
}

/// Sends a request and reads its response in a thread: a daemon that is stopped may never respond.
fn request<T: Send + 'static>(
    daemon: &DaemonAddress,
    method: &'static str,
    target: &str,
    timeout: Duration,
    read: impl FnOnce(ResponseHead) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, result) = mpsc::channel();
    // The child that connects has another working directory.
    let daemon = DaemonAddress { socket: std::path::absolute(&daemon.socket)?, ..daemon.clone() };
    let target = target.to_owned();
    thread::Builder::new().name("client".into()).spawn(move || {
        let _ = sender.send(send(&daemon, method, &target).and_then(read)); // the receiver is gone after the timeout
    })?;
    result.recv_timeout(timeout).unwrap_or_else(|_| {
        let text = format!("no response in {}s", timeout.as_secs());
        Err(io::Error::new(ErrorKind::TimedOut, text))
    })
}

fn send(daemon: &DaemonAddress, method: &str, target: &str) -> io::Result<ResponseHead> {
    let mut stream = connect(daemon)?;
    write!(stream, "{method} {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut stream = BufReader::new(stream);
    let status = read_line(&mut stream)?.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the response is not HTTP"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn parameters_are_encoded() {
        let target = target(&["/a b&c=d%é\\".into()], &[("format", "table")]);
        assert_eq!(target, "/api/v1/mounts?format=table&mountpoint=%2Fa+b%26c%3Dd%25%C3%A9%5C134");
    }

    #[test]
    fn missing_socket_is_an_absent_daemon() {
        let daemon = DaemonAddress { socket: "/nowhere/socket".into(), listen: None };
        assert!(get(&daemon, "/").is_err_and(|error| is_absent(&error)));
    }

    #[test]
    fn stream_is_split_into_events() {
        let (mut daemon, stream) = UnixStream::pair().unwrap();
        daemon.write_all(b"retry: 2000\n: connected\n\nid: 7\ndata: {\"a\":\": \"}\n\nid: 8\n\n").unwrap();
        daemon.write_all(b"event: missed\nid: 9\ndata: {\"missed\":2}\n\n: still here\n\n").unwrap();
        drop(daemon);
        let mut events = EventStream { stream: BufReader::new(OwnedFd::from(stream).into()), position: None };
        assert_eq!(events.next_event().unwrap(), "{\"a\":\": \"}");
        assert_eq!(events.position(), Some(7));
        assert_eq!(events.next_event().unwrap(), "{\"missed\":2}");
        assert_eq!(events.next_event().unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(events.position(), Some(9));
    }
}
