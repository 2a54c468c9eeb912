//! The routes. Handlers respond from the shared state and never call into the event loop; the liveness check only wakes
//! it.

use super::events::{self, EventQuery};
use super::in_parts::{PartsBody, wants_gzip};
use super::limits::EVENTS_WRITE_TIMEOUT;
use super::mounts::MountsQuery;
use super::serve::Endless;
use super::write_timeout::WriteTimeout;
use super::{RouteContext, drill, fresh, mounts, response};
use crate::output::NumberedMessage;
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use crate::render::metrics::CONTENT_TYPE;
use crate::render::page::{MAX_EVENTS, PageQuery, StatusPage, content_security_policy};
use crate::render::parts::Whole;
use axum::Router;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;

/// The description of the API; a test compares it with real responses.
const OPENAPI: &str = include_str!("../../../contrib/openapi.json");
const NO_DATA: &str = "no data yet: the mount table is being read";

static PAGE_POLICY: LazyLock<HeaderValue> =
    LazyLock::new(|| HeaderValue::try_from(content_security_policy()).expect("it is ASCII"));

static HOST: LazyLock<String> = LazyLock::new(|| {
    hostname::get().map_or_else(|_| "this host".to_owned(), |name| escape_os(&name).into_owned())
});

type Parameters = Query<Vec<(String, String)>>;

pub(super) fn router(context: RouteContext) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(metrics))
        .route("/api/v1/mounts", get(mount_status))
        .route("/api/v1/events", get(event_stream))
        .route("/api/v1/drill", post(drill).fallback(only_post))
        .route("/api/openapi.json", get(|| async { response::body(OPENAPI, "application/json") }))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .fallback(|| async { response::text(StatusCode::NOT_FOUND, "not found; the status page is at /") })
        .method_not_allowed_fallback(|| async {
            response::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed")
        })
        .layer(from_fn(refuse_body))
        .with_state(context)
}

/// No request has a body; one that announces it is refused without reading it.
async fn refuse_body(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let has_length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        let mut response = response::text(StatusCode::PAYLOAD_TOO_LARGE, "request bodies are not accepted");
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    next.run(request).await
}

async fn status_page(
    State(context): State<RouteContext>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Response {
    let Some(snapshot) = context.state.latest() else { return no_data() };
    let query = PageQuery::new(&parameters);
    let html = serialized(&context, || page(&context, &snapshot, &query)).await;
    let parts = PartsBody::new(Whole(html.into()), compressor(&context, &headers), &context.render_lock);
    let mut response = response::in_parts(parts, "text/html; charset=utf-8", async { None }).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn page(context: &RouteContext, snapshot: &Snapshot, query: &PageQuery) -> String {
    let events = context.state.events();
    let messages =
        |events: Vec<NumberedMessage>| events.into_iter().map(|(_, message)| message).collect::<Vec<_>>();
    let history = messages(events.vital(&events.last_vital(MAX_EVENTS)));
    let other_events = messages(events.newest_others(MAX_EVENTS));
    let snapshot = snapshot.as_of(Instant::now());
    let page = StatusPage {
        snapshot: &snapshot,
        history: &history,
        other_events: &other_events,
        host: &HOST,
        query,
    };
    page.html()
}

/// Renders a response for a single client: one at a time, and other tasks run before the next.
async fn serialized<T>(context: &RouteContext, render: impl FnOnce() -> T) -> T {
    let _permit = context.render_lock.acquire().await;
    let response = render();
    yield_now().await;
    response
}

fn no_data() -> Response {
    response::text(StatusCode::SERVICE_UNAVAILABLE, NO_DATA)
}

/// A permit to compress the response, if the client wants that and not too many do.
fn compressor(context: &RouteContext, headers: &HeaderMap) -> Option<OwnedSemaphorePermit> {
    Arc::clone(&context.compressors).try_acquire_owned().ok().filter(|_| wants_gzip(headers))
}

async fn metrics(State(context): State<RouteContext>, headers: HeaderMap) -> Response {
    let Some(snapshot) = context.state.latest() else { return no_data() };
    let permit = compressor(&context, &headers);
    let parts = PartsBody::new((context.metrics)(&snapshot), permit, &context.scrape_lock);
    response::in_parts(parts, CONTENT_TYPE, async { None }).await
}

async fn mount_status(
    State(context): State<RouteContext>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let Some(latest) = context.state.latest() else { return no_data() };
    if query.is_empty() {
        return mounts::all_mounts(&context, &latest, compressor(&context, &headers)).await;
    }
    let query = match MountsQuery::parse(&query) {
        Ok(query) => query,
        Err(problem) => return response::text(StatusCode::BAD_REQUEST, &problem),
    };
    let snapshot = match query.probe_selection(&latest.status) {
        None => latest.as_of(Instant::now()),
        Some(_) if !context.is_local => {
            return response::text(
                StatusCode::FORBIDDEN,
                "mounts are probed for clients of the Unix socket only",
            );
        }
        Some(selection) => fresh::snapshot(&context, &latest, selection).await,
    };
    serialized(&context, || mounts::selected_mounts(&context.state, &snapshot, &query)).await
}

async fn event_stream(
    State(context): State<RouteContext>,
    Extension(write_timeout): Extension<WriteTimeout>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let query = match EventQuery::parse(&query, &headers) {
        Ok(query) => query,
        Err(problem) => return response::text(StatusCode::BAD_REQUEST, problem),
    };
    let Ok(permit) = Arc::clone(&context.event_permits).try_acquire_owned() else {
        return response::text(StatusCode::SERVICE_UNAVAILABLE, "too many event clients");
    };
    write_timeout.set(EVENTS_WRITE_TIMEOUT);
    let body = events::body(&context.state, context.changes.clone(), &query, permit);
    let mut response = response::body(body, "text/event-stream");
    response.extensions_mut().insert(Endless);
    response
}

async fn drill(State(context): State<RouteContext>, Query(query): Parameters) -> Response {
    drill::drill(&context, &query).await
}

async fn only_post() -> Response {
    response::text(StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed")
}

async fn healthy(State(context): State<RouteContext>) -> Response {
    if context.liveness.is_alive().await {
        response::text(StatusCode::OK, "healthy")
    } else {
        response::text(StatusCode::SERVICE_UNAVAILABLE, "the daemon's event loop does not respond")
    }
}

async fn ready(State(context): State<RouteContext>) -> Response {
    match context.state.latest().and_then(|latest| latest.status.last_run) {
        Some(_) => response::text(StatusCode::OK, "ready"),
        None => response::text(StatusCode::SERVICE_UNAVAILABLE, "the first run has not completed yet"),
    }
}
