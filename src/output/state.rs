//! The latest snapshot, and how its readers learn of a new one.

use super::EventLog;
use crate::render::Message;
use crate::render::Snapshot;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Mount points about which evidence may be wanted between two turns of the loop.
const MAX_WISHES: usize = 64;

/// Is anybody still there to be told?
type Hook = Box<dyn Fn() -> bool + Send + Sync>;

/// Shared by the loop, which writes, and those who serve, who read. Cheap to clone.
#[derive(Clone, Default)]
pub struct SharedState(Arc<Shared>);

#[derive(Default)]
struct Shared {
    latest: Mutex<Option<Arc<Snapshot>>>,
    changed: Condvar,
    events: EventLog,
    /// Turns of the loop so far.
    turns: AtomicU64,
    waker: OnceLock<Arc<mio::Waker>>,
    hooks: Mutex<Vec<Hook>>,
    /// Mount points about which evidence is wanted.
    wishes: Mutex<Vec<PathBuf>>,
}

impl SharedState {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> SharedState {
        SharedState::default()
    }

    /// The last snapshot; none before the first mount table was read.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.0.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a snapshot whose serial is above this, at most for `limit`. For threads, never for the loop.
    #[must_use]
    pub fn wait_beyond(&self, serial: u64, limit: Duration) -> Option<Arc<Snapshot>> {
        let latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |latest: &mut Option<Arc<Snapshot>>| latest.as_ref().is_none_or(|s| s.serial <= serial);
        let (latest, _) =
            self.0.changed.wait_timeout_while(latest, limit, is_old).unwrap_or_else(PoisonError::into_inner);
        latest.clone().filter(|latest| latest.serial > serial)
    }

    /// The last events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.0.events
    }

    /// `ring` is called after each new snapshot and each new event, by the loop, for as long as somebody holds the
    /// `bell`: it must not block.
    pub fn on_news<B: Send + Sync + 'static>(
        &self,
        bell: &Arc<B>,
        ring: impl Fn(&B) + Send + Sync + 'static,
    ) {
        let bell = Arc::downgrade(bell);
        let hook = move || bell.upgrade().map(|bell| ring(&bell)).is_some();
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
        self.nudge(); // what is known already is news to the newcomer
    }

    /// Does anybody want news, so that it is worth making snapshots?
    #[must_use]
    pub fn is_followed(&self) -> bool {
        !self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Turns of the loop so far. [`SharedState::nudge`] makes an idle loop turn: if the number has not grown a second later,
    /// the loop is stuck.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.0.turns.load(Ordering::Acquire)
    }

    /// Wakes the loop up.
    pub fn nudge(&self) {
        if let Some(waker) = self.0.waker.get() {
            let _ = waker.wake(); // a loop that cannot be woken does not turn, which is what the caller will see
        }
    }

    /// Wants fresh evidence about what is dead at these mount points. It comes with a later snapshot, or not.
    pub fn want_evidence(&self, mountpoints: impl IntoIterator<Item = PathBuf>) {
        let mut wishes = self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        for path in mountpoints {
            if wishes.len() < MAX_WISHES && !wishes.contains(&path) {
                wishes.push(path);
            }
        }
        drop(wishes);
        self.nudge();
    }

    /// For the loop: what evidence is wanted about.
    pub(crate) fn take_wishes(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For the loop: how it can be woken.
    pub(crate) fn set_waker(&self, waker: Arc<mio::Waker>) {
        let _ = self.0.waker.set(waker);
    }

    /// For the loop: it has turned.
    pub(crate) fn turned(&self) {
        self.0.turns.fetch_add(1, Ordering::Release);
    }

    /// For the loop: a new snapshot, whose serial is given here.
    pub(crate) fn publish(&self, mut snapshot: Snapshot) {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.serial = latest.as_ref().map_or(1, |latest| latest.serial + 1);
        *latest = Some(Arc::new(snapshot));
        drop(latest);
        self.0.changed.notify_all();
        self.call_hooks();
    }

    /// For the loop: an event.
    pub fn tell(&self, message: Arc<Message>) {
        self.0.events.add(message);
        self.call_hooks();
    }

    fn call_hooks(&self) {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner).retain(|hook| hook());
    }
}

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("turns", &self.turns()).finish_non_exhaustive()
    }
}
