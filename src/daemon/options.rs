//! The options and the result of the event loop.

use super::WatchedTable;
use crate::config::Config;
use crate::monitor::{
    DataPathPolicy, MonitorConfig, OptionsPolicy, ProbeSettings, SavedStatus, Status, Time,
};
use crate::output::{Outputs, Report};
use crate::render::{Snapshot, StatusSummary};
use platform::Mount;
use std::sync::Arc;
use std::time::SystemTime;

pub struct Options {
    pub monitor: MonitorConfig,
    /// The settings of mounts without a rule, shown in snapshots.
    pub settings: ProbeSettings,
    /// See [`ConfigState::temporary_rules`](crate::render::ConfigState::temporary_rules).
    pub temporary_rules: Arc<[String]>,
    pub table: WatchedTable,
    /// Spreads the runs of many machines; see [`Monitor::new`](crate::monitor::Monitor::new).
    pub seed: u64,
    /// What an earlier daemon knew.
    pub saved: Option<SavedStatus>,
}

impl Options {
    /// All mounts that the configuration does not exclude.
    pub fn new(config: &Arc<Config>, table: WatchedTable) -> Options {
        let (settings, temporary_rules) = (config.settings, config.rules.temporary().into());
        Options { monitor: monitor_config(config), settings, temporary_rules, table, seed: 0, saved: None }
    }
}

pub(super) fn monitor_config(config: &Arc<Config>) -> MonitorConfig {
    let (policy, options) = (Arc::clone(config), Arc::clone(config));
    let expects_options = config.rules.iter().any(|rule| rule.expected_options.is_some());
    let expected_options =
        move |mount: &Mount| options.rules.rule_for(mount).and_then(|rule| rule.expected_options.clone());
    let has_data_paths = config.rules.iter().any(|rule| rule.data_path.kind.is_some());
    let rules = Arc::clone(config);
    let data_path =
        move |mount: &Mount| rules.rules.rule_for(mount).and_then(|rule| rule.data_path(rules.settings));
    MonitorConfig {
        poll_interval: config.settings.poll_interval,
        policy: Box::new(move |mount| policy.policy(mount)),
        expected: config.expected.clone(),
        expected_options: expects_options.then(|| Box::new(expected_options) as OptionsPolicy),
        data_paths: has_data_paths.then(|| Box::new(data_path) as DataPathPolicy),
        searches_every_directory: platform::probe::may_search_every_directory(),
    }
}

pub enum EventHandler<'a> {
    /// Also receives snapshots and configurations.
    Outputs(&'a Outputs),
    /// Must not block.
    Callback(&'a mut dyn FnMut(SystemTime, Report)),
}

impl EventHandler<'_> {
    pub(super) fn report(&mut self, report: Report) {
        let time = SystemTime::now();
        match self {
            EventHandler::Outputs(outputs) => outputs.report(time, report),
            EventHandler::Callback(callback) => callback(time, report),
        }
    }

    pub(super) fn outputs(&self) -> Option<&Outputs> {
        match self {
            EventHandler::Outputs(outputs) => Some(outputs),
            EventHandler::Callback(_) => None,
        }
    }
}

/// Called a few times a second while a single run waits for mounts.
type ProgressCallback<'a> = &'a mut dyn FnMut(&Status, Time);

pub enum RunMode<'a> {
    Watch,
    /// Until every mount has been judged once.
    Once(Option<ProgressCallback<'a>>),
    /// Until this, which is called a few times a second, returns true.
    Until(&'a mut dyn FnMut(&Status, Time) -> bool),
    /// Until every mount has been judged once and the evidence about dead mounts is complete.
    Explain,
}

pub struct RunResult {
    pub snapshot: Arc<Snapshot>,
    /// Mounts that the last run could not judge. Mounts that appeared during the run are pending, but not included.
    pub(super) unjudged: usize,
    pub interrupted: bool,
    pub namespace_ended: bool,
}

impl RunResult {
    pub fn exit_status(&self) -> u8 {
        let summary = StatusSummary::of(&self.snapshot.status);
        StatusSummary { pending: self.unjudged, ..summary }.exit_status()
    }
}
