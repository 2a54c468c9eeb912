//! The push gateway: one thread, which sends the latest snapshot after each run and at once when a mount dies or
//! recovers. A gateway that is gone, silent, slow or unwilling costs this thread its time and nobody else.
//!
//! The thread runs one task on a small executor of its own, so that a request under way can be given up the moment
//! the daemon is to stop.

mod counters;
mod gateway;

pub use crate::output::http_client::Credentials;
pub use counters::PushCounters;
pub use gateway::{Gateway, PushSettings};

use super::exporters::LogFn;
use super::publish_gate::PublishGate;
use crate::backoff::Backoff;
use crate::output::SharedState;
use crate::output::http_client::Client;
use crate::output::http_client::backoff;
use crate::output::http_client::executor;
use crate::output::metrics::Renderer;
use crate::render::Priority;
use crate::render::Snapshot;
use crate::render::metrics::CONTENT_TYPE;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// From one push to the next: with the snapshot's own delay, a hang is at the gateway within a second of its verdict,
/// and mounts that come and go do not flood it.
const LEAST_GAP: Duration = Duration::from_millis(500);
/// The first pause after a failed push: a gateway that is just restarted …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … doubled up to this, so that one that returns is found within a minute.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A push that is not done by then never will be.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The group is taken back while the daemon stops, which has a second for everything.
const DELETE_TIMEOUT: Duration = Duration::from_millis(350);
/// One thread beside for the one gateway.
const BESIDE: usize = 1;

/// The running thread.
#[derive(Debug)]
pub struct Pusher {
    shared: Arc<Shared>,
    ended: Mutex<mpsc::Receiver<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    bell: Notify,
    stopping: AtomicBool,
}

impl Pusher {
    /// Starts it.
    pub(super) fn start(
        settings: &PushSettings,
        renderer: &Arc<Renderer>,
        live: &SharedState,
        tell: &LogFn,
    ) -> io::Result<Pusher> {
        let shared = Arc::new(Shared::default());
        let (end, ended) = mpsc::channel();
        let worker = Worker {
            settings: settings.clone(),
            renderer: Arc::clone(renderer),
            live: live.clone(),
            tell: Arc::clone(tell),
            shared: Arc::clone(&shared),
            client: settings.client(),
            news: PublishGate::default(),
            backoff: backoff(FIRST_RETRY, LAST_RETRY),
            _end: end,
        };
        let runtime = executor(BESIDE)?;
        std::thread::Builder::new().name("push".into()).spawn(move || runtime.block_on(worker.run()))?;
        live.subscribe(&shared, |shared| shared.bell.notify_one());
        Ok(Pusher { shared, ended: Mutex::new(ended) })
    }

    /// Has its thread ended?
    pub(super) fn is_over(&self) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.try_recv() == Err(mpsc::TryRecvError::Disconnected)
    }

    /// Stops it, at the latest after `patience`.
    pub(super) fn close(&self, patience: Duration) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.bell.notify_one();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(patience); // nothing is ever sent: the other end is dropped, or time is up
    }
}

/// Sends one snapshot, in a thread; what comes of it can be waited for.
pub(super) fn send_once(
    settings: &PushSettings,
    renderer: &Arc<Renderer>,
    snapshot: &Arc<Snapshot>,
) -> io::Result<mpsc::Receiver<Result<(), String>>> {
    let (give, given) = mpsc::channel();
    let client = settings.client();
    let settings = settings.clone();
    let (renderer, snapshot) = (Arc::clone(renderer), Arc::clone(snapshot));
    let runtime = executor(BESIDE)?;
    std::thread::Builder::new().name("push".into()).spawn(move || {
        let _ = give.send(runtime.block_on(put(&settings, &client, renderer.render_for_push(&snapshot))));
    })?;
    Ok(given)
}

/// Replaces everything in the group.
async fn put(settings: &PushSettings, client: &Client, body: Vec<u8>) -> Result<(), String> {
    let body = Some((HeaderValue::from_static(CONTENT_TYPE), body));
    let sent = client.send(Method::PUT, group(settings)?, body, TOTAL_TIMEOUT).await;
    sent.map_err(|failure| failure.text)
}

/// Takes the group back.
async fn delete(settings: &PushSettings, client: &Client) -> Result<(), String> {
    let sent = client.send(Method::DELETE, group(settings)?, None, DELETE_TIMEOUT).await;
    sent.map_err(|failure| failure.text)
}

/// The name of the machine may change while we run.
fn group(settings: &PushSettings) -> Result<Url, String> {
    let instance = hostname::get().map_err(|error| format!("this machine has no name: {error}"))?;
    Ok(settings.gateway.group(&instance))
}

struct Worker {
    settings: PushSettings,
    renderer: Arc<Renderer>,
    live: SharedState,
    tell: LogFn,
    shared: Arc<Shared>,
    client: Client,
    news: PublishGate,
    backoff: Backoff<std::time::Instant>,
    /// Dropped at the end.
    _end: mpsc::Sender<()>,
}

impl Worker {
    async fn run(mut self) {
        let mut not_before = Instant::now();
        while !self.is_stopping() {
            let due = self.live.latest().filter(|snapshot| self.news.is(snapshot));
            match due {
                None => self.shared.bell.notified().await,
                Some(_) if Instant::now() < not_before => tokio::select! {
                    () = self.shared.bell.notified() => {}
                    () = sleep_until(not_before) => {}
                },
                Some(snapshot) => not_before = self.push(&snapshot).await,
            }
        }
        if self.settings.delete_on_exit
            && let Err(error) = delete(&self.settings, &self.client).await
        {
            self.say(
                Priority::Warning,
                &format!("Cannot delete what was pushed to {}: {error}", self.settings.gateway),
            );
        }
    }

    /// Pushes, and says when the next push may be.
    async fn push(&mut self, snapshot: &Snapshot) -> Instant {
        let body = self.renderer.render_for_push(snapshot);
        let sent = tokio::select! {
            sent = put(&self.settings, &self.client, body) => sent,
            () = stopped(&self.shared) => return Instant::now(),
        };
        let pause = match sent {
            Ok(()) => {
                self.count(|counters| counters.succeeded(SystemTime::now()));
                self.news.sent(snapshot);
                if self.backoff.reset() {
                    self.say(
                        Priority::Notice,
                        &format!("Metrics are pushed to {} again", self.settings.gateway),
                    );
                }
                LEAST_GAP
            }
            Err(error) => {
                self.count(PushCounters::failed);
                if !self.backoff.is_failing() {
                    let gateway = &self.settings.gateway;
                    self.say(
                        Priority::Warning,
                        &format!("Cannot push metrics to {gateway}: {error}; trying again"),
                    );
                }
                self.backoff.next(std::time::Instant::now())
            }
        };
        Instant::now() + pause
    }

    fn count(&self, with: impl Fn(&PushCounters)) {
        if let Some(counters) = self.renderer.push_counters() {
            with(counters);
        }
    }

    fn say(&self, priority: Priority, text: &str) {
        (self.tell)(priority, text);
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }
}

/// Ends when the daemon is to stop; news meanwhile are found by the next look.
async fn stopped(shared: &Shared) {
    while !shared.stopping.load(Ordering::Acquire) {
        shared.bell.notified().await;
    }
}
