//! Asking the daemon over its Unix socket, from another process. HTTP 1.0 is all that is spoken: its answers end with
//! the connection, so nothing has to be decoded. A daemon that is stopped or stuck costs a limited time.

use crate::output::http::limits::HEARTBEAT;
use crate::output::http::mounts::EXIT_STATUS;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The largest answer: ten thousand mounts make a tenth of it.
const MAX_ANSWER: u64 = 64 << 20;
/// The largest line of a stream: an event with the longest paths.
const MAX_LINE: u64 = 1 << 20;
/// A stream that says nothing for this long has lost its daemon.
const SILENCE: Duration = HEARTBEAT.saturating_mul(3);
/// How long a daemon may take to say anything.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The exit status of a command that shows it.
    pub exit_status: Option<u8>,
    /// The body.
    pub body: String,
}

/// Asks for `target` and waits at most for [`ANSWER_LIMIT`].
///
/// # Errors
/// `NotFound` and `ConnectionRefused` mean that no daemon listens; `TimedOut`, that it does not answer.
pub fn ask(socket: &Path, target: &str) -> io::Result<Answer> {
    let (socket, target) = (socket.to_owned(), target.to_owned());
    within_limit(move || {
        let mut reader = Head::send(&socket, &target)?;
        let mut body = String::new();
        let most = reader.length.unwrap_or(MAX_ANSWER).min(MAX_ANSWER);
        reader.stream.by_ref().take(MAX_ANSWER).read_to_string(&mut body)?;
        if reader.length.is_some_and(|length| length != body.len() as u64) {
            let text = format!("the answer ends after {} of {most} bytes", body.len());
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        Ok(Answer { status: reader.status, exit_status: reader.exit_status, body })
    })
}

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Events {
    stream: BufReader<UnixStream>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ServerSent {
    /// Its kind; empty for an event of a mount.
    pub kind: String,
    /// The number to resume after.
    pub id: Option<u64>,
    /// A JSON object.
    pub data: String,
}

impl Events {
    /// Follows the events: those after this number, or those yet to come.
    ///
    /// # Errors
    /// As for [`ask`].
    pub fn follow(socket: &Path, after: Option<u64>) -> io::Result<Events> {
        let target = after
            .map_or_else(|| "/api/v1/events".to_owned(), |after| format!("/api/v1/events?after={after}"));
        let socket = socket.to_owned();
        within_limit(move || {
            let mut head = Head::send(&socket, &target)?;
            if head.status != 200 {
                let mut text = String::new();
                head.stream.by_ref().take(MAX_LINE).read_to_string(&mut text)?;
                return Err(io::Error::other(text.trim_end().to_owned()));
            }
            Ok(Events { stream: head.stream })
        })
    }

    /// Waits for the next.
    ///
    /// # Errors
    /// When the daemon is gone or says nothing for too long.
    pub fn next_event(&mut self) -> io::Result<ServerSent> {
        let mut event = ServerSent::default();
        loop {
            let line = line(&mut self.stream)?;
            if line.is_empty() {
                if !event.data.is_empty() {
                    return Ok(event);
                }
                event = ServerSent::default();
                continue;
            }
            match line.split_once(": ") {
                Some(("event", kind)) => event.kind = kind.to_owned(),
                Some(("id", id)) => event.id = id.parse().ok(),
                Some(("data", data)) => event.data = data.to_owned(),
                _ => {} // a comment, or the pause before a return
            }
        }
    }
}

/// Does this on a thread: connecting to a stopped daemon whose queue is full would wait for ever, and so would a
/// socket on a file system that hangs.
fn within_limit<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("ask".into()).spawn(move || {
        let _ = tell.send(work()); // too late is as good as never
    })?;
    let no_answer =
        || io::Error::new(ErrorKind::TimedOut, format!("no answer in {}s", ANSWER_LIMIT.as_secs()));
    told.recv_timeout(ANSWER_LIMIT).unwrap_or_else(|_| Err(no_answer()))
}

/// The start of an answer, its body yet to be read.
struct Head {
    status: u16,
    exit_status: Option<u8>,
    length: Option<u64>,
    stream: BufReader<UnixStream>,
}

impl Head {
    fn send(socket: &Path, target: &str) -> io::Result<Head> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut stream = BufReader::new(stream);
        let status = line(&mut stream)?;
        let no_http = || io::Error::new(ErrorKind::InvalidData, "this is no HTTP");
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(no_http)?;
        let mut head = Head { status, exit_status: None, length: None, stream };
        loop {
            let line = line(&mut head.stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case(EXIT_STATUS.as_str()) {
                head.exit_status = value.trim().parse().ok();
            }
        }
        Ok(head)
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
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

/// A value of a query.
#[must_use]
pub fn in_query(value: &str) -> String {
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
    fn values_of_a_query() {
        assert_eq!(in_query("/mnt/a-b_c.d~"), "/mnt/a-b_c.d~");
        assert_eq!(in_query("/a b&c=d%é\\012"), "/a%20b%26c%3Dd%25%C3%A9%5C012");
    }

    #[test]
    fn who_is_not_there_is_seen_at_once() {
        let error = ask(Path::new("/nowhere/socket"), "/").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn events_of_a_stream() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(b"retry: 2000\n: connected\n\nid: 7\ndata: {\"a\":\": \"}\n\n").unwrap();
        theirs.write_all(b"event: missed\nid: 9\ndata: {\"missed\":2}\n\n: still here\n\n").unwrap();
        drop(theirs);
        let mut events = Events { stream: BufReader::new(ours) };
        let first = ServerSent { kind: String::new(), id: Some(7), data: "{\"a\":\": \"}".into() };
        assert_eq!(events.next_event().unwrap(), first);
        let second = events.next_event().unwrap();
        assert_eq!((second.kind.as_str(), second.id), ("missed", Some(9)));
        assert_eq!(events.next_event().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
