//! Lines read by a separate thread, with the time of their arrival.

use super::slack;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<Line>>,
    changed: Condvar,
    ended: AtomicBool,
}

impl Lines {
    pub(crate) fn from_reader(reader: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let sink = lines.clone();
        thread::spawn(move || {
            for bytes in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                sink.push(&bytes);
            }
            let lines = sink.lock();
            sink.0.ended.store(true, Ordering::Release);
            sink.0.changed.notify_all();
            drop(lines);
        });
        lines
    }

    /// Each datagram is one line, as in syslog.
    pub(crate) fn from_socket(socket: UnixDatagram) -> Lines {
        let lines = Lines::default();
        let sink = lines.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            // After a shutdown, recv returns 0.
            while let Ok(n @ 1..) = socket.recv(&mut buffer) {
                sink.push(&buffer[..n]);
            }
        });
        lines
    }

    /// Whether the writer has closed its end.
    pub(crate) fn ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    pub(crate) fn all(&self) -> Vec<Line> {
        self.lock().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn count(&self, needle: &str) -> usize {
        self.lock().iter().filter(|line| line.text.contains(needle)).count()
    }

    /// The first line from this index on that contains the text. `None` after the limit, which is extended by [`slack`],
    /// or when the writer has ended.
    pub(crate) fn wait_for(&self, from: usize, needle: &str, limit: Duration) -> Option<Line> {
        let end = Instant::now() + limit + slack();
        let mut lines = self.lock();
        let mut seen = from;
        loop {
            if let Some(line) = lines.iter().skip(seen).find(|line| line.text.contains(needle)) {
                return Some(line.clone());
            }
            seen = seen.max(lines.len());
            if self.ended() {
                return None;
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            lines = self.0.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn push(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\0']).to_owned();
        self.lock().push(Line { at: Instant::now(), text });
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
