//! State that the HTTP server and the exporters read: the latest snapshot and the last events. They also use it to
//! check that the event loop runs, and to request evidence and probes.

use super::drill::{DRILL_INTERVAL, Drill, Receipt};
use super::event_clients::EventClients;
use super::{EventLog, lock};
use crate::monitor::ProbeSelection;
use crate::render::{Message, Snapshot};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Maximum number of mount points about which evidence can be requested between two turns of the loop.
const MAX_EVIDENCE_REQUESTS: usize = 64;

/// Called after each change; returns false when its owner is gone.
type Subscriber = Box<dyn Fn() -> bool + Send + Sync>;

/// Written by the outputs thread, except where a method documents otherwise. Clones share the state.
#[derive(Clone, Default)]
pub struct SharedState(Arc<Shared>);

#[derive(Default)]
struct Shared {
    latest: Mutex<Option<Arc<Snapshot>>>,
    events: EventLog,
    subscribers: Mutex<Vec<Subscriber>>,
    turns: AtomicU64,
    waker: OnceLock<Arc<mio::Waker>>,
    evidence_requests: Mutex<Vec<PathBuf>>,
    probe_request: Mutex<Option<ProbeSelection>>,
    event_clients: EventClients,
    drill: Mutex<DrillRequest>,
}

#[derive(Default)]
struct DrillRequest {
    /// Not yet taken by the event loop.
    waiting: Option<Drill>,
    begun: Option<Instant>,
}

impl SharedState {
    /// The last snapshot; `None` before the first mount table was read.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        lock(&self.0.latest).clone()
    }

    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// Calls `notify` now and after each new snapshot and event, as long as `subscriber` is alive. It must not block.
    pub fn subscribe<S: Send + Sync + 'static>(
        &self,
        subscriber: &Arc<S>,
        notify: impl Fn(&S) + Send + Sync + 'static,
    ) {
        let weak = Arc::downgrade(subscriber);
        let mut subscribers = lock(&self.0.subscribers);
        notify(subscriber); // a snapshot may already exist
        subscribers.push(Box::new(move || weak.upgrade().map(|subscriber| notify(&subscriber)).is_some()));
    }

    /// Number of turns of the event loop. If it does not grow after [`SharedState::wake_loop`], the loop is stuck.
    pub fn turns(&self) -> u64 {
        self.0.turns.load(Ordering::Acquire)
    }

    pub fn wake_loop(&self) {
        if let Some(waker) = self.0.waker.get() {
            let _ = waker.wake(); // a loop that cannot be woken does not turn, which the caller detects
        }
    }

    /// Requests fresh evidence about these dead mounts, which may come with a later snapshot.
    pub fn request_evidence(&self, mountpoints: impl IntoIterator<Item = PathBuf>) {
        let mut requests = lock(&self.0.evidence_requests);
        for path in mountpoints {
            if requests.len() < MAX_EVIDENCE_REQUESTS && !requests.contains(&path) {
                requests.push(path);
            }
        }
        drop(requests);
        self.wake_loop();
    }

    pub(crate) fn take_evidence_requests(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *lock(&self.0.evidence_requests))
    }

    /// Requests a fresh judgement of these mounts, which comes with a later snapshot.
    pub fn request_probes(&self, selection: ProbeSelection) {
        let mut request = lock(&self.0.probe_request);
        *request = Some(match request.take() {
            None => selection,
            Some(earlier) => earlier.union(selection),
        });
        drop(request);
        self.wake_loop();
    }

    pub(crate) fn take_probe_request(&self) -> Option<ProbeSelection> {
        lock(&self.0.probe_request).take()
    }

    /// Requests a drill. An error is the time until the next is allowed.
    pub(super) fn request_drill(&self, mountpoint: PathBuf) -> Result<Drill, Duration> {
        let mut request = lock(&self.0.drill);
        let wait =
            request.begun.map_or(Duration::ZERO, |begun| DRILL_INTERVAL.saturating_sub(begun.elapsed()));
        if !wait.is_zero() {
            return Err(wait);
        }
        let drill = Drill::new(mountpoint);
        *request = DrillRequest { waiting: Some(drill.clone()), begun: Some(Instant::now()) };
        drop(request);
        self.wake_loop();
        Ok(drill)
    }

    pub(crate) fn take_drill_request(&self) -> Option<Drill> {
        lock(&self.0.drill).waiting.take().filter(|drill| !drill.has_ended()) // the loop may have been stuck
    }

    /// The clients that follow the events.
    pub(super) fn event_clients(&self) -> &EventClients {
        &self.0.event_clients
    }

    /// Adds the event of a drill, and waits for the clients that follow.
    pub(super) fn add_drill(&self, message: Arc<Message>, receipt: Receipt) {
        self.0.event_clients.deliver(receipt, || {
            self.add_event(message);
            self.events().last()
        });
    }

    pub(crate) fn set_waker(&self, waker: Arc<mio::Waker>) {
        let _ = self.0.waker.set(waker); // called once: there is only one loop
    }

    pub(crate) fn tick(&self) {
        self.0.turns.fetch_add(1, Ordering::Release);
    }

    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        *lock(&self.0.latest) = Some(snapshot);
        self.notify_subscribers();
    }

    pub fn add_event(&self, message: Arc<Message>) {
        self.0.events.add(message);
        self.notify_subscribers();
    }

    fn notify_subscribers(&self) {
        lock(&self.0.subscribers).retain(|subscriber| subscriber());
    }
}
