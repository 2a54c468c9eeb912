//! Constructors of responses. All set a content type and forbid caching.

use super::in_parts::PartsBody;
use axum::body::Body;
use axum::http::{HeaderValue, Response as HttpResponse, StatusCode, header};
use axum::response::Response;

/// Plain text; a line end is added if there is none.
pub(super) fn text(status: StatusCode, text: &str) -> Response {
    let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let mut response = body(text, "text/plain; charset=utf-8");
    *response.status_mut() = status;
    response
}

pub(super) fn body(body: impl Into<Body>, content_type: &'static str) -> Response {
    HttpResponse::builder()
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(body.into())
        .expect("these headers are valid")
}

/// A body that is made while it is sent, and depends on the request's `Accept-Encoding`. A long one that is not compressed
/// has this `length`, if known.
pub(super) async fn in_parts(
    parts: PartsBody,
    content_type: &'static str,
    length: impl Future<Output = Option<usize>>,
) -> Response {
    let is_gzip = parts.is_compressed();
    let (parts, is_length_known) = parts.begin().await;
    let mut response = body(parts, content_type);
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !is_gzip
        && !is_length_known
        && let Some(length) = length.await
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if is_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
