//! What an operator wants, validated, whatever way he said it: on the command line or in files. No mount is touched
//! here.

mod filter;
mod paths;
mod values;

pub use filter::{DEFAULT_FS_TYPES_EXCLUDE, Filter, NO_MOUNT_LEFT};
pub use paths::{resolve, select};
pub use values::{duration, listen_address, name_regex, socket_choice};

use crate::http::HttpSettings;
use crate::metrics::{MetricsSettings, textfile};
use crate::monitor::Settings;
use crate::report::ReportSettings;
use std::path::PathBuf;

/// The daemon's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How mounts are watched.
    pub settings: Settings,
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
    /// Where questions are answered.
    pub http: HttpSettings,
    /// A file that names the mount namespace to watch, if not our own.
    pub mount_namespace: Option<PathBuf>,
}

impl Config {
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
    /// How mounts are asked.
    pub settings: Settings,
    /// Which mounts are asked.
    pub filter: Filter,
    /// The mount points that were named, as they were written; see [`select`].
    pub mountpoints: Vec<PathBuf>,
    /// How the answer looks.
    pub output: CheckOutput,
    /// A file that names the mount namespace to ask, if not our own.
    pub mount_namespace: Option<PathBuf>,
    /// The socket of the daemon that is asked first, if one may be: not when the question is more special than what
    /// the daemon watches for.
    pub socket: Option<PathBuf>,
}

/// What `status` and `watch` are to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskConfig {
    /// JSON instead of text.
    pub json: bool,
    /// The daemon's socket.
    pub socket: PathBuf,
}

impl CheckConfig {
    /// What is allowed but surely not meant, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.settings)
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

fn warnings(settings: &Settings) -> Vec<String> {
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
