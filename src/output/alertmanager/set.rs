//! The alerts that are firing or were just resolved, and which of them must be sent. Pure: time is an argument.
//!
//! An alert keeps the name and the severity with which it began, even if the reason changes: both are labels, and an
//! alert with other labels is another alert.

use super::alert::{Alert, AlertLabels, problems};
use crate::monitor::Event;
use crate::monitor::Severity;
use crate::render::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of alerts at the same time: one for every mount of a machine with ten thousand.
pub(super) const MAX_ALERTS: usize = 10_000;
/// Maximum memory of all alerts. Ordinary alerts take less than 1 KiB.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Maximum number of alerts and bytes in one request, which stays below the limits of servers.
const MAX_BATCH: usize = 500;
const MAX_BATCH_BYTES: usize = 512 << 10;
/// Delay from a change to the request that reports it, so that mounts that die together are reported together.
const COALESCE_TIME: Duration = Duration::from_millis(300);
/// An alert expires after this many missed refreshes, as in Prometheus.
pub(super) const EXPIRES_AFTER_REFRESHES: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct AlertSet {
    entries: BTreeMap<Arc<AlertLabels>, Entry>,
    /// Number of problems of the last update for which there was no room.
    overflow: u64,
}

#[derive(Debug)]
struct Entry {
    alert: Alert,
    /// The time of the change that was not sent yet.
    unsent_since: Option<Instant>,
    accepted_at: Option<Instant>,
    /// When the alert expires in Alertmanager at the latest, according to all requests, accepted or not.
    expires_at: Option<Instant>,
    /// Whether the last update contained its problem.
    is_current: bool,
}

impl AlertSet {
    /// Updates the firing alerts from the snapshot. `route` returns the severity of a problem, or `None` if it is not sent
    /// to Alertmanager. Returns the increase in the number of alerts without room.
    pub(super) fn update(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        route: impl Fn(&Event) -> Option<Severity>,
    ) -> u64 {
        let mut bytes = 0;
        for entry in self.entries.values_mut() {
            entry.is_current = false;
            bytes += entry.alert.cost();
        }
        let mut overflow = 0_u64;
        for (problem, since, can_begin) in problems(snapshot) {
            if let Some(severity) = route(&problem) {
                let alert = Alert::new(&problem, severity, snapshot.wall_at(since), can_begin);
                let alert = alert.with_remedy(&problem, &snapshot.remedies);
                overflow += u64::from(!self.fire(now, alert, &mut bytes));
            }
        }
        self.entries.retain(|_, entry| {
            if entry.is_current || !entry.alert.is_firing() {
                return true;
            }
            entry.alert.ended = Some(snapshot.wall.max(entry.alert.started));
            entry.unsent_since.get_or_insert(now);
            entry.expires_at.is_some() // otherwise Alertmanager does not know it
        });
        overflow.saturating_sub(std::mem::replace(&mut self.overflow, overflow))
    }

    /// Begins an alert or updates a firing one. Returns false if there is no room for it.
    fn fire(&mut self, now: Instant, alert: Alert, bytes: &mut usize) -> bool {
        let has_room = self.entries.len() < MAX_ALERTS && *bytes + alert.cost() <= MAX_BYTES;
        match self.entries.get_mut(&alert.labels) {
            Some(entry) if alert.can_begin || entry.alert.is_firing() => {
                let before = &entry.alert;
                // If the end of the alert was not accepted yet, the alert continues: with another name or severity, the
                // old alert would remain in Alertmanager beside the new one.
                if !before.is_firing() || before.reason != alert.reason || before.remedy != alert.remedy {
                    entry.unsent_since.get_or_insert(now);
                }
                *bytes = *bytes - before.cost() + alert.cost();
                let started = if before.is_firing() { before.started } else { alert.started };
                entry.alert = Alert { name: before.name, severity: before.severity, started, ..alert };
                entry.is_current = true;
                true
            }
            None if alert.can_begin && has_room => {
                *bytes += alert.cost();
                let (labels, unsent_since) = (Arc::clone(&alert.labels), Some(now));
                let entry =
                    Entry { alert, unsent_since, accepted_at: None, expires_at: None, is_current: true };
                self.entries.insert(labels, entry);
                true
            }
            _ => !alert.can_begin,
        }
    }

    pub(super) fn firing(&self) -> usize {
        self.entries.values().filter(|entry| entry.alert.is_firing()).count()
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.entries.values().any(|entry| entry.unsent_since.is_some())
    }

    /// Marks all firing alerts to be sent again, for an Alertmanager without state.
    pub(super) fn mark_all_unsent(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.alert.is_firing());
        for entry in self.entries.values_mut() {
            (entry.unsent_since, entry.accepted_at, entry.expires_at) = (Some(now), None, None);
        }
    }

    /// When something must be sent.
    pub(super) fn next_due(&self, refresh: Duration) -> Option<Instant> {
        let due = |entry: &Entry| {
            let changed = entry.unsent_since.map(|at| at + COALESCE_TIME);
            changed.into_iter().chain(entry.accepted_at.map(|at| at + refresh))
        };
        self.entries.values().flat_map(due).min()
    }

    /// The alerts of the next request of a round that began at `round_start`: changed alerts, and alerts that must be
    /// refreshed soon. Empty when the round is complete.
    pub(super) fn next_batch(&mut self, round_start: Instant, now: Instant, refresh: Duration) -> Vec<Alert> {
        // All others have already expired in Alertmanager.
        let may_exist = |entry: &Entry| entry.expires_at.is_some_and(|expires_at| expires_at > round_start);
        self.entries.retain(|_, entry| entry.alert.is_firing() || may_exist(entry));
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        for entry in self.entries.values_mut() {
            let is_old = entry.accepted_at.is_some_and(|at| at + refresh / 2 <= round_start);
            if entry.unsent_since.is_none() && !is_old {
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
        batch
    }

    /// Records that the batch was accepted.
    pub(super) fn on_accepted(&mut self, now: Instant, batch: &[Alert]) {
        for alert in batch {
            if !alert.is_firing() {
                self.entries.remove(&alert.labels);
            } else if let Some(entry) = self.entries.get_mut(&alert.labels) {
                (entry.unsent_since, entry.accepted_at) = (None, Some(now));
            }
        }
    }
}
