//! One run of a request: tried again after a pause, as long as its time lasts and it may go better.

use super::command::Report;
use super::counters::HookOutcome;
use super::payload::Payload;
use super::stop::Stop;
use crate::output::http_client::Address;
use crate::output::http_client::CachedClient;
use crate::output::http_client::RequestError;
use crate::output::http_client::backoff;
use reqwest::Method;
use reqwest::header::HeaderValue;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Attempts of one run.
const MAX_TRIES: u32 = 4;
/// The first pause, for a server that is just restarted …
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// … doubled up to this.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Runs it.
pub(super) async fn run(
    url: &Address,
    client: &CachedClient,
    payload: &Payload,
    limit: Duration,
    stop: &Stop,
) -> Report {
    tokio::select! {
        report = send(url, client, payload, limit) => report,
        () = stop.soft() => Report { outcome: HookOutcome::Dropped, text: "the daemon ends".into(), left: None },
    }
}

async fn send(url: &Address, client: &CachedClient, payload: &Payload, limit: Duration) -> Report {
    let by = Instant::now() + limit;
    let object = payload.object().into_bytes();
    let mut pauses = backoff(FIRST_RETRY, LAST_RETRY);
    let mut tries = 1;
    loop {
        let body = Some((HeaderValue::from_static("application/json"), object.clone()));
        let left = by.saturating_duration_since(Instant::now());
        let Err(failure) = client.send(Method::POST, url.url().clone(), body, left).await else {
            return Report { outcome: HookOutcome::Ok, text: String::new(), left: None };
        };
        let pause = pauses.next(std::time::Instant::now());
        if tries == MAX_TRIES || !failure.retryable || Instant::now() + pause >= by {
            return report(failure, tries, limit);
        }
        tries += 1;
        sleep(pause).await;
    }
}

fn report(failure: RequestError, tries: u32, limit: Duration) -> Report {
    let outcome = if failure.timed_out { HookOutcome::Timeout } else { HookOutcome::Failed };
    let text = match tries {
        // What was left of the time for the last attempt says nothing to anybody.
        2.. if failure.timed_out => format!("no response in {}s, {tries} attempts", limit.as_secs_f64()),
        1 => failure.text,
        _ => format!("{}, {tries} attempts", failure.text),
    };
    Report { outcome, text, left: None }
}
