//! Options of the command line and the configuration files become one validated [`Config`]. No mount is touched here.
//!
//! Reading order: `options` is the table of options; `builder` merges the layers; `file_reader` reads the TOML files
//! with their rules and hooks; [`ConfigSource`] loads everything, and [`ConfigReloader`] loads it again.

mod builder;
mod changes;
mod commands;
mod data_path_reader;
mod expected;
mod file_reader;
mod filter;
pub mod fstab;
mod globs;
mod hooks;
mod location;
mod options;
mod paths;
mod problems;
pub mod reference;
mod reloader;
mod remedy_reader;
mod rule_reader;
mod rules;
mod source;
mod toml_table;
mod values;
mod web_config;
mod yaml;

pub use changes::{changes, options_for_next_start};
pub use commands::{
    CheckConfig, CheckOutput, ClientConfig, DaemonAddress, DiagnoseConfig, DrillConfig, RemedyConfig,
    RemedyTask, WatchConfig,
};
pub use data_path_reader::DataPathRule;
pub use filter::{Filter, NO_MOUNT_LEFT};
pub use location::{Location, Origin};
pub(crate) use options::OPTION_GROUPS;
pub use options::{ConfigOption, OptionValue, options};
pub use paths::{resolve, select};
pub(crate) use platform::DEFAULT_CONFIG;
pub use reloader::{ConfigReloader, ReloadResult};
pub use remedy_reader::RemedyRule;
pub use rules::{Rule, Rules};
pub use source::ConfigSource;
pub use values::duration;
use values::regex_of_glob;

use crate::children::files::{FileFingerprint, FileWorker};
use crate::monitor::{Expected, ProbeSettings};
use crate::output::ReportSettings;
use crate::output::alertmanager::AlertmanagerSettings;
use crate::output::exporters::MetricsSettings;
use crate::output::hooks::Hook;
use crate::output::http::HttpSettings;
use crate::output::textfile;
use crate::render::escape::{escape_os, one_line};
use platform::{Mount, MountSource, MountTable, OWN_MOUNT_TABLE};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The validated configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub settings: ProbeSettings,
    pub filter: Filter,
    /// Standard error and syslog.
    pub report: ReportSettings,
    pub once_only: bool,
    /// Interval between two samples of early signs; 0: none are read.
    pub signs_interval: Duration,
    /// Whether the daemon makes itself independent of the storage of its program.
    pub run_from_memory: bool,
    pub print_bad_mounts: bool,
    /// Push gateway and text file.
    pub metrics: MetricsSettings,
    pub hooks: Vec<Hook>,
    pub alertmanager: Option<AlertmanagerSettings>,
    pub http: HttpSettings,
    /// The web configuration file, and the files that it names.
    pub web_files: Vec<PathBuf>,
    /// A file that names the mount namespace to watch, if it is not our own.
    pub mount_namespace: Option<PathBuf>,
    /// Where changes of the mount table are read from, at best.
    pub mount_source: MountSource,
    pub rules: Rules,
    /// The fstab with expected mounts, if there is one.
    pub fstab: Option<PathBuf>,
    /// Expected mounts of rules and of the fstab; see [`Config::with_expected_mounts`].
    pub expected: Vec<Arc<Expected>>,
    /// The main configuration file, which may not exist.
    pub file: PathBuf,
    pub files: Vec<PathBuf>,
    /// Fingerprints of the files from before they were read.
    pub fingerprints: Vec<FileFingerprint>,
    /// What could be wrong with the files, one line each.
    pub file_warnings: Vec<String>,
    /// Hooks are left out because their programs are on storage that does not answer.
    pub has_unchecked_hooks: bool,
    /// Every option in the order of the table, as text.
    pub options: Vec<EffectiveOption>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EffectiveOption {
    pub key: &'static str,
    /// Escaped text, or None if the option is not set.
    pub value: Option<String>,
    pub origin: Origin,
}

impl fmt::Display for EffectiveOption {
    /// A line of TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => write!(f, "# {} is not set", self.key),
            Some(value) => write!(f, "{} = {}", self.key, to_toml(value)),
        }
    }
}

/// A value in TOML syntax. Its text may be escaped for display, so backslashes are kept if possible.
pub(crate) fn to_toml(value: &str) -> String {
    let is_bare = value.parse::<f64>().is_ok() || matches!(value, "true" | "false");
    match value.contains('\'') {
        _ if is_bare => value.to_owned(),
        false if value.contains('\\') => format!("'{value}'"),
        _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

impl Config {
    /// Adds the expected mounts of rules and of the fstab, which is read now, for a command.
    pub fn with_expected_mounts(mut self) -> Result<Config, String> {
        let worker = FileWorker::new();
        let mut session =
            worker.begin(source::LOAD_TIMEOUT).map_err(|error| format!("cannot read files: {error}"))?;
        self.read_fstab(&mut session).map_err(|error| error.problems.join("; "))?;
        drop(session);
        self.follow_links();
        Ok(self)
    }

    /// The fstab with expected mounts, or that of the system.
    pub fn fstab_path(&self) -> &Path {
        self.fstab.as_deref().unwrap_or(Path::new(fstab::FSTAB))
    }

    /// The mounts that the fstab has read-only, each with its line, for a command. None if it cannot be read, or is that
    /// of another mount namespace.
    pub fn read_only_mounts_of_fstab(&self) -> Vec<(PathBuf, String)> {
        let (worker, path) = (FileWorker::new(), self.fstab_path());
        if self.mount_namespace.is_some() {
            return Vec::new();
        }
        let text = worker.begin(source::LOAD_TIMEOUT).and_then(|mut session| session.read(path));
        text.map(|text: Vec<u8>| fstab::read_only(path, &text)).unwrap_or_default()
    }

    /// The files that were read besides the configuration files, in the order of their fingerprints.
    fn other_files(&self) -> Vec<PathBuf> {
        self.fstab.iter().chain(&self.web_files).cloned().collect()
    }

    /// Removes the rules that have ended, and the expected mounts that they named.
    fn end_rules(&mut self, now: SystemTime) {
        let (in_force, ended) = self.rules.split_ended(now);
        self.rules = in_force;
        for location in self.rules.end_remedies(now) {
            self.file_warnings.push(location.problem("[[rule]] remedy has ended; remove it"));
        }
        for rule in ended {
            let origin = rule.location.to_string();
            self.expected.retain(|expected| expected.origin != origin);
            self.file_warnings.push(rule.location.problem("[[rule]] has ended; remove it"));
        }
    }

    /// How this mount is probed, or None if it is not watched.
    pub fn policy(&self, mount: &Mount) -> Option<ProbeSettings> {
        if !self.filter.admits(mount) {
            return None;
        }
        match self.rules.rule_for(mount) {
            None => Some(self.settings),
            Some(rule) => (!rule.exclude).then(|| rule.settings(self.settings)),
        }
    }

    /// The longest timeout of any mount.
    pub fn longest_timeout(&self) -> Duration {
        let of_rules = self.rules.iter().map(|rule| rule.settings(self.settings).timeout);
        of_rules.fold(self.settings.timeout, Duration::max)
    }

    pub fn origin(&self, key: &str) -> &Origin {
        self.options.iter().find(|option| option.key == key).map_or(&Origin::Default, |option| &option.origin)
    }

    /// Valid values that are probably mistakes, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let ProbeSettings { timeout, slow_after, poll_interval, .. } = self.settings;
        let too_often = (timeout >= poll_interval).then(|| {
            "--timeout is not shorter than --poll-interval: while a mount hangs, its next probe is late"
                .to_owned()
        });
        let globs = [
            ("mount-points-include", &self.filter.mount_points_include),
            ("mount-points-exclude", &self.filter.mount_points_exclude),
        ];
        let globs = globs.into_iter().filter_map(|(option, regex)| {
            let pattern = regex.as_ref()?.as_str();
            let meant = regex_of_glob(pattern)?;
            let pattern = one_line(pattern);
            Some(format!("--{option}: {pattern} is a regular expression, not a glob; did you mean {meant}?"))
        });
        let never_slow = (slow_after > timeout)
            .then(|| "--slow-after is longer than the timeout, so no mount is ever slow".to_owned());
        let textfile = self.metrics.textfile.as_deref().and_then(textfile::warning);
        never_slow
            .into_iter()
            .chain(too_often)
            .chain(globs)
            .chain(textfile)
            .chain(self.file_warnings.clone())
            .collect()
    }

    /// Why the text file cannot be written where it is: it must not be on a mount that may hang. This is decided from
    /// the mount table; the path is not touched.
    fn textfile_problem(&self) -> Option<String> {
        let path = self.metrics.textfile.as_deref()?;
        let reason = match MountTable::read() {
            Ok(table) => textfile::refusal(&table, |mount| self.policy(mount).is_some(), path)?,
            Err(error) => format!("cannot read {OWN_MOUNT_TABLE}: {error}"),
        };
        Some(format!("cannot write --textfile {}: {reason}", escape_os(path)))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use platform::Mount;
    use std::sync::Arc;

    pub(crate) fn mount(key: u64, path: &str, fstype: &str) -> Arc<Mount> {
        Arc::new(Mount { fstype: fstype.into(), ..crate::monitor::testing::mount(key, path) })
    }
}
