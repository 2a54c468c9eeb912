//! The alerts that fire or were just resolved, and which of them are to be sent. Pure: time is an argument.
//!
//! An alert is one incident: it has the name and the severity with which it began, and keeps them when the reason
//! changes, for both are labels, and another label is another alert.

use super::document::{Alert, Kind, Subject};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// Alerts at the same time: every mount of a machine with ten thousand of them.
pub(super) const MAX_ALERTS: usize = 10_000;
/// Memory of their texts. Ordinary alerts take below 1 KiB.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Alerts in one request, and bytes of their texts: a request stays below what servers take.
const MAX_BATCH: usize = 500;
const MAX_BATCH_BYTES: usize = 512 << 10;
/// From a change to the request that tells it: mounts that die together are told together.
const COALESCE: Duration = Duration::from_millis(300);
/// An alert that is not refreshed any more expires after so many refreshes, as with Prometheus.
pub(super) const EXPIRES_AFTER: u32 = 4;

/// What identifies an alert of this machine.
pub(super) type Key = (Kind, Subject);

/// All alerts.
#[derive(Debug, Default)]
pub(super) struct Set {
    entries: BTreeMap<Key, Entry>,
    bytes: usize,
    /// The first change that was not sent.
    changed: Option<Instant>,
    /// When the oldest of those that fire was last accepted.
    oldest: Option<Instant>,
    version: u64,
}

#[derive(Debug)]
struct Entry {
    alert: Alert,
    /// Of its last change, and of the last that was accepted.
    version: u64,
    accepted: u64,
    accepted_at: Option<Instant>,
    /// Until when Alertmanager may have it, by what was ever sent, accepted or not.
    lives_until: Option<Instant>,
}

/// Alerts of one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) alerts: Vec<Alert>,
    sent: Vec<(Key, u64)>,
}

impl Set {
    /// It fires, or goes on to fire with these words. Is there room for it?
    pub(super) fn fire(&mut self, now: Instant, key: Key, alert: Alert) -> bool {
        self.version += 1;
        if let Some(entry) = self.entries.get_mut(&key) {
            let before = &mut entry.alert;
            self.bytes -= before.cost();
            if before.ended.is_some() {
                // Its end was not accepted yet: under another name or severity it would stay there beside this one.
                *before = Alert { name: before.name, severity: before.severity, ..alert };
            } else {
                before.reason = alert.reason;
                before.text = alert.text;
            }
            self.bytes += before.cost();
            entry.version = self.version;
        } else {
            if self.entries.len() >= MAX_ALERTS || self.bytes + alert.cost() > MAX_BYTES {
                return false;
            }
            self.bytes += alert.cost();
            let version = self.version;
            let entry = Entry { alert, version, accepted: 0, accepted_at: None, lives_until: None };
            self.entries.insert(key, entry);
        }
        self.changed.get_or_insert(now);
        true
    }

    /// It is over.
    pub(super) fn resolve(&mut self, now: Instant, ended: SystemTime, key: &Key) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.alert.ended.is_none()) else {
            return;
        };
        if entry.lives_until.is_none() {
            // Alertmanager never heard of it.
            return self.remove(key);
        }
        self.version += 1;
        entry.alert.ended = Some(ended.max(entry.alert.started));
        entry.version = self.version;
        self.changed.get_or_insert(now);
    }

    /// A mount was moved: what was said of it is said of the new place.
    pub(super) fn rename(&mut self, now: Instant, ended: SystemTime, from: &Subject, to: &Subject) {
        for kind in Kind::OF_MOUNTS {
            let key = (kind, from.clone());
            if let Some(alert) = self.firing(&key).cloned() {
                self.resolve(now, ended, &key);
                let _ = self.fire(now, (kind, to.clone()), Alert { subject: to.clone(), ..alert });
            }
        }
    }

    /// Resolves what fires and is not so any more.
    pub(super) fn retain(&mut self, now: Instant, ended: SystemTime, still: impl Fn(&Key) -> bool) {
        let fires =
            |(key, entry): (&Key, &Entry)| (entry.alert.ended.is_none() && !still(key)).then(|| key.clone());
        let over: Vec<Key> = self.entries.iter().filter_map(fires).collect();
        for key in over {
            self.resolve(now, ended, &key);
        }
    }

    pub(super) fn firing(&self, key: &Key) -> Option<&Alert> {
        self.entries.get(key).map(|entry| &entry.alert).filter(|alert| alert.ended.is_none())
    }

    pub(super) fn count_firing(&self) -> usize {
        self.entries.values().filter(|entry| entry.alert.ended.is_none()).count()
    }

    pub(super) const fn has_changes(&self) -> bool {
        self.changed.is_some()
    }

    /// Somebody else is told from now on: he knows nothing.
    pub(super) fn tell_all(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.alert.ended.is_none());
        self.bytes = self.entries.values().map(|entry| entry.alert.cost()).sum();
        for entry in self.entries.values_mut() {
            (entry.accepted, entry.accepted_at, entry.lives_until) = (0, None, None);
        }
        self.oldest = None;
        self.changed = (!self.entries.is_empty()).then_some(now);
    }

    pub(super) fn clear(&mut self) {
        *self = Set { version: self.version, ..Set::default() };
    }

    /// When something is to be sent.
    pub(super) fn due(&self, refresh: Duration) -> Option<Instant> {
        let changed = self.changed.map(|at| at + COALESCE);
        let refresh = self.oldest.map(|at| at + refresh);
        changed.into_iter().chain(refresh).min()
    }

    /// The next request of a round that began at `begun`: what changed, and what fires and will soon have to be
    /// refreshed anyway. None when the round is over.
    pub(super) fn batch(&mut self, begun: Instant, now: Instant, refresh: Duration) -> Option<Batch> {
        self.entries.retain(|_, entry| {
            // What Alertmanager has forgotten by itself need not be resolved.
            let over = entry.alert.ended.is_some() && entry.lives_until.is_none_or(|until| until <= begun);
            if over {
                self.bytes -= entry.alert.cost();
            }
            !over
        });
        let mut batch = Batch { alerts: Vec::new(), sent: Vec::new() };
        let mut bytes = 0;
        for (key, entry) in &mut self.entries {
            let old = entry.accepted_at.is_none_or(|at| at + refresh / 2 <= begun);
            if entry.version == entry.accepted && !old {
                continue;
            }
            bytes += entry.alert.cost();
            if batch.alerts.len() == MAX_BATCH || (bytes > MAX_BATCH_BYTES && !batch.alerts.is_empty()) {
                break;
            }
            if entry.alert.ended.is_none() {
                entry.lives_until = Some(now + refresh * EXPIRES_AFTER);
            }
            batch.alerts.push(entry.alert.clone());
            batch.sent.push((key.clone(), entry.version));
        }
        if batch.alerts.is_empty() {
            self.changed = None;
            let accepted = self.entries.values().filter_map(|entry| entry.accepted_at);
            self.oldest = accepted.min();
        }
        (!batch.alerts.is_empty()).then_some(batch)
    }

    /// A request was accepted.
    pub(super) fn accepted(&mut self, now: Instant, batch: &Batch) {
        for (key, version) in &batch.sent {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            (entry.accepted, entry.accepted_at) = (*version, Some(now));
            if entry.version == *version && entry.alert.ended.is_some() {
                self.remove(key);
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.alert.cost();
        }
    }
}
