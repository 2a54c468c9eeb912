//! What an operator wants, validated, whatever way he said it: on the command line or in files. No mount is touched
//! here.

mod changes;
mod diagnostic;
mod expected;
pub mod files;
mod filter;
mod fstab;
mod hooks;
mod paths;
pub mod reference;
mod reloader;
mod rules;
mod toml_table;
mod values;

pub use changes::changes;
pub use diagnostic::{Diagnostic, Location};
pub use files::{DEFAULT_CONFIG, FileFingerprint, FileOption, Files};
pub use filter::{DEFAULT_FS_TYPES_EXCLUDE, Filter, NO_MOUNT_LEFT};
pub use fstab::FSTAB;
pub use paths::{resolve, select};
pub use reloader::{ConfigReloader, LoadFn, ReloadResult};
pub use rules::{Globs, Rule, Rules};
pub use toml_table::OptionValue;
pub use values::{duration, listen_address, name_regex, socket_choice};

use crate::monitor::{Expected, ProbeSettings};
use crate::output::ReportSettings;
use crate::output::alertmanager::AlertmanagerSettings;
use crate::output::exporters::MetricsSettings;
use crate::output::hooks::HookSettings;
use crate::output::http::HttpSettings;
use crate::output::textfile;
use platform::Mount;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The daemon's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How mounts are watched.
    pub settings: ProbeSettings,
    /// Which mounts are watched.
    pub filter: Filter,
    /// Where messages go.
    pub report: ReportSettings,
    /// One run, then the end.
    pub once_only: bool,
    /// Dead mount points on standard output, one in each line.
    pub print_bad_mounts: bool,
    /// Where metrics go, besides whoever fetches them.
    pub metrics: MetricsSettings,
    /// Who is told what happens, besides the sinks.
    pub hooks: HookSettings,
    /// The Alertmanager, if there is one.
    pub alertmanager: Option<AlertmanagerSettings>,
    /// Where questions are answered.
    pub http: HttpSettings,
    /// A file that names the mount namespace to watch, if not our own.
    pub mount_namespace: Option<PathBuf>,
    /// What is special about some mounts.
    pub rules: Rules,
    /// The fstab whose mounts have to be there, if one.
    pub fstab: Option<PathBuf>,
    /// What has to be there, by rules and by that fstab.
    pub expected: Vec<Arc<Expected>>,
    /// The file that is read if it is there.
    pub file: PathBuf,
    /// What was read.
    pub files: Vec<PathBuf>,
    /// What the files looked like before they were read.
    pub fingerprints: Vec<FileFingerprint>,
    /// Every option as it came to be, for people.
    pub shown: Vec<ShownOption>,
}

impl fmt::Display for ShownOption {
    /// As it would be written in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => write!(f, "# {} is not set", self.key),
            Some(value) => write!(f, "{} = {}", self.key, in_toml(value)),
        }
    }
}

/// A value as it would be written in a file. What is shown here was escaped for lines, which TOML is not told.
pub(crate) fn in_toml(value: &str) -> String {
    let is_bare = value.parse::<f64>().is_ok() || matches!(value, "true" | "false");
    match value.contains('\'') {
        _ if is_bare => value.to_owned(),
        false if value.contains('\\') => format!("'{value}'"),
        _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// An option as it came to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownOption {
    /// Its key in files.
    pub key: String,
    /// Its value as text, if it has one.
    pub value: Option<String>,
    /// Who set it.
    pub origin: String,
}

impl Config {
    /// Reads anew which mounts have to be there.
    ///
    /// # Errors
    /// When there is to be an fstab and it cannot be read.
    pub fn with_expected(self) -> Result<Config, Diagnostic> {
        // Looked at first, as the files are.
        let fstab = self.fstab.as_deref().map(files::fingerprint);
        let expected = expected::expected(&self.rules, self.fstab.as_deref())?;
        let fingerprints = self.fingerprints.into_iter().chain(fstab).collect();
        Ok(Config { expected, fingerprints, ..self })
    }

    /// Is this mount watched, and how?
    #[must_use]
    pub fn policy(&self, mount: &Mount) -> Option<ProbeSettings> {
        match self.rules.of(mount) {
            _ if !self.filter.admits(mount) => None,
            None => Some(self.settings),
            Some(rule) => (!rule.exclude).then(|| rule.settings(self.settings)),
        }
    }

    /// What is allowed but surely not meant, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let textfile = self.metrics.textfile.as_deref().and_then(textfile::warning);
        warnings(&self.settings).into_iter().chain(textfile).collect()
    }
}

/// What `check` is to do.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// What a daemon would do.
    pub config: Arc<Config>,
    /// Goes before every rule.
    pub timeout: Option<Duration>,
    /// Goes before every rule.
    pub slow_after: Option<Duration>,
    /// The mount points that were named, as they were written; see [`select`].
    pub mountpoints: Vec<PathBuf>,
    /// How the answer looks.
    pub output: CheckOutput,
    /// The socket of the daemon that is asked first, if one may be: not when the question is more special than what
    /// the daemon watches for.
    pub socket: Option<PathBuf>,
}

/// What `status` and `watch` are to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// JSON instead of text.
    pub json: bool,
    /// The daemon's socket.
    pub socket: PathBuf,
}

/// What `diagnose` is to do.
#[derive(Clone, Debug)]
pub struct DiagnoseConfig {
    /// The mount point, as it was written.
    pub mountpoint: PathBuf,
    /// JSON instead of text.
    pub json: bool,
    /// The socket of the daemon that is asked first, if one may be.
    pub socket: Option<PathBuf>,
    /// How the mount is asked without a daemon.
    pub config: Arc<Config>,
}

impl CheckConfig {
    /// What is allowed but surely not meant, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.config.settings)
    }

    /// How this mount is asked.
    #[must_use]
    pub fn settings_of(&self, mount: &Mount) -> ProbeSettings {
        let rule = self.config.rules.of(mount);
        let settings = rule.map_or(self.config.settings, |rule| rule.settings(self.config.settings));
        let timeout = self.timeout.unwrap_or(settings.timeout);
        let slow_after = self.slow_after.unwrap_or(settings.slow_after.min(timeout));
        ProbeSettings { timeout, slow_after, ..settings }
    }
}

/// The form of `check`'s answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckOutput {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For monitoring systems.
    Nagios,
}

fn warnings(settings: &ProbeSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.slow_after > settings.timeout {
        warnings.push("--slow-after is longer than the timeout, so no mount will ever be slow".to_owned());
    }
    warnings
}

#[cfg(test)]
pub(crate) mod testing {
    use platform::{DeviceNumber, Mount, MountKey};
    use std::sync::Arc;

    pub(crate) fn mount(key: u64, path: &str, fstype: &str) -> Arc<Mount> {
        Arc::new(Mount {
            key: MountKey(key),
            id: 1,
            parent: 0,
            device_number: DeviceNumber { major: 0, minor: 1 },
            root: "/".into(),
            mountpoint: path.into(),
            fstype: fstype.into(),
            device: "d".into(),
            options: "rw".into(),
            super_options: "rw".into(),
        })
    }
}
