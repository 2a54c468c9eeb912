//! Alertmanager is told which mounts are dead, slow or missing, for as long as they are: at once when something
//! changes, and again before an alert would expire. If the daemon dies, its alerts expire by themselves; the next one
//! goes on with those that are still so.

mod document;
mod set;
#[cfg(test)]
mod tests;

use super::LogFn;
use super::counters::{AlertCount, AlertCounters};
use super::payload::{Payload, host};
use super::settings::Alertmanager;
use crate::monitor::{Event, Health, Status};
use crate::output::http_client::Backoff;
use crate::output::http_client::Client;
use crate::render::Message;
use crate::render::Priority;
use document::{Alert, FAILED, HUNG, Kind, MISSING, SLOW, Subject, body};
use reqwest::Method;
use reqwest::header::HeaderValue;
use set::{Batch, EXPIRES_AFTER, Set};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
use tokio::time::sleep_until;

/// A request that is not answered by then never will be.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after a request that failed …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … doubled up to this, so that an Alertmanager that returns is found within half a minute.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The alerts, and to whom they go.
#[derive(Debug, Default)]
pub(super) struct Alerting {
    state: Mutex<State>,
    bell: Notify,
    counters: AlertCounters,
}

#[derive(Debug, Default)]
struct State {
    to: Option<(Arc<Alertmanager>, Client)>,
    set: Set,
    /// It was told that there are too many.
    told_full: bool,
    /// Alerts that found no room, to be told.
    full: bool,
    sending: bool,
}

impl Alerting {
    pub(super) fn adopt(&self, to: Option<Alertmanager>) {
        let mut state = self.lock();
        let same = state.to.as_ref().map(|(before, _)| &**before) == to.as_ref();
        if same {
            return;
        }
        let moved = match (&state.to, &to) {
            (Some((before, _)), Some(to)) => before.url != to.url || before.labels != to.labels,
            _ => true,
        };
        state.to = to.map(|to| (Client::new(to.access()), Arc::new(to))).map(|(client, to)| (to, client));
        if state.to.is_none() {
            state.set.clear();
        } else if moved {
            state.set.tell_all(Instant::now());
        }
        drop(state);
        self.bell.notify_one();
    }

    /// Takes an event in. Only what may be told makes alerts; but whatever ends one ends it.
    pub(super) fn offer(&self, event: &Event, payload: &Payload, may_tell: bool) {
        let mut state = self.lock();
        if state.to.is_none() {
            return;
        }
        let now = Instant::now();
        if !take_in(&mut state.set, now, event, &payload.message, payload.severity, may_tell) {
            state.full = true;
            self.counters.dropped();
        }
        let news = state.set.has_changes() || state.full;
        drop(state);
        if news {
            self.bell.notify_one();
        }
    }

    /// Ends alerts of mounts that are well by now.
    pub(super) fn settle(&self, status: impl FnOnce() -> Status) {
        let mut state = self.lock();
        if state.to.is_none() || state.set.count_firing() == 0 {
            return;
        }
        let status = status();
        let bad = status.mounts.iter().filter_map(|mount| {
            let kind = match &mount.health {
                Health::Dead(_) => Kind::Dead,
                Health::Slow => Kind::Slow,
                Health::Pending | Health::Ok | Health::Denied(_) | Health::Hidden => return None,
            };
            Some((kind, Subject::of_mount(&mount.mount)))
        });
        let missing = status.expected.iter().filter(|expected| expected.missing_since.is_some());
        let missing = missing.map(|it| (Kind::Missing, Subject::missing(&it.expected.mountpoint)));
        let bad: BTreeSet<_> = bad.chain(missing).collect();
        let still = |key: &set::Key| bad.contains(key);
        state.set.retain(Instant::now(), SystemTime::now(), still);
        drop(state);
        self.bell.notify_one();
    }

    pub(super) fn count(&self) -> Option<AlertCount> {
        let state = self.lock();
        state.to.as_ref().map(|_| self.counters.read(state.set.count_firing()))
    }

    /// Is there something that was not sent?
    pub(super) fn is_busy(&self) -> bool {
        let state = self.lock();
        state.to.is_some() && (state.set.has_changes() || state.sending)
    }

    /// Sends, for ever. `looked` is called whenever it may have become idle.
    pub(super) async fn run(&self, tell: &LogFn, looked: &(dyn Fn() + Send + Sync)) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut not_before = Instant::now();
        loop {
            self.tell_full(tell);
            let due = {
                let state = self.lock();
                state.to.as_ref().and_then(|(to, _)| state.set.due(to.refresh))
            };
            let Some(due) = due.map(|due| due.max(not_before)) else {
                self.bell.notified().await;
                continue;
            };
            if due > Instant::now() {
                tokio::select! {
                    () = sleep_until(due.into()) => {}
                    () = self.bell.notified() => {}
                }
                continue;
            }
            let pause = self.round(&mut backoff, tell).await;
            not_before = Instant::now() + pause;
            self.lock().sending = false;
            looked();
        }
    }

    /// Sends what is to be sent. How long to wait before the next round?
    async fn round(&self, backoff: &mut Backoff, tell: &LogFn) -> Duration {
        let begun = Instant::now();
        loop {
            let (to, client, batch) = {
                let mut state = self.lock();
                let Some((to, client)) = state.to.clone() else { return Duration::ZERO };
                let Some(batch) = state.set.batch(begun, Instant::now(), to.refresh) else {
                    return Duration::ZERO;
                };
                state.sending = true;
                (to, client, batch)
            };
            let sent = send(&to, &client, &batch).await;
            let said = to.url.origin();
            match sent {
                Ok(()) => {
                    self.counters.accepted(SystemTime::now());
                    let mut state = self.lock();
                    if state.to.as_ref().is_some_and(|(now, _)| now.url == to.url) {
                        state.set.accepted(begun, &batch);
                    }
                    drop(state);
                    if backoff.succeeded() {
                        tell(Priority::Notice, &format!("Alertmanager {said} takes alerts again"));
                    }
                }
                Err(error) => {
                    self.counters.failed();
                    if !backoff.is_failing() {
                        let text =
                            format!("Cannot send alerts to Alertmanager {said}: {error}; trying again");
                        tell(Priority::Warning, &text);
                    }
                    return backoff.failed();
                }
            }
        }
    }

    fn tell_full(&self, tell: &LogFn) {
        let mut state = self.lock();
        let first = std::mem::take(&mut state.full) && !std::mem::replace(&mut state.told_full, true);
        drop(state);
        if first {
            tell(Priority::Warning, "Too many alerts for Alertmanager: some are not sent");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(to: &Alertmanager, client: &Client, batch: &Batch) -> Result<(), String> {
    let lasts = to.refresh * EXPIRES_AFTER;
    let body = body(&batch.alerts, to, &host(), SystemTime::now(), lasts);
    let url = to.url.below(&["api", "v2", "alerts"]);
    let body = Some((HeaderValue::from_static("application/json"), body));
    client.send(Method::POST, url, body, TIMEOUT).await.map_err(|failure| failure.text)
}

/// Is there room for what the event says?
fn take_in(
    set: &mut Set,
    now: Instant,
    event: &Event,
    message: &Message,
    severity: &'static str,
    may_tell: bool,
) -> bool {
    let Some(subject) = Subject::of(event) else { return true };
    let resolve = |set: &mut Set, kinds: &[Kind]| {
        for kind in kinds {
            set.resolve(now, message.time, &(*kind, subject.clone()));
        }
    };
    let (kind, name, lasted) = match event.name() {
        "failed" | "still_failing" => {
            resolve(set, &[Kind::Slow]);
            (Kind::Dead, if reason(event) == Some("hung") { HUNG } else { FAILED }, lasted(event))
        }
        "slow" => {
            resolve(set, &[Kind::Dead]);
            (Kind::Slow, SLOW, Duration::ZERO)
        }
        "missing" => (Kind::Missing, MISSING, Duration::ZERO),
        "found" => {
            resolve(set, &[Kind::Missing]);
            return true;
        }
        "recovered" | "unmounted" | "denied" => {
            resolve(set, &Kind::OF_MOUNTS);
            return true;
        }
        "moved" => {
            if let Event::Moved { mount: _, from } = event {
                set.rename(now, message.time, &subject.at(from), &subject);
            }
            return true;
        }
        _ => return true,
    };
    if !may_tell {
        return true;
    }
    // Slow is worse than nothing and better than dead.
    let severity = if kind == Kind::Slow && severity == "critical" { "warning" } else { severity };
    let started = message.time.checked_sub(lasted).unwrap_or(message.time);
    let (reason, text) = (reason(event), message.text.clone());
    let alert = Alert { name, severity, subject: subject.clone(), reason, text, started, ended: None };
    set.fire(now, (kind, subject), alert)
}

fn reason(event: &Event) -> Option<&'static str> {
    match event {
        Event::Failed { failure, .. } | Event::StillFailing { failure, .. } => Some(failure.reason.as_str()),
        _ => None,
    }
}

fn lasted(event: &Event) -> Duration {
    match event {
        Event::StillFailing { lasted, .. } => *lasted,
        _ => Duration::ZERO,
    }
}
