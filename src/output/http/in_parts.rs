//! Bodies that are made while they are sent: a client that reads slowly holds a snapshot and one part, not a text.

use super::limits::MAX_SENDING_TIME;
use crate::render::parts::{PART_SIZE, Parts};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt as _, stream};
use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::Instant;

/// A text in parts, and how it is sent.
pub(super) struct PartsBody {
    parts: Box<dyn Parts>,
    compressor: Option<Compressor>,
    /// Held while a part is made, so that others are served between two parts.
    lock: Arc<Semaphore>,
    has_more: bool,
    deadline: Instant,
}

struct Compressor {
    encoder: GzEncoder<Vec<u8>>,
    _permit: OwnedSemaphorePermit,
}

impl PartsBody {
    /// Compressed with a permit.
    pub(super) fn new(
        parts: impl Parts + 'static,
        permit: Option<OwnedSemaphorePermit>,
        lock: &Arc<Semaphore>,
    ) -> PartsBody {
        let encoder = || GzEncoder::new(Vec::new(), Compression::fast());
        PartsBody {
            parts: Box::new(parts),
            compressor: permit.map(|permit| Compressor { encoder: encoder(), _permit: permit }),
            lock: Arc::clone(lock),
            has_more: true,
            deadline: Instant::now() + MAX_SENDING_TIME,
        }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compressor.is_some()
    }

    /// The body, and whether its length is known: it is if one part is all.
    pub(super) async fn begin(mut self) -> (Body, bool) {
        let first = self.next_part().await;
        if !self.has_more {
            return (Body::from(first), true);
        }
        let rest = stream::try_unfold(self, |mut body| async {
            if !body.has_more {
                return Ok(None);
            }
            if Instant::now() > body.deadline {
                return Err(io::Error::from(ErrorKind::TimedOut));
            }
            Ok(Some((body.next_part().await, body)))
        });
        (Body::from_stream(stream::once(async { Ok(first) }).chain(rest)), false)
    }

    pub(super) async fn length(mut self) -> usize {
        let mut length = 0;
        while self.has_more {
            length += self.next_part().await.len();
        }
        length
    }

    /// Not empty, except the last: the compressor keeps some time what it gets.
    async fn next_part(&mut self) -> Bytes {
        loop {
            let turn = Arc::clone(&self.lock).acquire_owned().await;
            let part = self.make_part();
            drop(turn);
            yield_now().await;
            if !part.is_empty() || !self.has_more {
                return part;
            }
        }
    }

    fn make_part(&mut self) -> Bytes {
        let mut text = Vec::with_capacity(PART_SIZE + PART_SIZE / 16);
        self.has_more = self.parts.write(&mut text, PART_SIZE);
        let Some(Compressor { encoder, .. }) = &mut self.compressor else { return text.into() };
        let written =
            encoder.write_all(&text).and_then(|()| if self.has_more { Ok(()) } else { encoder.try_finish() });
        written.expect("writing to a Vec does not fail");
        std::mem::take(encoder.get_mut()).into()
    }
}

/// Whether the client accepts gzip.
pub(super) fn wants_gzip(headers: &HeaderMap) -> bool {
    let mut codings = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|q| q > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker;
    use std::io::Read as _;
    use std::pin::pin;
    use std::task::{Context, Poll};

    /// A text of this many lines.
    struct Lines(usize);

    impl Parts for Lines {
        fn write(&mut self, text: &mut Vec<u8>, size: usize) -> bool {
            while self.0 > 0 && text.len() < size {
                text.extend_from_slice(format!("line {}\n", self.0).as_bytes());
                self.0 -= 1;
            }
            self.0 > 0
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = noop_waker();
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return result;
            }
        }
    }

    fn begin(lines: usize, permit: Option<OwnedSemaphorePermit>) -> (Body, bool) {
        now(PartsBody::new(Lines(lines), permit, &Arc::new(Semaphore::new(1))).begin())
    }

    /// The parts of a body, and how often it paused.
    fn parts_of(body: Body) -> (Vec<Bytes>, usize) {
        let (waker, mut parts, mut pauses, mut body) = (noop_waker(), Vec::new(), 0, body.into_data_stream());
        loop {
            match body.poll_next_unpin(&mut Context::from_waker(&waker)) {
                Poll::Pending => pauses += 1,
                Poll::Ready(None) => return (parts, pauses),
                Poll::Ready(Some(part)) => parts.push(part.unwrap()),
            }
        }
    }

    #[test]
    fn a_short_text_is_sent_at_once() {
        let (short, is_known) = begin(100, None);
        assert!(is_known);
        assert_eq!(parts_of(short), (vec![Bytes::from(Lines(100).whole())], 0));
    }

    #[test]
    fn others_are_served_between_the_parts_of_a_long_text() {
        let (long, is_known) = begin(100_000, None);
        assert!(!is_known);
        let (parts, pauses) = parts_of(long);
        assert!(parts.len() > 10 && pauses == parts.len() - 1, "{} parts, {pauses} pauses", parts.len());
        assert!(parts.iter().all(|part| part.len() < PART_SIZE + 64));
        assert_eq!(parts.concat(), Lines(100_000).whole());
        let length = now(PartsBody::new(Lines(100_000), None, &Arc::new(Semaphore::new(1))).length());
        assert_eq!(length, parts.concat().len());
    }

    #[test]
    fn a_text_is_made_by_one_at_a_time() {
        let lock = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&lock).try_acquire_owned().unwrap();
        let mut other = pin!(PartsBody::new(Lines(1), None, &lock).begin());
        let mut poll = || other.as_mut().poll(&mut Context::from_waker(&noop_waker())).is_ready();
        assert!(!poll() && !poll() && !poll());
        drop(held);
        assert!(poll() || poll());
    }

    #[test]
    fn a_client_that_is_slow_for_too_long_gets_no_more() {
        let mut body = PartsBody::new(Lines(100_000), None, &Arc::new(Semaphore::new(1)));
        body.deadline = Instant::now();
        let mut stream = now(body.begin()).0.into_data_stream();
        assert!(now(stream.next()).is_some_and(|part| part.is_ok()));
        assert!(now(stream.next()).is_some_and(|part| part.is_err()));
        assert!(now(stream.next()).is_none());
    }

    #[test]
    fn compressed_text_is_the_same_and_gives_its_permit_back() {
        let permits = Arc::new(Semaphore::new(1));
        for lines in [10, 100_000] {
            let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
            let (compressed, is_known) = begin(lines, Some(permit));
            assert_eq!(is_known, lines == 10);
            let mut text = Vec::new();
            let parts = parts_of(compressed).0.concat();
            flate2::read::GzDecoder::new(&parts[..]).read_to_end(&mut text).unwrap();
            assert!(text == Lines(lines).whole());
            assert_eq!(permits.available_permits(), 1);
        }
    }

    #[test]
    fn accept_encoding_is_understood() {
        for (value, wanted) in [
            ("gzip", true),
            ("deflate, gzip;q=1.0, *;q=0.5", true),
            ("GZIP; q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
            ("gzip;q=x", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())]);
            assert_eq!(wants_gzip(&headers), wanted, "{value}");
        }
        assert!(!wants_gzip(&HeaderMap::new()));
    }
}
