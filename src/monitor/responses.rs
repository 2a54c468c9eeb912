//! Handles responses.

use super::evidence::Occasion;
use super::health::{Classification, Context, classify};
use super::probing::EndedProbe;
use super::reports::Reports;
use super::scheduler::Due;
use super::{Event, Failure, Health, Monitor, ProbeId, TableDoubt, Time};
use platform::{Call, Errno, MountKey, ProbeOutcome, Usage};
use std::sync::Arc;
use std::time::Duration;

impl Monitor {
    pub(super) fn on_response(&mut self, now: Time, id: ProbeId, outcome: &ProbeOutcome, took: Duration) {
        let Some(ended) = self.end_probe(id) else { return };
        let EndedProbe { key, superblock, is_current, is_outdated } = ended;
        let entry = self.registry.get_mut(key);
        if let Some(entry) = &entry {
            self.counters.on_response(entry.fstype_index, outcome, took);
        }
        if is_outdated && matches!(outcome, ProbeOutcome::Failed { .. }) {
            return self.request_probe(now, key);
        }
        let classification = match entry {
            Some(entry) if is_current => entry.record(now, outcome, took, self.searches_every_directory),
            _ => classify(outcome, Context::default()),
        };
        match classification {
            Classification::Inconclusive => return self.on_inconclusive(now, ended),
            Classification::WrongMount => return self.on_wrong_mount(now, ended, false),
            Classification::Hidden => return self.on_wrong_mount(now, ended, true),
            Classification::TooLate => {
                self.registry.confirm_health(now, key);
                self.complete_in_run(key);
                return self.scheduler.plan_retry(now, superblock, self.registry.get(key));
            }
            _ if !is_current => {}
            Classification::Alive(usage) => {
                if let ProbeOutcome::DataAlive { past_cache, .. } = *outcome {
                    self.on_data_alive(now, key, past_cache, took);
                }
                self.on_alive(now, key, usage, took);
            }
            Classification::Failed(call, errno) => self.on_failed(now, key, call, errno),
            Classification::Denied(call, errno) => self.on_denied(now, key, call, errno),
        }
        if self.scheduler.on_superblock_response(superblock) {
            // It was hung: the state of its other mounts is unknown.
            let members: Vec<MountKey> = self.registry.members(superblock).collect();
            for other in members {
                if other != key || !is_current {
                    self.request_probe(now, other);
                }
            }
        }
    }

    /// A slow response is not good: the next probe shows whether the data path is still slow.
    fn on_data_alive(&mut self, now: Time, key: MountKey, past_cache: bool, took: Duration) {
        if self.registry.get(key).is_some_and(|entry| took <= entry.settings.slow_after) {
            self.data_paths.on_good(now, key, past_cache);
        }
    }

    fn on_alive(&mut self, now: Time, key: MountKey, usage: Option<Usage>, took: Duration) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        self.scheduler.on_response(entry, true);
        if usage.is_some_and(|usage| entry.is_new_contradiction(usage.read_only)) {
            self.table_doubt = Some(TableDoubt::Contradicted);
        }
        self.evidence.on_alive(entry.superblock(), entry.health.failure().is_some());
        let is_slow = took > entry.settings.slow_after;
        let event = Reports::on_alive(now, entry, is_slow, took);
        if event.is_some() {
            self.stop_reminders(key);
        }
        self.registry.set_health(now, key, if is_slow { Health::Slow } else { Health::Ok });
        if let Some(event) = event {
            self.report_change(now, key, event);
        }
    }

    fn on_failed(&mut self, now: Time, key: MountKey, call: Call, errno: Errno) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        self.scheduler.on_response(entry, false);
        self.scheduler.retry_after_failure(now, entry);
        self.set_dead(now, key, Failure::error(call, errno));
    }

    pub(super) fn on_denied(&mut self, now: Time, key: MountKey, call: Call, errno: Errno) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        self.scheduler.on_response(entry, false);
        let event = Reports::on_denied(now, entry, call, errno);
        self.stop_reminders(key);
        self.registry.set_health(now, key, Health::Denied(errno));
        let steady = self.end_flapping(now, key);
        self.report_all(event.or(steady));
    }

    /// The outcome says nothing about the mount: it is probed again after a pause.
    fn on_inconclusive(&mut self, now: Time, ended: EndedProbe) {
        let EndedProbe { key, superblock, is_current, .. } = ended;
        if self.scheduler.is_hung(superblock) {
            self.scheduler
                .timers
                .set(Due::Superblock(superblock), now + self.scheduler.first_pause(self.registry.get(key)));
            self.complete_in_run(key);
        } else if is_current {
            self.defer(now, key);
        }
    }

    /// The path leads to another mount: the table is out of date, or the mount cannot be reached.
    fn on_wrong_mount(&mut self, now: Time, ended: EndedProbe, is_repeated: bool) {
        let EndedProbe { key, superblock, is_current, .. } = ended;
        self.doubt_table(TableDoubt::Contradicted);
        let retry_at = now + self.scheduler.first_pause(self.registry.get(key));
        if self.scheduler.is_hung(superblock) {
            self.scheduler.timers.set(Due::Superblock(superblock), retry_at);
        }
        if !is_current {
            return;
        }
        if is_repeated {
            self.registry.set_health(now, key, Health::Hidden);
        } else {
            self.scheduler.timers.set(Due::Mount(key), retry_at);
        }
        self.complete_in_run(key);
    }

    fn complete_in_run(&mut self, key: MountKey) {
        if let Some(entry) = self.registry.get_mut(key) {
            self.scheduler.complete_in_run(entry);
        }
    }

    /// A mount died or is still dead.
    pub(super) fn set_dead(&mut self, now: Time, key: MountKey, mut failure: Failure) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        self.scheduler.complete_in_run(entry);
        let superblock = entry.superblock();
        if failure.blocked_by.is_none() {
            failure.evidence = if entry.is_dead_itself() {
                self.evidence.record(superblock)
            } else {
                self.evidence.recent_record(now, superblock)
            };
        }
        self.counters.on_failure(entry.fstype_index, failure.reason);
        let is_restored = entry.is_dead_itself() && entry.judged_at.is_none();
        let event = Reports::on_dead(now, entry, &failure);
        if failure.blocked_by.is_none() {
            self.plan_reminder(now, key); // also after a known reason: the mount may have been hidden meanwhile
        }
        let is_blocked = failure.blocked_by.is_some();
        self.registry.set_health(now, key, Health::Dead(failure.into()));
        if is_restored && !is_blocked {
            self.collect(now, key, Occasion::Death, None); // what was found before is not kept
        }
        let Some(event) = event else { return };
        let is_new = matches!(event, Event::Failed { .. });
        let is_reported = self.report_change(now, key, event);
        if is_new && is_reported {
            self.collect(now, key, Occasion::Death, None);
        }
    }

    pub(super) fn remind(&mut self, now: Time, key: MountKey) {
        let Some(entry) = self.registry.get_mut(key) else { return };
        let Some(dead_since) = entry.reported.count_reminder() else { return };
        let Some(failure) = entry.health.failure().cloned() else { return };
        let (mount, lasted) = (Arc::clone(&entry.mount), now - dead_since);
        self.plan_reminder(now, key);
        self.report_change(now, key, Event::StillFailing { mount, failure, lasted });
    }
}
