//! `/api/v1/events`: server-sent events. Nothing is queued for a client, which only has a position in the event log. So
//! a slow client costs nothing; it misses the oldest events and learns how many.

use super::limits::{EVENTS_AT_ONCE, HEARTBEAT_INTERVAL};
use crate::output::event_clients::EventClient;
use crate::output::{NumberedMessage, SharedState};
use crate::render::{json, timestamp};
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use futures_util::stream;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::SystemTime;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

/// Confirms the connection at once, and makes the client reconnect 2 s after it is lost.
const PREAMBLE: &str = "retry: 2000\n: connected\n";

/// The first event of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StartFrom {
    /// The next event.
    Now,
    /// The one after this number.
    After(u64),
    /// So many vital events, then the next event.
    LastVital(usize),
    /// The first that is kept from this time on.
    Time(SystemTime),
}

/// The parameters of a request.
#[derive(PartialEq, Debug)]
pub(super) struct EventQuery {
    start: StartFrom,
    has_snapshots: bool,
}

impl EventQuery {
    pub(super) fn parse(query: &[(String, String)], headers: &HeaderMap) -> Result<EventQuery, &'static str> {
        let after = |number: &str| number.parse().ok().map(StartFrom::After);
        let mut start = None;
        let mut has_snapshots = false;
        for (key, value) in query {
            let named_start = match (key.as_str(), value.as_str()) {
                ("after", number) => after(number).ok_or("after: must be an event number")?,
                ("last", count) => {
                    let count = count.parse().map_err(|_| "last: must be a number of events")?;
                    StartFrom::LastVital(count)
                }
                ("since", time) => {
                    let problem = "since: must be a time as 2026-01-31T12:00:00Z or in Unix seconds";
                    StartFrom::Time(timestamp::parse(time).ok_or(problem)?)
                }
                ("snapshots", flag @ ("0" | "1")) => {
                    has_snapshots = flag == "1";
                    continue;
                }
                ("snapshots", _) => return Err("snapshots: use 0 or 1"),
                _ => return Err("unknown parameter; use after, last, since or snapshots"),
            };
            if start.replace(named_start).is_some() {
                return Err("use one of after, last and since, once");
            }
        }
        // A client that reconnects repeats its first URL; the header is newer.
        if let Some(last) = headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
            start = Some(after(last).ok_or("Last-Event-ID: must be an event number")?);
        }
        Ok(EventQuery { start: start.unwrap_or(StartFrom::Now), has_snapshots })
    }
}

struct History {
    /// Newest first. Only the numbers, so that a slow client costs little.
    numbers: Vec<u64>,
    /// The newest of all events at the time of the request.
    end: u64,
}

struct EventStream {
    state: SharedState,
    /// Changes with each event and each snapshot.
    changes: watch::Receiver<()>,
    /// The last event that was sent.
    last: u64,
    /// The past vital events that are sent first.
    history: Option<History>,
    /// The last snapshot that was sent; `None` if the client did not request snapshots.
    serial: Option<u64>,
    is_started: bool,
    client: EventClient,
    _permit: OwnedSemaphorePermit,
}

/// The stream of events; it ends with the client or the daemon.
pub(super) fn body(
    state: &SharedState,
    changes: watch::Receiver<()>,
    query: &EventQuery,
    permit: OwnedSemaphorePermit,
) -> Body {
    let events = state.events();
    let newest = events.last();
    let last = match query.start {
        StartFrom::Now => newest,
        // An earlier daemon may not have kept its last numbers, or none.
        StartFrom::After(after) if after > newest => events.last_restored(),
        StartFrom::After(after) => after,
        StartFrom::LastVital(_) => newest,
        StartFrom::Time(time) => events.before_time(time),
    };
    let history = match query.start {
        StartFrom::LastVital(count) => Some(History { numbers: events.last_vital(count), end: newest }),
        _ => None,
    };
    let stream = EventStream {
        state: state.clone(),
        changes,
        last,
        history,
        serial: query.has_snapshots.then_some(0),
        is_started: false,
        client: state.event_clients().add(),
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
            // The position tells a client that loses the connection before the first event where to resume.
            let position = if self.history.is_none() { position(self.last) } else { "\n".to_owned() };
            return Some(PREAMBLE.to_owned() + &position);
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
        if let Some(history) = self.history.take() {
            self.read_history(history, &mut text);
            return text;
        }
        let (events, missed) = self.state.events().after(self.last, EVENTS_AT_ONCE);
        if missed > 0 {
            let number = events.first().map_or(self.last + missed, |(first, _)| first - 1);
            text += &format!("event: missed\nid: {number}\ndata: {{\"missed\":{missed}}}\n\n");
        }
        self.send(events, &mut text);
        if let Some(sent) = self.serial
            && let Some(latest) = self.state.latest().filter(|latest| latest.serial > sent)
        {
            self.serial = Some(latest.serial);
            text += &format!("event: snapshot\ndata: {{\"serial\":{}}}\n\n", latest.serial);
        }
        text
    }

    fn read_history(&mut self, History { mut numbers, end }: History, text: &mut String) {
        let mut next = numbers.split_off(numbers.len().saturating_sub(EVENTS_AT_ONCE));
        next.reverse();
        self.send(self.state.events().vital(&next), text);
        if numbers.is_empty() {
            self.last = end;
            *text += &position(end);
        } else {
            self.history = Some(History { numbers, end });
        }
    }

    fn send(&mut self, events: Vec<NumberedMessage>, text: &mut String) {
        for (number, message) in events {
            let _ = write!(text, "id: {number}\ndata: {}\n\n", json::event(&message)); // a string accepts all
            self.last = number;
        }
        self.client.advance(self.last);
    }
}

/// An event without data: clients only take over its number.
fn position(number: u64) -> String {
    format!("id: {number}\n\n")
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
        EventStream {
            state: state.clone(),
            changes,
            last,
            history: None,
            serial: None,
            is_started: true,
            client: state.event_clients().add(),
            _permit: permit,
        }
    }

    fn add_events(state: &SharedState, count: usize) {
        (0..count).for_each(|n| add(state, Priority::Notice, &format!("event\u{85} {n}")));
    }

    fn add(state: &SharedState, priority: Priority, text: &str) {
        let time = SystemTime::UNIX_EPOCH;
        state.add_event(Arc::new(Message { time, priority, text: text.to_owned(), event: None }));
    }

    fn parse(query: &str, last_event_id: Option<&str>) -> Result<EventQuery, &'static str> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let headers = last_event_id.map(|id| ("last-event-id".parse().unwrap(), id.parse().unwrap()));
        EventQuery::parse(&pairs, &headers.into_iter().collect())
    }

    #[test]
    fn requests_name_one_start() {
        let start = |query: &str, header| parse(query, header).map(|query| query.start);
        assert_eq!(start("", None), Ok(StartFrom::Now));
        assert_eq!(start("after=7&snapshots=1", None), Ok(StartFrom::After(7)));
        assert_eq!(start("last=20", None), Ok(StartFrom::LastVital(20)));
        let day = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
        for time in ["86400", "86400.0", "1970-01-02T00:00:00Z", "1970-01-02T01:00:00+01:00"] {
            assert_eq!(start(&format!("since={time}"), None), Ok(StartFrom::Time(day)), "{time}");
        }
        assert_eq!(start("last=20", Some("9")), Ok(StartFrom::After(9)), "a client that reconnects");
        for (query, problem) in [
            ("last=all", "last: "),
            ("last=-1", "last: "),
            ("since=yesterday", "since: must be a time as "),
            ("since=", "since: "),
            ("after=x", "after: "),
            ("snapshots=2", "snapshots: "),
            ("first=1", "unknown parameter; use after, last, since or snapshots"),
            ("last=1&since=0", "use one of after, last and since"),
            ("last=1&last=2", "use one of after, last and since"),
        ] {
            assert!(start(query, None).is_err_and(|text| text.starts_with(problem)), "{query}");
        }
    }

    #[test]
    fn history_has_only_vital_events_and_then_the_stream_follows() {
        let state = SharedState::default();
        let count = EVENTS_AT_ONCE + 6;
        for n in 0..count {
            add(&state, Priority::Error, &format!("error {n}"));
            add_events(&state, 2);
        }
        let newest = state.events().last();
        let history = |last| {
            let history = History { numbers: state.events().last_vital(last), end: newest };
            EventStream { history: Some(history), ..stream_after(&state, newest) }
        };
        let mut stream = history(2);
        let text = stream.read();
        let texts: Vec<_> = text.lines().filter(|line| line.starts_with("data: ")).collect();
        let contains = |line: &str, n: usize| line.contains(&format!("error {n}"));
        assert!(texts.len() == 2 && contains(texts[0], count - 2) && contains(texts[1], count - 1), "{text}");
        assert!(text.ends_with(&format!("\n\nid: {newest}\n\n")), "{text}");
        add(&state, Priority::Notice, "next");
        let text = stream.read();
        assert!(text.starts_with(&format!("id: {}\n", newest + 1)) && text.contains("next"), "{text}");

        // A long one comes in parts, without events that came after its start.
        let mut stream = history(usize::MAX);
        assert_eq!(stream.read().matches("data: ").count(), EVENTS_AT_ONCE);
        assert_eq!(stream.read().matches("data: ").count(), 6);
        assert_eq!(stream.read().matches("data: ").count(), 1);
        let mut stream = history(0);
        assert_eq!(stream.read(), format!("id: {newest}\n\n"));
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
