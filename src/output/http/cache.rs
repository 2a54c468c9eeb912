//! Renders each snapshot once, for any number of clients.

use crate::render::Snapshot;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Renders a snapshot.
pub type Renderer = Arc<dyn Fn(&Snapshot) -> Vec<u8> + Send + Sync>;

pub(super) struct Cache {
    render: Renderer,
    last: Mutex<Option<Rendered>>,
}

struct Rendered {
    serial: u64,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl Cache {
    pub(super) fn new(render: Renderer) -> Cache {
        Cache { render, last: Mutex::new(None) }
    }

    /// The rendered snapshot, plain or compressed.
    pub(super) fn get(&self, snapshot: &Snapshot, is_gzip: bool) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The old text is freed first: with very many mounts each is megabytes.
        last.take_if(|rendered| rendered.serial != snapshot.serial);
        let rendered = last.get_or_insert_with(|| Rendered {
            serial: snapshot.serial,
            plain: (self.render)(snapshot).into(),
            gzip: None,
        });
        if is_gzip {
            rendered.gzip.get_or_insert_with(|| compress(&rendered.plain)).clone()
        } else {
            rendered.plain.clone()
        }
    }
}

fn compress(plain: &[u8]) -> Bytes {
    // Names repeat, so the result of the fastest level is at most a quarter larger than that of the best.
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("writing to a Vec does not fail").into()
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
    use crate::monitor::Status;
    use crate::render::samples;
    use std::io::Read as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn snapshot(serial: u64) -> Snapshot {
        Snapshot { serial, ..samples::snapshot(Status::default()) }
    }

    #[test]
    fn snapshot_is_rendered_once() {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let cache = Cache::new(Arc::new(move |snapshot| {
            counter.fetch_add(1, Ordering::Relaxed);
            format!("snapshot {}", snapshot.serial).into_bytes()
        }));
        for _ in 0..3 {
            assert_eq!(cache.get(&snapshot(1), false), "snapshot 1");
            let mut text = String::new();
            flate2::read::GzDecoder::new(&cache.get(&snapshot(1), true)[..])
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "snapshot 1");
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(cache.get(&snapshot(2), false), "snapshot 2");
        assert_eq!(count.load(Ordering::Relaxed), 2);
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
