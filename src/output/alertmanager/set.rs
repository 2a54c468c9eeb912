//! The alerts that fire or were just resolved, and which of them have to be sent. Pure: time is an argument.
//!
//! An alert keeps the name and the severity with which it began, even if the reason changes: both are labels, and an
//! alert with other labels is another alert.

use super::alert::{Alert, AlertLabels, Problem, problems};
use crate::monitor::Event;
use crate::render::{Severity, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Alerts at the same time: one for every mount of a machine with ten thousand.
pub(super) const MAX_ALERTS: usize = 10_000;
/// Memory of all alerts. Ordinary alerts take less than 1 KiB.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Alerts and bytes of one request, so that it stays below the limits of servers.
const MAX_BATCH: usize = 500;
const MAX_BATCH_BYTES: usize = 512 << 10;
/// From a change to the request that reports it: mounts that die together are reported together.
const COALESCE_TIME: Duration = Duration::from_millis(300);
/// An alert expires after so many refreshes that did not come, as with Prometheus.
pub(super) const EXPIRES_AFTER_REFRESHES: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct AlertSet {
    entries: BTreeMap<Arc<AlertLabels>, Entry>,
    bytes: usize,
    /// When the first of the changes that are not sent yet was made.
    changed_at: Option<Instant>,
    /// When the firing alert that was refreshed least recently was accepted.
    oldest_accepted_at: Option<Instant>,
    /// Number of the last update.
    update: u64,
    /// Problems of the last update for which there was no room.
    overflow: u64,
}

#[derive(Debug)]
struct Entry {
    alert: Alert,
    /// Number of the last update that had its problem.
    seen: u64,
    is_unsent: bool,
    accepted_at: Option<Instant>,
    /// Until when Alertmanager may have the alert, by what was ever sent, accepted or not.
    expires_at: Option<Instant>,
}

impl AlertSet {
    /// Makes the firing alerts those of the snapshot. `route` gives the severity of a problem, or none if Alertmanager
    /// does not get it. Returns by how much the number of alerts without room has grown.
    pub(super) fn update(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        route: impl Fn(&Event) -> Option<Severity>,
    ) -> u64 {
        self.update += 1;
        let mut overflow = 0_u64;
        for problem in problems(snapshot) {
            if let Some(severity) = route(&problem.event)
                && !self.fire(now, problem, severity)
            {
                overflow += 1;
            }
        }
        self.resolve_unseen(now, snapshot.wall);
        overflow.saturating_sub(std::mem::replace(&mut self.overflow, overflow))
    }

    /// Begins an alert or updates one that fires. Returns false if there is no room for it.
    fn fire(&mut self, now: Instant, problem: Problem, severity: Severity) -> bool {
        let (seen, can_begin) = (self.update, problem.can_begin);
        let alert = Alert::new(problem, severity);
        let entry = self.entries.get_mut(&alert.labels);
        let is_firing = entry.as_ref().is_some_and(|entry| entry.alert.is_firing());
        if !is_firing && !can_begin {
            return true;
        }
        let Some(entry) = entry else {
            let fits = self.entries.len() < MAX_ALERTS && self.bytes + alert.cost() <= MAX_BYTES;
            if fits {
                self.bytes += alert.cost();
                let labels = Arc::clone(&alert.labels);
                let entry = Entry { alert, seen, is_unsent: true, accepted_at: None, expires_at: None };
                self.entries.insert(labels, entry);
                self.changed_at.get_or_insert(now);
            }
            return fits;
        };
        entry.seen = seen;
        // If the end of the alert is not accepted yet, it is taken back: with another name or severity, the alert would
        // stay in Alertmanager beside this one.
        let before = &entry.alert;
        if !is_firing || before.reason != alert.reason {
            entry.is_unsent = true;
            self.changed_at.get_or_insert(now);
        }
        self.bytes = self.bytes - before.cost() + alert.cost();
        let started = if is_firing { before.started } else { alert.started };
        entry.alert = Alert { name: before.name, severity: before.severity, started, ..alert };
        true
    }

    /// Resolves the alerts whose problem was not in the last update.
    fn resolve_unseen(&mut self, now: Instant, wall: SystemTime) {
        let AlertSet { entries, bytes, changed_at, update, .. } = self;
        entries.retain(|_, entry| {
            if !entry.alert.is_firing() || entry.seen == *update {
                return true;
            }
            let is_known = entry.expires_at.is_some();
            if is_known {
                entry.alert.ended = Some(wall.max(entry.alert.started));
                entry.is_unsent = true;
                changed_at.get_or_insert(now);
            } else {
                *bytes -= entry.alert.cost(); // Alertmanager never heard of it
            }
            is_known
        });
    }

    pub(super) fn firing(&self) -> usize {
        self.entries.values().filter(|entry| entry.alert.is_firing()).count()
    }

    pub(super) const fn has_unsent(&self) -> bool {
        self.changed_at.is_some()
    }

    /// Sends all that fires anew, to an Alertmanager that knows nothing.
    pub(super) fn mark_all_unsent(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.alert.is_firing());
        self.bytes = self.entries.values().map(|entry| entry.alert.cost()).sum();
        for entry in self.entries.values_mut() {
            (entry.is_unsent, entry.accepted_at, entry.expires_at) = (true, None, None);
        }
        self.oldest_accepted_at = None;
        self.changed_at = (!self.entries.is_empty()).then_some(now);
    }

    /// When something has to be sent.
    pub(super) fn next_due(&self, refresh: Duration) -> Option<Instant> {
        let changed = self.changed_at.map(|at| at + COALESCE_TIME);
        let refresh = self.oldest_accepted_at.map(|at| at + refresh);
        changed.into_iter().chain(refresh).min()
    }

    /// The alerts of the next request of a round that began at `round_start`: those that changed, and those that have
    /// to be refreshed soon. None when the round is over.
    pub(super) fn next_batch(
        &mut self,
        round_start: Instant,
        now: Instant,
        refresh: Duration,
    ) -> Option<Vec<Alert>> {
        let AlertSet { entries, bytes, .. } = self;
        entries.retain(|_, entry| {
            // Alertmanager has ended it by itself.
            let is_over =
                !entry.alert.is_firing() && entry.expires_at.is_none_or(|expires| expires <= round_start);
            if is_over {
                *bytes -= entry.alert.cost();
            }
            !is_over
        });
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for entry in entries.values_mut() {
            let is_old = entry.accepted_at.is_some_and(|at| at + refresh / 2 <= round_start);
            if !entry.is_unsent && !is_old {
                continue;
            }
            batch_bytes += entry.alert.cost();
            if batch.len() == MAX_BATCH || (batch_bytes > MAX_BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            if entry.alert.is_firing() {
                entry.expires_at = Some(now + refresh * EXPIRES_AFTER_REFRESHES);
            }
            batch.push(entry.alert.clone());
        }
        if batch.is_empty() {
            self.changed_at = None;
            self.oldest_accepted_at = self.entries.values().filter_map(|entry| entry.accepted_at).min();
            return None;
        }
        Some(batch)
    }

    /// Records that the batch was accepted.
    pub(super) fn on_accepted(&mut self, now: Instant, batch: &[Alert]) {
        for alert in batch {
            let Some(entry) = self.entries.get_mut(&alert.labels) else { continue };
            (entry.is_unsent, entry.accepted_at) = (false, Some(now));
            if !entry.alert.is_firing() {
                self.bytes -= entry.alert.cost();
                self.entries.remove(&alert.labels);
            }
        }
    }
}
