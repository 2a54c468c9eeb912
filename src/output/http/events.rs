//! `/api/v1/events`: server-sent events. Nothing is queued for a client, which only has a position in the event log. So
//! a slow client costs nothing; it misses the oldest events and learns how many.

use super::limits::{EVENTS_AT_ONCE, HEARTBEAT_INTERVAL};
use crate::output::SharedState;
use crate::render::json;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use futures_util::stream;
use std::convert::Infallible;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

/// Confirms the connection at once, and makes the client reconnect 2 s after it is lost.
const PREAMBLE: &str = "retry: 2000\n: connected\n\n";

/// The first event of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StartFrom {
    /// The next event.
    Now,
    /// The one after this number.
    After(u64),
}

/// The parameters of a request.
pub(super) struct EventQuery {
    start: StartFrom,
    has_snapshots: bool,
}

impl EventQuery {
    pub(super) fn parse(query: &[(String, String)], headers: &HeaderMap) -> Result<EventQuery, &'static str> {
        let after = |number: &str| number.parse().ok().map(StartFrom::After);
        let mut parsed = EventQuery { start: StartFrom::Now, has_snapshots: false };
        for (key, value) in query {
            match (key.as_str(), value.as_str()) {
                ("after", number) => parsed.start = after(number).ok_or("after: must be an event number")?,
                ("snapshots", "1") => parsed.has_snapshots = true,
                ("snapshots", "0") => parsed.has_snapshots = false,
                _ => return Err("unknown parameter; use after or snapshots"),
            }
        }
        // A client that reconnects repeats its first URL; the header is newer.
        if let Some(last) = headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
            parsed.start = after(last).ok_or("Last-Event-ID: must be an event number")?;
        }
        Ok(parsed)
    }
}

struct EventStream {
    state: SharedState,
    /// Changes with each event and each snapshot.
    changes: watch::Receiver<()>,
    /// The last event that was sent.
    last: u64,
    /// The last snapshot that was sent; `None` if the client did not request snapshots.
    serial: Option<u64>,
    is_started: bool,
    _permit: OwnedSemaphorePermit,
}

/// The stream of events; it ends with the client or the daemon.
pub(super) fn body(
    state: &SharedState,
    changes: watch::Receiver<()>,
    query: &EventQuery,
    permit: OwnedSemaphorePermit,
) -> Body {
    let newest = state.events().last();
    let last = match query.start {
        StartFrom::Now => newest,
        // Numbers restart with the daemon: a number greater than the last one belongs to an earlier daemon.
        StartFrom::After(after) if after > newest => 0,
        StartFrom::After(after) => after,
    };
    let stream = EventStream {
        state: state.clone(),
        changes,
        last,
        serial: query.has_snapshots.then_some(0),
        is_started: false,
        _permit: permit,
    };
    Body::from_stream(stream::unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(text.into()), stream))
    }))
}

impl EventStream {
    /// The next text; `None` when the daemon stops.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.is_started, true) {
            return Some(PREAMBLE.to_owned());
        }
        loop {
            self.changes.mark_unchanged();
            let text = self.read();
            if !text.is_empty() {
                return Some(text);
            }
            match timeout(HEARTBEAT_INTERVAL, self.changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(": keep-alive\n\n".to_owned()),
            }
        }
    }

    fn read(&mut self) -> String {
        let mut text = String::new();
        let (events, missed) = self.state.events().after(self.last, EVENTS_AT_ONCE);
        if missed > 0 {
            let number = events.first().map_or(self.last + missed, |(first, _)| first - 1);
            text += &format!("event: missed\nid: {number}\ndata: {{\"missed\":{missed}}}\n\n");
        }
        for (number, message) in events {
            text += &format!("id: {number}\ndata: {}\n\n", json::event(&message));
            self.last = number;
        }
        if let Some(sent) = self.serial
            && let Some(latest) = self.state.latest().filter(|latest| latest.serial > sent)
        {
            self.serial = Some(latest.serial);
            text += &format!("event: snapshot\ndata: {{\"serial\":{}}}\n\n", latest.serial);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Message, Priority};
    use std::sync::Arc;
    use std::time::SystemTime;
    use tokio::sync::Semaphore;

    fn stream_after(state: &SharedState, last: u64) -> EventStream {
        let (_, changes) = watch::channel(());
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        EventStream { state: state.clone(), changes, last, serial: None, is_started: true, _permit: permit }
    }

    fn add_events(state: &SharedState, count: usize) {
        for n in 0..count {
            let text = format!("event\u{85} {n}");
            let time = SystemTime::UNIX_EPOCH;
            state.add_event(Arc::new(Message { time, priority: Priority::Notice, text, event: None }));
        }
    }

    #[test]
    fn events_are_numbered_and_sent_in_batches() {
        let state = SharedState::default();
        add_events(&state, EVENTS_AT_ONCE + 2);
        let mut stream = stream_after(&state, 1);
        let text = stream.read();
        assert!(text.starts_with("id: 2\ndata: {\"event\":\"notice\","), "{text}");
        assert_eq!(text.matches("\n\n").count(), EVENTS_AT_ONCE);
        assert_eq!(text.lines().count(), 3 * EVENTS_AT_ONCE);
        assert!(stream.read().starts_with(&format!("id: {}\n", EVENTS_AT_ONCE + 2)));
        assert_eq!(stream.read(), "");
    }

    #[test]
    fn slow_client_learns_how_many_events_it_missed() {
        let state = SharedState::default();
        let mut stream = stream_after(&state, 0);
        add_events(&state, 5000);
        let text = stream.read();
        let missed = 5000 - 4096;
        let first = missed + 1;
        let expected = format!(
            "event: missed\nid: {missed}\ndata: {{\"missed\":{missed}}}\n\nid: {first}\ndata: {{\"event\""
        );
        assert!(text.starts_with(&expected), "{text}");
    }
}
