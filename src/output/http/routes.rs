//! Which path leads where. Every handler answers from what is known; none reaches the loop, except to see it turn.

use super::cache::wants_gzip;
use super::events::{self, From, Wish};
use super::limits::EVENTS_WRITE_STALL;
use super::stall::Patience;
use super::{State, mounts, page, reply};
use axum::Router;
use axum::extract::{Extension, Query, Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use tokio::task::yield_now;

/// What describes the API to programs; a test holds it against the real answers.
const OPENAPI: &str = include_str!("../../../contrib/openapi.json");
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const NOT_YET: &str = "no data yet: the mount table is being read";

type Parameters = Query<Vec<(String, String)>>;

/// All routes.
pub(super) fn router(state: State) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(metrics))
        .route("/api/v1/mounts", get(all_mounts))
        .route("/api/v1/events", get(all_events))
        .route("/api/openapi.json", get(|| async { reply::bytes(OPENAPI, "application/json") }))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .fallback(|| async { reply::text(StatusCode::NOT_FOUND, "not found; the status page is at /") })
        .method_not_allowed_fallback(|| async {
            reply::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed")
        })
        .layer(from_fn(no_body))
        .with_state(state)
}

/// Nothing here takes a body, so nobody waits for one.
async fn no_body(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let announced = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if announced || headers.contains_key(header::TRANSFER_ENCODING) {
        let mut response = reply::text(StatusCode::PAYLOAD_TOO_LARGE, "request bodies are not accepted");
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    next.run(request).await
}

async fn status_page(Extract(state): Extract<State>, Query(query): Parameters) -> Response {
    let wanted = query.iter().find(|(key, _)| key == "q").map_or("", |(_, value)| value);
    in_turn(&state, || page::answer(&state, wanted)).await
}

/// Makes an answer that only one client gets.
async fn in_turn(state: &State, make: impl FnOnce() -> Response) -> Response {
    let _turn = state.costly.acquire().await;
    let response = make();
    yield_now().await;
    response
}

async fn metrics(Extract(state): Extract<State>, headers: HeaderMap) -> Response {
    let Some(snapshot) = state.told.live.latest() else {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, NOT_YET);
    };
    let gzip = wants_gzip(&headers);
    reply::cached(state.metrics.get(&snapshot, gzip), METRICS_TYPE, gzip)
}

async fn all_mounts(
    Extract(state): Extract<State>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    match state.told.live.latest() {
        Some(snapshot) if query.is_empty() => mounts::whole_answer(&state.mounts, &snapshot, &headers),
        Some(snapshot) => in_turn(&state, || mounts::answer(&state, &snapshot, &query)).await,
        None => reply::text(StatusCode::SERVICE_UNAVAILABLE, NOT_YET),
    }
}

async fn all_events(
    Extract(state): Extract<State>,
    Extension(patience): Extension<Patience>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let wish = match wish(&query, &headers) {
        Ok(wish) => wish,
        Err(problem) => return reply::text(StatusCode::BAD_REQUEST, problem),
    };
    let Ok(place) = Arc::clone(&state.event_places).try_acquire_owned() else {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many event clients");
    };
    patience.set(EVENTS_WRITE_STALL);
    let body = events::body(&state.told.live, state.news.clone(), &wish, place);
    let mut response = reply::bytes("", "text/event-stream");
    *response.body_mut() = body;
    response
}

fn wish(query: &[(String, String)], headers: &HeaderMap) -> Result<Wish, &'static str> {
    let mut wish = Wish { from: From::Now, snapshots: false };
    for (key, value) in query {
        match (key.as_str(), value.as_str()) {
            ("after", number) => {
                wish.from = after(number).ok_or("after: must be an event number")?;
            }
            ("snapshots", "1") => wish.snapshots = true,
            ("snapshots", "0") => wish.snapshots = false,
            _ => return Err("unknown parameter; use after or snapshots"),
        }
    }
    // A client that comes back knows better than the address that it was given at first.
    if let Some(last) = headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        wish.from = after(last).ok_or("Last-Event-ID: must be an event number")?;
    }
    Ok(wish)
}

fn after(number: &str) -> Option<From> {
    number.parse().ok().map(From::After)
}

async fn healthy(Extract(state): Extract<State>) -> Response {
    if state.pulse.beats().await {
        reply::text(StatusCode::OK, "healthy")
    } else {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "the daemon's event loop does not respond")
    }
}

async fn ready(Extract(state): Extract<State>) -> Response {
    match state.told.live.latest().and_then(|latest| latest.status.last_run) {
        Some(_) => reply::text(StatusCode::OK, "ready"),
        None => reply::text(StatusCode::SERVICE_UNAVAILABLE, "the first run has not completed yet"),
    }
}
