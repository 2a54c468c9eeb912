//! Alertmanager gets an alert for each mount that is dead, slow or missing: at once when one begins or ends, and again
//! before it would expire. The sent alerts are the difference between the latest snapshot and the alerts sent before.
//! If the daemon dies, its alerts expire; the next daemon continues those whose problem still exists.

mod alert;
mod set;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{ALERTMANAGER, AlertmanagerSettings};

use super::drill::{Outcome, Receipt};
use super::http_client::{CachedClient, RequestError, backoff, host_name};
use super::worker_thread::{Signals, WorkerThread};
use super::{LogFn, lock};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::monitor::{Event, Severity};
use crate::render::metrics::AlertmanagerStats;
use crate::render::{Priority, Snapshot};
use alert::Alert;
use set::{AlertSet, EXPIRES_AFTER_REFRESHES};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The path of the API.
const ALERTS: &[&str] = &["api", "v2", "alerts"];
/// Timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after a request that failed.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause: an Alertmanager that works again gets alerts within half a minute.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// The alert of a drill ends by itself after this time: Alertmanager notifies after its `group_wait`, 30 s by default, and
/// not at all of an alert that has ended before.
const DRILL_ALERT_TIME: Duration = Duration::from_secs(60);

/// The sender of alerts. Clones share one thread, which starts when an Alertmanager is first configured.
#[derive(Clone)]
pub struct AlertmanagerClient(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    signals: Signals,
    idle: Condvar,
    log: LogFn,
}

#[derive(Default)]
struct State {
    thread: Option<WorkerThread>,
    is_start_failure_logged: bool,
    /// The newest update that the thread has not applied.
    update: Option<(Arc<Snapshot>, Arc<Config>)>,
    /// A drill that the thread has not begun.
    drill: Option<(Alert, Receipt)>,
    is_configured: bool,
    /// Whether only refreshes remain to be sent.
    is_idle: bool,
    stats: AlertmanagerStats,
}

impl AlertmanagerClient {
    pub fn new(log: LogFn) -> AlertmanagerClient {
        let (signals, idle) = (Signals::default(), Condvar::new());
        AlertmanagerClient(Arc::new(Shared { state: Mutex::default(), signals, idle, log }))
    }

    /// Updates the alerts from this snapshot and configuration. Never blocks: replaces an update that the thread has not
    /// applied yet.
    pub fn update(&self, snapshot: &Arc<Snapshot>, config: &Arc<Config>) {
        let mut state = lock(&self.0.state);
        if state.thread.is_none() && config.alertmanager.is_some() {
            match Worker::start(&self.0) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) if !std::mem::replace(&mut state.is_start_failure_logged, true) => {
                    drop(state);
                    let text = format!("Cannot start a thread for Alertmanager: {error}; trying again");
                    return (self.0.log)(Priority::Error, &text);
                }
                Err(_) => return,
            }
        }
        if state.thread.is_some() {
            state.update = Some((Arc::clone(snapshot), Arc::clone(config)));
            state.is_configured = config.alertmanager.is_some();
            state.is_idle = false;
            self.0.signals.wake();
        }
    }

    /// Sends the alert of a drill, once there is an Alertmanager: before the first snapshot the thread does not run.
    pub(super) fn drill(&self, event: &Event, severity: Severity, time: SystemTime, receipt: Receipt) {
        let alert = Alert::new(event, severity, time, true);
        lock(&self.0.state).drill = Some((alert, receipt)); // in place of an earlier one, which is over
        self.0.signals.wake();
    }

    /// Counts for metrics; none without an Alertmanager.
    pub fn counters(&self) -> Option<AlertmanagerStats> {
        let state = lock(&self.0.state);
        state.is_configured.then_some(state.stats)
    }

    /// Waits until everything is sent, for a single run of the daemon. Returns false at the timeout.
    pub fn wait_until_idle(&self, timeout: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_configured && !state.is_idle;
        let waited = self.0.idle.wait_timeout_while(lock(&self.0.state), timeout, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Stops the thread, and waits for its end at most until the timeout. Alerts are not resolved: they expire, or the next
    /// daemon continues them.
    pub fn stop(&self, timeout: Duration) {
        self.0.signals.stop();
        let thread = lock(&self.0.state).thread.take();
        if let Some(thread) = thread {
            thread.wait(Instant::now() + timeout);
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    target: Option<(AlertmanagerSettings, CachedClient)>,
    alerts: AlertSet,
    backoff: Backoff<Instant>,
    is_overflow_logged: bool,
}

impl Worker {
    fn start(shared: &Arc<Shared>) -> io::Result<WorkerThread> {
        let worker = Worker {
            shared: Arc::clone(shared),
            target: None,
            alerts: AlertSet::default(),
            backoff: backoff(FIRST_RETRY, MAX_RETRY),
            is_overflow_logged: false,
        };
        WorkerThread::start("alertmanager", WorkerThread::runtime(1)?, |it| it.block_on(worker.run()))
    }

    async fn run(mut self) {
        while !self.shared.signals.is_stopping() {
            self.apply_update();
            self.send_drill().await;
            let due = self.target.as_ref().and_then(|(settings, _)| self.alerts.next_due(settings.refresh));
            let due = due.map(|due| self.backoff.retry_at().map_or(due, |retry_at| due.max(retry_at)));
            if due.is_some_and(|due| due <= Instant::now()) {
                self.send_due().await;
            } else {
                self.shared.signals.woken(due).await;
            }
        }
    }

    /// Takes the newest snapshot and configuration, if there are new ones.
    fn apply_update(&mut self) {
        let update = lock(&self.shared.state).update.take();
        let mut dropped = 0;
        if let Some((snapshot, config)) = update {
            self.set_target(config.alertmanager.as_ref());
            if self.target.is_some() {
                let route = |event: &Event| {
                    let (severity, names) = config.rules.route(event);
                    let is_routed = names.is_none_or(|names| names.iter().any(|name| name == ALERTMANAGER));
                    is_routed.then_some(severity)
                };
                dropped = self.alerts.update(Instant::now(), &snapshot, route);
            }
        }
        let mut state = lock(&self.shared.state);
        state.stats.dropped += dropped;
        state.stats.firing = self.alerts.firing();
        state.is_idle = state.update.is_none() && !self.alerts.has_unsent();
        drop(state);
        self.shared.idle.notify_all();
        if dropped > 0 && !std::mem::replace(&mut self.is_overflow_logged, true) {
            (self.shared.log)(Priority::Warning, "Too many alerts for Alertmanager: some are not sent");
        }
    }

    fn set_target(&mut self, settings: Option<&AlertmanagerSettings>) {
        let before = self.target.as_ref().map(|(settings, _)| settings);
        if before == settings {
            return;
        }
        let Some(settings) = settings else {
            (self.target, self.alerts) = (None, AlertSet::default());
            return;
        };
        if before.is_none_or(|before| before.url != settings.url || before.labels != settings.labels) {
            self.alerts.mark_all_unsent(Instant::now());
        }
        let client = CachedClient::new(settings.access.clone());
        self.target = Some((settings.clone(), client));
        self.backoff.reset();
    }

    /// One attempt, which neither waits for earlier failures nor counts as one.
    async fn send_drill(&mut self) {
        let Some((settings, client)) = &self.target else { return };
        let drill = lock(&self.shared.state).drill.take();
        let Some((alert, receipt)) = drill.filter(|(_, receipt)| !receipt.has_expired()) else { return };
        let body = alert::payload(&[alert], settings, &host_name(), SystemTime::now() + DRILL_ALERT_TIME);
        let url = settings.url.below(ALERTS);
        let timeout = REQUEST_TIMEOUT.min(receipt.timeout());
        tokio::select! {
            sent = client.post_json(url, body, timeout) => receipt.finish(match sent {
                Ok(()) => Outcome::Accepted,
                Err(error) => Outcome::Failed(error.text),
            }),
            () = self.shared.signals.stopped() => {}
        }
    }

    /// Sends everything that is due, in one or more requests, unless one fails.
    async fn send_due(&mut self) {
        let round_start = Instant::now();
        let Some((settings, client)) = self.target.clone() else { return };
        let server = settings.url.origin();
        loop {
            let batch = self.alerts.next_batch(round_start, Instant::now(), settings.refresh);
            if batch.is_empty() {
                return;
            }
            let expires_at = SystemTime::now() + settings.refresh * EXPIRES_AFTER_REFRESHES;
            let body = alert::payload(&batch, &settings, &host_name(), expires_at);
            let url = settings.url.below(ALERTS);
            let sent = tokio::select! {
                sent = client.post_json(url, body, REQUEST_TIMEOUT) => sent,
                () = self.shared.signals.stopped() => return,
            };
            if let Err(RequestError { text: why, .. }) = sent {
                lock(&self.shared.state).stats.failed += 1;
                if self.backoff.retry_at().is_none() {
                    let text = format!("Cannot send alerts to Alertmanager {server}: {why}; trying again");
                    (self.shared.log)(Priority::Warning, &text);
                }
                self.backoff.next(Instant::now());
                return;
            }
            self.alerts.on_accepted(round_start, &batch);
            let mut state = lock(&self.shared.state);
            state.stats.accepted += 1;
            state.stats.last_success = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            drop(state);
            if self.backoff.reset() {
                let text = format!("Alertmanager {server} accepts alerts again");
                (self.shared.log)(Priority::Notice, &text);
            }
        }
    }
}
