//! A server that does what a test wants, and remembers what it was asked.

use crate::common::{pause, slack, wait_until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
#[allow(dead_code)] // not every test meets all of them
pub(crate) enum Manner {
    /// Takes what comes.
    Kind,
    /// Takes it, but late.
    Slow(Duration),
    /// Refuses.
    Refuses,
    /// Has no time.
    Busy,
    /// Sends it elsewhere.
    Redirects,
    /// Never says a word.
    BlackHole,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// The method and the path.
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) address: String,
    state: Arc<Mutex<(Manner, Vec<Request>)>>,
}

impl Fake {
    pub(crate) fn start(manner: Manner) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let fake = Fake { address, state: Arc::new(Mutex::new((manner, Vec::new()))) };
        let serving = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        fake
    }

    pub(crate) fn becomes(&self, manner: Manner) {
        self.lock().0 = manner;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().1.clone()
    }

    /// The first request that is like this.
    pub(crate) fn got(&self, limit: Duration, what: &str, like: impl Fn(&Request) -> bool) -> Request {
        let mut found = None;
        wait_until(limit + slack(), what, || {
            found = self.requests().into_iter().find(&like);
            found.is_some()
        });
        found.expect("just seen")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Manner, Vec<Request>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream) else { return };
        self.lock().1.push(request);
        let manner = self.lock().0;
        let answer = match manner {
            Manner::Kind => "200 OK",
            Manner::Slow(span) => {
                pause(span);
                "202 Accepted"
            }
            Manner::Refuses => "400 Bad Request",
            Manner::Busy => "503 Service Unavailable",
            Manner::Redirects => "302 Found\r\nLocation: /elsewhere",
            Manner::BlackHole => {
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
