//! `/api/v1/events`: server-sent events. Nothing is queued for a client: it keeps its place in the daemon's ring of
//! events, so one that is too slow costs nothing; it loses the oldest and is told how many.

use super::limits::{EVENTS_AT_ONCE, HEARTBEAT};
use crate::output::Missed;
use crate::output::SharedState;
use crate::render::json;
use axum::body::{Body, Bytes};
use futures_util::stream;
use std::convert::Infallible;
use std::fmt::Write as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

/// Where a client begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    /// With what is yet to come.
    Now,
    /// After the event of this number.
    After(u64),
}

/// What a client wants to get.
pub(super) struct Wish {
    pub(super) from: From,
    /// Is it to be told of new snapshots too?
    pub(super) snapshots: bool,
}

/// The stream as it is made, step by step.
struct Follower {
    live: SharedState,
    news: watch::Receiver<()>,
    /// The last event that was written.
    last: u64,
    /// The last snapshot that was told; none if nobody wants to know.
    serial: Option<u64>,
    greeted: bool,
    _place: OwnedSemaphorePermit,
}

/// The events, for as long as the client stays.
pub(super) fn body(
    live: &SharedState,
    news: watch::Receiver<()>,
    wish: &Wish,
    place: OwnedSemaphorePermit,
) -> Body {
    let newest = live.events().last();
    let last = match wish.from {
        From::Now => newest,
        // Numbers begin anew with the daemon: whoever knows one that was not given yet knows nothing of this daemon.
        From::After(after) if after > newest => 0,
        From::After(after) => after,
    };
    let follower = Follower {
        live: live.clone(),
        news,
        last,
        serial: wish.snapshots.then_some(0),
        greeted: false,
        _place: place,
    };
    Body::from_stream(stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<Bytes, Infallible>(text.into()), follower))
    }))
}

impl Follower {
    /// What is to be written next; none when the daemon ends.
    async fn next(&mut self) -> Option<String> {
        if !self.greeted {
            self.greeted = true;
            // Lets the client know at once that it is connected, and return soon after a restart.
            return Some("retry: 2000\n: connected\n\n".to_owned());
        }
        loop {
            self.news.mark_unchanged();
            let text = self.take();
            if !text.is_empty() {
                return Some(text);
            }
            match timeout(HEARTBEAT, self.news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(": keep-alive\n\n".to_owned()),
            }
        }
    }

    fn take(&mut self) -> String {
        let mut text = String::new();
        let (events, Missed(missed)) = self.live.events().after(self.last, EVENTS_AT_ONCE);
        if missed > 0 {
            let number = self.last + missed;
            write!(text, "event: missed\nid: {number}\ndata: {{\"missed\":{missed}}}\n\n")
                .expect("a String takes everything");
        }
        for event in events {
            let object = json::object(&event.message);
            write!(text, "id: {}\ndata: {object}\n\n", event.number).expect("a String takes everything");
            self.last = event.number;
        }
        if let Some(told) = self.serial
            && let Some(latest) = self.live.latest().filter(|latest| latest.serial > told)
        {
            self.serial = Some(latest.serial);
            write!(text, "event: snapshot\ndata: {{\"serial\":{}}}\n\n", latest.serial)
                .expect("a String takes everything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Message;
    use crate::render::Priority;
    use std::sync::Arc;
    use std::time::SystemTime;
    use tokio::sync::Semaphore;

    fn follower(live: &SharedState, last: u64) -> (Follower, watch::Sender<()>) {
        let (tell, news) = watch::channel(());
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let live = live.clone();
        (Follower { live, news, last, serial: None, greeted: true, _place: place }, tell)
    }

    fn tell(live: &SharedState, count: usize) {
        for n in 0..count {
            let text = format!("event\u{85} {n}");
            let time = SystemTime::UNIX_EPOCH;
            live.add_event(Arc::new(Message { time, priority: Priority::Notice, text, event: None }));
        }
    }

    #[test]
    fn events_have_numbers_and_come_in_portions() {
        let live = SharedState::new();
        tell(&live, EVENTS_AT_ONCE + 2);
        let (mut follower, _tell) = follower(&live, 1);
        let text = follower.take();
        assert!(text.starts_with("id: 2\ndata: {\"event\":\"notice\","), "{text}");
        assert_eq!(text.matches("\n\n").count(), EVENTS_AT_ONCE);
        assert_eq!(text.lines().count(), 3 * EVENTS_AT_ONCE);
        assert!(follower.take().starts_with(&format!("id: {}\n", EVENTS_AT_ONCE + 2)));
        assert_eq!(follower.take(), "");
    }

    #[test]
    fn a_slow_client_is_told_what_it_missed() {
        let live = SharedState::new();
        let (mut follower, _tell) = follower(&live, 0);
        tell(&live, 5000);
        let text = follower.take();
        let missed = 5000 - 4096;
        let first = missed + 1;
        let expected = format!(
            "event: missed\nid: {missed}\ndata: {{\"missed\":{missed}}}\n\nid: {first}\ndata: {{\"event\""
        );
        assert!(text.starts_with(&expected), "{text}");
    }
}
