//! An HTTP server with configurable behaviour that records its requests.

use super::{pause, wait_until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
pub(crate) enum Behavior {
    Accept,
    /// Accepts after this time.
    Slow(Duration),
    Reject,
    Unavailable,
    Redirect,
    /// Accepts the connection and never responds.
    Unresponsive,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// Method and path.
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

#[derive(Clone)]
pub(crate) struct FakeServer {
    pub(crate) address: String,
    state: Arc<Mutex<(Behavior, Vec<Request>)>>,
}

impl FakeServer {
    pub(crate) fn start(behaviour: Behavior) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the socket is bound").to_string();
        let fake = FakeServer { address, state: Arc::new(Mutex::new((behaviour, Vec::new()))) };
        let server = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        fake
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behavior) {
        self.lock().0 = behaviour;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().1.clone()
    }

    /// The requests since the last call, which are forgotten.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().1)
    }

    /// Waits for the first request that matches.
    pub(crate) fn wait_for_request(
        &self,
        limit: Duration,
        what: &str,
        matches: impl Fn(&Request) -> bool,
    ) -> Request {
        let mut found = None;
        wait_until(limit, what, || {
            found = self.requests().into_iter().find(&matches);
            found.is_some()
        });
        found.expect("found above")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Behavior, Vec<Request>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream) else { return };
        self.lock().1.push(request);
        let behaviour = self.lock().0;
        let answer = match behaviour {
            Behavior::Accept => "200 OK",
            Behavior::Slow(span) => {
                pause(span);
                "202 Accepted"
            }
            Behavior::Reject => "400 Bad Request",
            Behavior::Unavailable => "503 Service Unavailable",
            Behavior::Redirect => "302 Found\r\nLocation: /other",
            Behavior::Unresponsive => {
                pause(Duration::from_secs(600));
                return;
            }
        };
        let text = "not  like\nthis";
        let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let at = Instant::now();
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if bytes.len() - end - 4 >= length.unwrap_or(0) {
                let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
                let whole = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let line = whole.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
                return Some(Request { at, line, head: whole, body });
            }
        }
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => bytes.extend_from_slice(&buffer[..n]),
            Ok(_) | Err(_) => return None,
        }
    }
}
