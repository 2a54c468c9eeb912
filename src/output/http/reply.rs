//! Answers as they are put together: each has its type, and none is guessed at or kept by anybody.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response as Http, StatusCode, header};
use axum::response::Response;

/// One or more lines for people.
pub(super) fn text(status: StatusCode, text: &str) -> Response {
    let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let mut response = bytes(text, "text/plain; charset=utf-8");
    *response.status_mut() = status;
    response
}

/// Anything.
pub(super) fn bytes(bytes: impl Into<Bytes>, kind: &'static str) -> Response {
    Http::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(Body::from(bytes.into()))
        .expect("these headers are valid")
}

/// What may be compressed.
pub(super) fn cached(content: Bytes, kind: &'static str, gzip: bool) -> Response {
    let mut response = bytes(content, kind);
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
