//! Converts external events to inputs of the monitor.

use super::early_signs::EarlySigns;
use super::{COLLECTOR, Daemon, KERNEL_LOG, MOUNTS, NAMESPACE, SIGNALS, SIGNS, WAKER, options};
use crate::children::collector::{CollectorEvent, CollectorNotice};
use crate::children::launcher::LauncherNotice;
use crate::children::prober::PoolEvent;
use crate::children::signs::SignsEvent;
use crate::config::ConfigReloader;
use crate::monitor::{Input, Time};
use crate::render::escape::escape_os;
use crate::render::{Priority, notices};
use mio::Events;
use platform::service::monotonic_usec;
use signal_hook::consts::{SIGCHLD, SIGHUP};
use std::time::Duration;

/// Minimum interval between log lines about a file server that does not respond.
const STALL_LOG_INTERVAL: Duration = Duration::from_secs(60);

impl Daemon<'_> {
    pub(super) fn process_ready(&mut self, now: Time, events: &Events) {
        for event in events {
            match event.token() {
                MOUNTS => self.process_mount_changes(now),
                WAKER => self.process_requests(now),
                NAMESPACE => self.namespace.schedule_check(now),
                SIGNALS => self.process_signals(now),
                COLLECTOR => self.collector.handle_ready(now),
                SIGNS => {
                    if let Some(signs) = &mut self.early_signs {
                        signs.handle_ready(now);
                    }
                }
                KERNEL_LOG => {
                    for hint in self.kernel_log.read(now) {
                        self.monitor.handle(now, hint);
                    }
                }
                token => match &mut self.remedies {
                    Some(remedies) if remedies.has_token(token) => remedies.handle_ready(now, token),
                    _ => self.pool.handle_ready(now, token),
                },
            }
        }
        if let Some(ended) = self.namespace.check(now) {
            self.namespace_ended = true;
            let name = escape_os(ended.path());
            let text = format!("The mount namespace of {name} has ended; nothing is left to watch");
            self.notice(Priority::Error, text);
        }
        self.pool.handle_deadline(now);
        self.collector.handle_deadline(now);
        self.kernel_log.handle_deadline(now);
        if let Some(signs) = &mut self.early_signs {
            signs.handle_deadline(now);
        }
    }

    fn process_mount_changes(&mut self, now: Time) {
        let changes = self.table_reader.on_readable(now);
        if changes.server_not_responding {
            self.monitor.handle(now, Input::ServerNotResponding);
            if self.stall_logged_at.is_none_or(|before| now >= before + STALL_LOG_INTERVAL) {
                self.stall_logged_at = Some(now);
                let text =
                    "The kernel waits for a file server that does not respond; probing all network mounts";
                self.notice(Priority::Warning, text.into());
            }
        }
    }

    pub(super) fn process_signals(&mut self, now: Time) {
        for signal in self.signals.pending() {
            match (signal, &self.reloader) {
                (SIGCHLD, _) => {
                    let notice = self.launcher.reap(now);
                    self.report_launcher(notice);
                    self.pool.reap_children(now);
                    self.collector.reap_children(now);
                    if let Some(signs) = &mut self.early_signs {
                        signs.reap_children(now);
                    }
                    if let Some(remedies) = &mut self.remedies {
                        remedies.reap_children();
                    }
                }
                (SIGHUP, Some(reloader)) => {
                    self.service_manager.reloading(monotonic_usec());
                    reloader.request_reload();
                }
                _ => self.interrupted = true,
            }
        }
    }

    pub(super) fn check_launcher(&mut self, now: Time) {
        let notice = self.launcher.check(now);
        self.report_launcher(notice);
    }

    fn report_launcher(&mut self, notice: Option<LauncherNotice>) {
        if let Some(notice) = notice {
            let (priority, text) = notices::of_launcher(&notice);
            self.notice(priority, text);
        }
    }

    /// Handles the requests for which other threads woke the loop.
    fn process_requests(&mut self, now: Time) {
        let Some(outputs) = self.handler.outputs() else { return };
        let mountpoints = outputs.state().take_evidence_requests();
        if !mountpoints.is_empty() {
            self.monitor.handle(now, Input::EvidenceRequested { mountpoints });
        }
        if let Some(selection) = outputs.state().take_probe_request() {
            self.monitor.handle(now, Input::ProbesRequested(selection));
        }
        if let Some(drill) = outputs.state().take_drill_request() {
            outputs.drill(drill);
        }
        while let Some(loaded) = self.reloader.as_ref().and_then(ConfigReloader::next_result) {
            if !loaded.has_rule_ended {
                self.config.rejected_at = loaded.result.is_err().then_some(now);
            }
            if let Ok(config) = &loaded.result {
                self.config.loaded_at = now;
                self.config.temporary_rules = config.rules.temporary().into();
                self.settings = config.settings;
                self.monitor.handle(now, Input::Reconfigured(options::monitor_config(config)));
                if let Some(remedies) = &mut self.remedies {
                    remedies.reconfigure(now, config);
                }
                if let Some(signs) = &mut self.early_signs {
                    signs.reconfigure(config);
                }
            }
            if loaded.requested {
                self.service_manager.ready();
            }
            outputs.reconfigure(loaded, self.monitor.tree().to_table());
            self.snapshot_throttle.mark_changed();
            self.service_manager.mark_changed();
        }
    }

    pub(super) fn read_table_if_due(&mut self, now: Time) -> bool {
        if let Some(doubt) = self.monitor.take_table_doubt() {
            self.table_reader.on_doubt(now, doubt);
        }
        let begun = self.clock.now();
        let Some(result) = self.table_reader.read_if_due(now, self.monitor.tree()) else { return false };
        if let Some((priority, text)) = self.table_reader.log_line(&result) {
            self.notice(priority, text);
        }
        let Ok(update) = result else { return false };
        self.monitor.handle(now, Input::TableUpdate(update));
        self.kernel_log.set_needed(self.monitor.has_hinted_mounts());
        if let Some(signs) = &mut self.early_signs {
            signs.mark_table_changed();
        }
        let finished = self.clock.now();
        self.table_reader.finish(finished, finished - begun);
        true
    }

    pub(super) fn drain_child_events(&mut self, now: Time) {
        self.drain_signs(now);
        let events: Vec<PoolEvent> = self.pool.drain_events().collect();
        for event in events {
            if let Some(input) = self.prober_input(now, event) {
                self.monitor.handle(now, input);
            }
        }
        let events: Vec<CollectorEvent> = self.collector.drain_events().collect();
        for event in events {
            match Input::try_from(event) {
                Ok(input) => self.monitor.handle(now, input),
                Err(notice) => {
                    let (priority, text) = notices::of_collector(&notice);
                    self.notice(priority, text);
                }
            }
        }
    }

    /// Starts or ends the reader of signs as needed.
    pub(super) fn look_for_signs(&mut self, now: Time) {
        if let Some(signs) = &mut self.early_signs {
            signs.look_if_due(now, &self.monitor, || self.clock.now());
        }
    }

    fn drain_signs(&mut self, now: Time) {
        let events = self.early_signs.as_mut().map(EarlySigns::drain_events).unwrap_or_default();
        let mut signs = Vec::new();
        for event in events {
            match event {
                SignsEvent::Found(sign) => signs.push(sign),
                SignsEvent::Notice(notice) => {
                    let (priority, text) = notices::of_signs(&notice);
                    self.notice(priority, text);
                }
            }
        }
        if !signs.is_empty() {
            self.monitor.handle(now, Input::EarlySigns(signs));
            self.snapshot_throttle.mark_changed(); // a snapshot counts the probes of signs
        }
    }

    fn prober_input(&mut self, now: Time, event: PoolEvent) -> Option<Input> {
        if let PoolEvent::Responded { probe, .. } | PoolEvent::Aborted { probe } = &event {
            self.locating.remove(probe);
        }
        if matches!(event, PoolEvent::Notice(..) | PoolEvent::Stranded { .. } | PoolEvent::Freed { .. }) {
            self.snapshot_throttle.mark_changed(); // a snapshot shows how many probers there are
        }
        Some(match event {
            PoolEvent::Responded { probe, outcome, took } => Input::ProbeResponded { probe, outcome, took },
            PoolEvent::Stuck { probe, call, elapsed } => Input::ProbeStuck { probe, call, elapsed },
            PoolEvent::Located { probe, pid, tid } => {
                if let Some(device) = self.locating.remove(&probe).filter(|_| tid != 0) {
                    self.collector.inspect_thread(device, pid, tid);
                }
                return None;
            }
            PoolEvent::Aborted { probe } => Input::ProbeAborted { probe },
            PoolEvent::Freed { probe } => Input::ProbeFreed { probe },
            PoolEvent::Stranded { .. } => return None,
            PoolEvent::Notice(user, notice) => {
                if self.monitor.admit_notice(now, user) {
                    let (priority, text) = notices::of_prober(user, &notice);
                    self.notice(priority, text);
                }
                return None;
            }
        })
    }
}

/// A notice is for the log, not for the monitor.
impl TryFrom<CollectorEvent> for Input {
    type Error = CollectorNotice;

    fn try_from(event: CollectorEvent) -> Result<Input, CollectorNotice> {
        match event {
            CollectorEvent::Found { device, evidence } => {
                Ok(Input::EvidenceFound { superblock: device, evidence })
            }
            CollectorEvent::Ended { device } => Ok(Input::EvidenceEnded { superblock: device }),
            CollectorEvent::Notice(notice) => Err(notice),
        }
    }
}
