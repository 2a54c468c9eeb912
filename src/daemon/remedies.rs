//! The remedies of the rules: begins attempts when they are due, and passes on what they report. The attempts are made in
//! processes of their own. A mount without a rule for it has no remedy.

use super::Daemon;
use crate::children::attempt::{AttemptEvent, AttemptMessage, AttemptPool, AttemptRequest, KeptFile};
use crate::config::Config;
use crate::monitor::remedy::{
    AttemptOrder, Mode, RemedyOverview, RemedyReport, RemedySchedule, RemedySettings,
};
use crate::monitor::{Event, Time};
use crate::output::Report;
use crate::render::Priority;
use crate::render::escape::escape_os;
use mio::{Registry, Token};
use platform::{Mount, MountKey};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Of looking at all mounts for dead ones; remedies wait for minutes.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct RemedyRunner {
    config: Arc<Config>,
    /// Of the configuration, those with a remedy.
    rules: usize,
    schedule: RemedySchedule,
    pool: AttemptPool,
    /// The health of a mount has changed since the last update.
    is_changed: bool,
    update_not_before: Time,
    resumed_at: Option<Time>,
}

impl RemedyRunner {
    pub(super) fn new(
        config: &Arc<Config>,
        registry: Registry,
        first_token: usize,
    ) -> io::Result<RemedyRunner> {
        Ok(RemedyRunner {
            config: Arc::clone(config),
            rules: count_rules(config),
            schedule: RemedySchedule::default(),
            pool: AttemptPool::new(registry, first_token, None)?,
            is_changed: true,
            update_not_before: Time::default(),
            resumed_at: None,
        })
    }

    pub(super) fn reconfigure(&mut self, now: Time, config: &Arc<Config>) {
        (self.config, self.rules) = (Arc::clone(config), count_rules(config));
        self.schedule.retry_all(now);
        self.is_changed = true;
    }

    pub(super) fn mark_changed(&mut self) {
        self.is_changed = true;
    }

    pub(super) fn mark_resumed(&mut self, now: Time) {
        self.resumed_at = Some(now);
    }

    pub(super) fn overview(&self) -> RemedyOverview {
        self.schedule.overview(self.rules)
    }

    pub(super) fn has_token(&self, token: Token) -> bool {
        self.pool.has_token(token)
    }

    pub(super) fn handle_ready(&mut self, now: Time, token: Token) {
        self.pool.handle_ready(now, token);
    }

    pub(super) fn reap_children(&mut self) {
        self.pool.reap_children();
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let update = self.needs_update().then_some(self.update_not_before);
        [self.pool.next_deadline(), self.schedule.next_deadline(), update].into_iter().flatten().min()
    }

    fn needs_update(&self) -> bool {
        self.is_changed && (self.rules > 0 || !self.schedule.is_empty())
    }

    fn settings_of(&self, mount: &Mount) -> Option<RemedySettings> {
        let remedy = self.config.rules.rule_for(mount)?.remedy.as_ref()?;
        Some(remedy.settings.clone())
    }

    fn request(&self, now: Time, order: AttemptOrder) -> AttemptRequest {
        let config = &self.config;
        let probe = config.policy(&order.mount).unwrap_or(config.settings);
        // One file of each directory: they are lost together, and there may be many.
        let mut files: Vec<&PathBuf> = config.files.iter().collect();
        files.dedup_by_key(|file| file.parent());
        let files = files.into_iter().map(|file| KeptFile::configuration(file));
        let kept = files.chain(config.http.socket.path().map(KeptFile::socket)).collect();
        let resumed = self.resumed_at.map(|at| now - at);
        AttemptRequest::new(order, probe, resumed).with_files(
            kept,
            config.fstab.as_deref(),
            config.mount_namespace.as_deref(),
        )
    }

    /// What the attempts have reported, to be passed on.
    fn take_reports(&mut self, now: Time) -> Vec<Report> {
        let events: Vec<AttemptEvent> = self.pool.drain_events().collect();
        events.into_iter().filter_map(|event| self.report_of(now, event)).collect()
    }

    fn report_of(&mut self, now: Time, event: AttemptEvent) -> Option<Report> {
        let event_of = |(mount, report): (Arc<Mount>, RemedyReport)| {
            Report::Event(Event::Remedy { mount, report: Box::new(report) })
        };
        match event {
            AttemptEvent::Message(key, AttemptMessage::Report(report)) => {
                self.schedule.take_report(now, key, &report).map(|mount| event_of((mount, report)))
            }
            AttemptEvent::Message(key, AttemptMessage::Call(line)) => Some(self.audit_line(key, &line)),
            AttemptEvent::Message(_, AttemptMessage::Finished) => None,
            AttemptEvent::Ended(key, end) => self.schedule.end(now, key, end).map(event_of),
        }
    }

    fn audit_line(&self, key: MountKey, line: &str) -> Report {
        let path = self.schedule.mount(key).map(|mount| escape_os(&mount.mountpoint).into_owned());
        let text = format!("Remedy call: {} ({line})", path.unwrap_or_else(|| key.0.to_string()));
        Report::Notice(Priority::Notice, text)
    }
}

fn count_rules(config: &Config) -> usize {
    let acts = |settings: &RemedySettings| settings.mode != Mode::Off;
    config
        .rules
        .iter()
        .filter(|rule| rule.remedy.as_ref().is_some_and(|remedy| acts(&remedy.settings)))
        .count()
}

impl Daemon<'_> {
    /// Passes on reports and begins the attempts that are due.
    pub(super) fn run_remedies(&mut self, now: Time) {
        let Some(remedies) = &mut self.remedies else { return };
        remedies.pool.handle_deadline(now);
        let mut reports = remedies.take_reports(now);
        if remedies.needs_update() && now >= remedies.update_not_before {
            let mut schedule = std::mem::take(&mut remedies.schedule);
            schedule.update(now, self.monitor.dead_mounts(), |mount| remedies.settings_of(mount));
            remedies.schedule = schedule;
            remedies.is_changed = false;
            remedies.update_not_before = now + MIN_UPDATE_INTERVAL;
        }
        // A mount that has responded meanwhile is left alone: what is due is decided after an update.
        while let Some(order) = (!remedies.is_changed).then(|| remedies.schedule.begin_next(now)).flatten() {
            let request = remedies.request(now, order);
            remedies.pool.start(now, &request);
            reports.extend(remedies.take_reports(now)); // it may have failed to start
        }
        if !reports.is_empty() {
            self.mark_changed();
        }
        for report in reports {
            self.handler.report(report);
        }
    }
}
