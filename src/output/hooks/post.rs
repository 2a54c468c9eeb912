//! One run of a request. It is repeated after pauses until its timeout, while another attempt may succeed.

use super::outcome::{HookOutcome, HookResult};
use super::payload::Payload;
use super::shutdown::Shutdown;
use crate::output::http_client::{Address, CachedClient, RequestError, backoff};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Maximum number of attempts per run; a drill has one.
const MAX_ATTEMPTS: u32 = 4;
/// The first pause: the server may be restarting.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(5);

pub(super) async fn run(
    url: &Address,
    client: &CachedClient,
    payload: &Payload,
    timeout: Duration,
    shutdown: &Shutdown,
) -> HookResult {
    tokio::select! {
        result = send(url, client, payload, timeout) => result,
        () = shutdown.terminate() => HookResult::cancelled(),
    }
}

async fn send(url: &Address, client: &CachedClient, payload: &Payload, timeout: Duration) -> HookResult {
    let deadline = Instant::now() + timeout;
    let object = payload.object().into_bytes();
    let mut backoff = backoff(FIRST_RETRY, MAX_RETRY);
    let mut attempts = 1;
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let Err(error) = client.post_json(url.url().clone(), object.clone(), remaining).await else {
            return HookResult::ok();
        };
        let now = Instant::now();
        let pause = backoff.next(now);
        if attempts == MAX_ATTEMPTS || payload.is_of_drill() || !error.retryable || now + pause >= deadline {
            return failure(error, attempts, timeout);
        }
        attempts += 1;
        sleep(pause).await;
    }
}

fn failure(error: RequestError, attempts: u32, timeout: Duration) -> HookResult {
    let outcome = if error.timed_out { HookOutcome::Timeout } else { HookOutcome::Failed };
    let text = match attempts {
        1 => error.text,
        // The error contains only the time that remained for the last attempt.
        _ if error.timed_out => format!("no response in {}s, {attempts} attempts", timeout.as_secs_f64()),
        _ => format!("{}, {attempts} attempts", error.text),
    };
    HookResult::new(outcome, text)
}
