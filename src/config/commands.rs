//! The settings of commands other than the daemon.

use super::{Config, Origin};
use crate::monitor::ProbeSettings;
use crate::monitor::remedy::{Consent, Mode, RemedySettings, StepKind};
use crate::render::nagios::Thresholds;
use platform::Mount;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct CheckConfig {
    pub config: Arc<Config>,
    /// The mount points to check, as written on the command line; see [`super::select`]. Empty means all.
    pub mountpoints: Vec<PathBuf>,
    pub output: CheckOutput,
    /// Where a daemon may respond. `None` if the options require more than the daemon knows.
    pub daemon: Option<DaemonAddress>,
    /// How long to wait until the mounts are there and respond.
    pub wait: Option<Duration>,
    /// Also print how the container image watches the mounts of the host.
    pub in_image: bool,
    /// What a monitoring plugin warns about.
    pub thresholds: Thresholds,
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
    pub daemon: DaemonAddress,
}

/// Where a daemon listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaemonAddress {
    pub socket: PathBuf,
    /// For users who may not connect to the socket.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrillConfig {
    pub client: ClientConfig,
    /// The mount point of the pretended mount, if not the default.
    pub mountpoint: Option<String>,
}

#[derive(Clone, Debug)]
pub struct WatchConfig {
    pub client: ClientConfig,
    /// How many past events are printed first.
    pub last: Option<u32>,
    /// Applies if no daemon is running.
    pub config: Arc<Config>,
}

#[derive(Clone, Debug)]
pub struct DiagnoseConfig {
    pub mountpoint: PathBuf,
    pub json: bool,
    /// Where a daemon may respond, unless `--direct` is given.
    pub daemon: Option<DaemonAddress>,
    pub config: Arc<Config>,
}

/// Of the command `remedy`.
#[derive(Clone, Debug)]
pub struct RemedyConfig {
    pub mountpoint: PathBuf,
    pub task: RemedyTask,
    /// Instead of those of the rule.
    pub steps: Option<Vec<StepKind>>,
    /// Besides what the rule allows.
    pub allow: Vec<Consent>,
    pub json: bool,
    /// Where a daemon may know since when the mount is dead.
    pub daemon: DaemonAddress,
    pub config: Arc<Config>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemedyTask {
    /// Show the plan.
    Plan,
    /// Carry it out.
    Act,
    /// Forget earlier attempts.
    Reset,
}

impl RemedyConfig {
    /// What applies to this mount: its rule, changed by the command line. The operator has decided that it is time, so
    /// nothing is waited for.
    pub fn settings_for(&self, mount: &Mount) -> RemedySettings {
        let rule = self.config.rules.rule_for(mount).and_then(|rule| rule.remedy.as_ref());
        let of_rule = rule.map_or_else(|| RemedySettings::new(Mode::Act), |remedy| remedy.settings.clone());
        let mut allow = of_rule.allow;
        allow.extend(&self.allow);
        let steps = self.steps.clone().unwrap_or(of_rule.steps);
        RemedySettings { after: Duration::ZERO, steps, allow, ..of_rule }
    }
}
