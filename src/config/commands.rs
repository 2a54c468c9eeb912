//! The settings of commands other than the daemon.

use super::{Config, Origin};
use crate::monitor::ProbeSettings;
use platform::Mount;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct CheckConfig {
    pub config: Arc<Config>,
    /// The mount points to check, as written on the command line; see [`super::select`]. Empty means all.
    pub mountpoints: Vec<PathBuf>,
    pub output: CheckOutput,
    /// The socket of a daemon that may respond. `None` if the options require more than the daemon knows.
    pub socket: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckOutput {
    Table,
    Json,
    Nagios,
}

impl CheckConfig {
    /// How this mount is probed: a time limit on the command line overrides every rule.
    pub fn settings_for(&self, mount: &Mount) -> ProbeSettings {
        let config = &self.config;
        let is_argument = |key: &str| config.origin(key) == &Origin::CommandLine;
        let rule = config.rules.rule_for(mount);
        let mut settings = rule.map_or(config.settings, |rule| rule.settings(config.settings));
        if is_argument("timeout") {
            settings.timeout = config.settings.timeout;
        }
        settings.slow_after = if is_argument("slow_after") {
            config.settings.slow_after
        } else {
            settings.slow_after.min(settings.timeout)
        };
        settings
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    pub json: bool,
    pub socket: PathBuf,
}

#[derive(Clone, Debug)]
pub struct DiagnoseConfig {
    pub mountpoint: PathBuf,
    pub json: bool,
    /// The socket of a daemon that may respond, unless `--direct` is given.
    pub socket: Option<PathBuf>,
    pub config: Arc<Config>,
}
